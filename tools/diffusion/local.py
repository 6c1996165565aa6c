"""The diffusion role over a model in this process."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch
from diffusers import StableDiffusion3Pipeline

from ...state import ImageRecord
from ..errors import ModelError, SettingsError
from ..roles import GenerateRequest, Progress, RedenoiseRequest
from ..store import Store
from .decode import decode
from .denoise import Denoised, Member, denoise
from .embeddings import Embedding, Encoder
from .jobs import Job, in_this_context
from .latents import final_reference, kept_reference, read_latent, write_latent
from .loading import load
from .memory import T5, Offload, Precision
from .noise import noise_for
from .operators import inject, resume
from .owner import Abandoned, Owner, Ticket
from .placement import choose_placement
from .png import png_bytes
from .schedule import make_schedule

Tickets = Sequence[Ticket[Job, ImageRecord]]


class LocalDiffusion:
    """Draws with an SD3-class pipeline; the only owner of it.

    Requests that are awaited together are drawn together. An image is the same alone and in a batch
    up to rounding (1e-4 in latents of unit variance, in float32); with ``batch_alone`` it is the same exactly.
    """

    def __init__(
        self,
        pipe: StableDiffusion3Pipeline,
        model: str,
        *,
        steps: int = 28,
        guidance: float = 4.5,
        max_batch: int = 8,
        batch_alone: bool = False,
        max_tokens: int = 256,
        swap_pooled: bool = True,
    ) -> None:
        """Take over a pipeline, quantized or offloaded as one likes.

        Args:
            pipe: Nobody else may use it from now on.
            model: Name and hash, for the records.
            steps: N, at least 1.
            guidance: Scale of classifier-free guidance; 1 or less means none.
            max_batch: Images in one forward pass, at most; guidance doubles it.
            batch_alone: Draw every image by itself, for exact repeats.
            max_tokens: What T5 reads of a prompt, where there is one.
            swap_pooled: Whether an image that is taken up again has the pooled embedding of its new prompt.
                Without it, it keeps that of its source's prompt and only the token embeddings are new, as in the
                code published with the paper; at step 0 nothing of the source is left, and both are new.
        """
        if steps < 1 or max_batch < 1 or guidance < 0:
            raise SettingsError("steps and max_batch must be at least 1, and guidance at least 0")
        self.pipe, self.model, self.guidance = pipe, model, guidance
        self.device: torch.device = pipe._execution_device  # pyright: ignore[reportPrivateUsage] - knows of offloading
        config: Any = pipe.transformer.config
        self.latent_shape: tuple[int, int, int] = (config.in_channels, config.sample_size, config.sample_size)
        tokens = (config.sample_size // config.patch_size) ** 2
        self.schedule = make_schedule(pipe.scheduler, steps, tokens, self.device)
        self._encoder = Encoder(pipe, max_tokens)
        self._swap_pooled = swap_pooled
        self._owner = Owner(self._work, 1 if batch_alone else max_batch)

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        # how it draws
        steps: int = 28,
        guidance: float = 4.5,
        max_tokens: int = 256,
        swap_pooled: bool = True,
        # where, how wide and how fast
        device: torch.device | str | None = None,
        precision: Precision | None = None,
        offload: Offload = "none",
        t5: T5 = "keep",
        max_batch: int = 8,
        batch_alone: bool = False,
    ) -> Self:
        """Load a diffusers folder, or a model of the hub by its id.

        The arguments that are not named below are the constructor's.

        Args:
            source: A ``Path``, or the text of one, or ``owner/name``.
            device: The GPU if there is one, else the CPU.
            precision: bf16, fp32, fp16 or nf4; bf16 on a GPU and fp32 on a CPU by default.
            offload: What waits in RAM while it is not needed: none, model or group.
            t5: keep, once (dropped while the denoiser runs) or drop.

        Raises:
            ModelError: weights are missing, corrupt or of another kind, or there is too little memory for them.
            SettingsError: precision and offload do not go together, or need a GPU that is not there.
        """
        pipe, model = load(source, choose_placement(device, precision, offload, t5))
        return cls(
            pipe,
            model,
            steps=steps,
            guidance=guidance,
            max_batch=max_batch,
            batch_alone=batch_alone,
            max_tokens=max_tokens,
            swap_pooled=swap_pooled,
        )

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order.

        Of ``keep_steps``, those beyond the schedule are left out. ``progress`` is called from another
        thread, in the caller's context (as ``asyncio.to_thread`` would).
        """
        return await self._submit(requests, store, progress)

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; see ``generate``.

        The lineage goes on: an image resumed at step k has, of the steps below k that are to be kept,
        those that its source kept.

        Raises:
            MissingLatentError: x_k was not kept, or its file is gone.
            SettingsError: the start step is beyond the schedule, or the source has another schedule.
        """
        return await self._submit(requests, store, progress)

    async def _submit(
        self, requests: Sequence[GenerateRequest | RedenoiseRequest], store: Store, progress: Progress | None
    ) -> list[ImageRecord]:
        tell = None if progress is None else in_this_context(progress)
        return await self._owner.submit([Job(request, store, tell) for request in requests])

    def _work(self, tickets: Tickets) -> None:
        """Draw one batch."""
        began = perf_counter()
        starting: list[tuple[Ticket[Job, ImageRecord], Member]] = []
        for ticket in tickets:
            with ticket.failing_alone():
                starting.append((ticket, self._member(ticket.job)))
        batch, members = [ticket for ticket, _ in starting], [member for _, member in starting]

        def on_step(step: int, active: Sequence[int]) -> None:
            for ticket in (batch[i] for i in active if batch[i].wanted):
                with ticket.failing_alone():
                    ticket.job.report(step, self.schedule.steps)
            if not any(ticket.wanted for ticket in batch):
                raise Abandoned

        images = denoise(self.pipe.transformer, members, self.schedule, self.guidance, on_step)
        # One by one, so that the pixels follow from the latent alone.
        pictures = [decode(self.pipe, image.latent[None])[0] for image in images]
        self.pipe.maybe_free_model_hooks()
        seconds = (perf_counter() - began) / max(1, len(batch))
        for ticket, image, picture in zip(batch, images, pictures, strict=True):
            with ticket.failing_alone():
                if ticket.wanted:
                    record = self._record(ticket.job, image, seconds)
                    ticket.job.store.write(record.path, png_bytes(picture, record))
                    ticket.future.set_result(record)

    def _member(self, job: Job) -> Member:
        self._check_start(job)
        prompt = self._prompt(job)
        return Member(
            latent=self._start(job),
            start_step=job.start_step,
            prompt=prompt,
            negative=self._encoder.negative(prompt) if self.guidance > 1 else None,
            keep_steps=frozenset(job.request.keep_steps),
        )

    def _prompt(self, job: Job) -> Embedding:
        prompt = self._encoder.prompt(job.request.prompt)
        if self._swap_pooled or isinstance(job.request, GenerateRequest) or job.start_step == 0:
            return prompt
        return Embedding(prompt.tokens, self._encoder.prompt(job.request.source.prompt).pooled)

    def _check_start(self, job: Job) -> None:
        start, steps = job.start_step, self.schedule.steps
        if not 0 <= start <= steps:
            raise SettingsError(
                f"there is no step {start} for {job.request.id!r} to start at: they go from 0 to {steps}"
            )

    def _start(self, job: Job) -> torch.Tensor:
        """x_k that the request starts from, (channels, height, width)."""
        request, dtype = job.request, self.pipe.text_encoder.dtype
        if isinstance(request, GenerateRequest):
            return noise_for(request.seed, self.latent_shape, dtype, self.device)
        if request.operator == "resume":
            return self._own(resume(self._same_schedule(request), job.store, request.start_step), dtype)
        final = self._own(read_latent(job.store, request.source.latent), dtype)
        return inject(
            final, noise_for(request.seed, self.latent_shape, dtype, self.device), self.schedule, request.start_step
        )

    def _same_schedule(self, request: RedenoiseRequest) -> ImageRecord:
        source, steps = request.source, self.schedule.steps
        if source.steps != steps:
            raise SettingsError(
                f"image {source.id!r} was drawn in {source.steps} steps and cannot be resumed in {steps}; "
                f"load the model with steps={source.steps}, or use the operator 'inject'"
            )
        return source

    def _own(self, latent: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if tuple(latent.shape) != self.latent_shape:
            raise ModelError(
                f"a latent of shape {tuple(latent.shape)} is of another model; {self.model} has {self.latent_shape}"
            )
        return latent.to(self.device, dtype)

    def _record(self, job: Job, image: Denoised, seconds: float) -> ImageRecord:
        """Write the latents of an image and put down how it was made."""
        request, store = job.request, job.store
        start, steps = job.start_step, self.schedule.steps
        height, width = (side * self.pipe.vae_scale_factor for side in self.latent_shape[1:])
        kept = {k: write_latent(store, kept_reference(request.id, k), x) for k, x in sorted(image.kept.items())}
        return ImageRecord(
            id=request.id,
            round=request.round,
            prompt=request.prompt,
            seed=request.seed,
            steps=steps,
            start_step=start,
            start_sigma=self.schedule.sigma(start),
            guidance=self.guidance,
            width=width,
            height=height,
            model=self.model,
            path=f"images/{request.id}.png",
            latent=write_latent(store, final_reference(request.id), image.latent),
            trajectory=job.inherited | kept,
            evaluations=(steps - start) * (2 if self.guidance > 1 else 1),
            seconds=seconds,
            **job.lineage,
        )
