"""The diffusion role over a model in this process."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image

from ...state import ImageRecord
from ..errors import SettingsError
from ..one_thread import one_thread
from ..roles import GenerateRequest, Progress, RedenoiseRequest
from ..store import Store
from .decode import decode
from .denoise import Sample
from .embeddings import Encoder
from .engine import Engine, Statistics
from .engine_speed import attention_backend, stepper
from .engine_ticket import Work
from .jobs import Job, in_this_context
from .latents import Latents
from .loading import load
from .memory import T5, Offload, Precision
from .placement import choose_placement
from .records import write_image
from .samples import Samples
from .schedule import Schedule


class LocalDiffusion:
    """Draws with an SD3-class pipeline; the only owner of it.

    Whatever is in flight, from any callers, shares the model step by step (``engine``). An image is the same
    alone and in a batch up to rounding (1e-4 in latents of unit variance, in float32); with ``batch_alone`` it is
    the same exactly.

    Besides the model it holds the latents and embeddings of at most 4 * ``max_batch`` images that have begun,
    the last ``remembered_prompts`` embeddings, and ``latent_memory`` bytes of latents.
    """

    def __init__(
        self,
        pipe: StableDiffusion3Pipeline,
        model: str,
        *,
        steps: int = 28,
        guidance: float = 4.5,
        max_tokens: int = 256,
        swap_pooled: bool = True,
        max_batch: int = 8,
        batch_alone: bool = False,
        compiled: bool = False,
        latent_memory: int = 256 * 2**20,
        remembered_prompts: int = 64,
    ) -> None:
        """Take over a pipeline, quantized or offloaded as one likes.

        Args:
            pipe: Nobody else may use it from now on.
            model: Name and hash, for the records.
            steps: N, at least 1, where a request names none.
            guidance: Scale of classifier-free guidance where a request names none; 1 or less means none.
            max_tokens: What T5 reads of a prompt, where there is one.
            swap_pooled: Whether an image that is taken up again has the pooled embedding of its new prompt.
                Without it, it keeps that of its source's prompt and only the token embeddings are new, as in the
                code published with the paper; at step 0 nothing of the source is left, and both are new.
            max_batch: Images in one forward pass, at most; guidance doubles it. Out of memory halves it.
            batch_alone: Draw every image by itself, for exact repeats.
            compiled: Compile the denoiser's blocks for passes of more than one image, where a C++ or CUDA compiler
                is there. The first such pass takes a minute, so it pays for hundreds of images.
            latent_memory: Bytes of latents remembered; all of them are in their store as well.
            remembered_prompts: Prompts whose embeddings are remembered, at least 1.
        """
        if min(steps, max_batch, remembered_prompts) < 1 or min(guidance, latent_memory) < 0:
            raise SettingsError(
                "steps, max_batch and remembered_prompts must be at least 1, guidance and latent_memory at least 0"
            )
        self.pipe, self.model = pipe, model
        self._latents = Latents(latent_memory)
        encoder = Encoder(pipe, max_tokens, remembered_prompts)
        self._samples = Samples(pipe, steps, guidance, encoder, self._latents, swap_pooled)
        self._engine = Engine(
            stepper(pipe.transformer, compiled), 1 if batch_alone else max_batch, pipe.maybe_free_model_hooks
        )

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
        compiled: bool = False,
        # what it holds
        latent_memory: int = 256 * 2**20,
        remembered_prompts: int = 64,
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
        with one_thread():
            pipe, model = load(source, choose_placement(device, precision, offload, t5))
        return cls(
            pipe,
            model,
            steps=steps,
            guidance=guidance,
            max_tokens=max_tokens,
            swap_pooled=swap_pooled,
            max_batch=max_batch,
            batch_alone=batch_alone,
            compiled=compiled,
            latent_memory=latent_memory,
            remembered_prompts=remembered_prompts,
        )

    @property
    def schedule(self) -> Schedule:
        """Of an image whose request names no number of steps."""
        return self._samples.schedule()

    @property
    def statistics(self) -> Statistics:
        """What the denoiser has done so far, for all callers."""
        return self._engine.statistics

    @property
    def attention(self) -> str:
        """The attention that torch takes for this model on its device, such as ``flash_attention``."""
        return attention_backend(self.pipe.transformer, self.pipe.text_encoder.dtype, self._samples.device)

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing; a guided step counts two."""
        return self._samples.evaluations_per_drawing

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order.

        Of ``keep_steps``, those beyond the last step that is run are left out. ``progress`` is called from
        another thread, in the caller's context (as ``asyncio.to_thread`` would).

        Raises:
            ModelError: there is no memory for one image even alone, or the model was closed.
            SettingsError: a step is beyond the schedule.
        """
        return await self._draw_all(requests, store, progress)

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; see ``generate``.

        The lineage goes on: an image resumed at step k has, of the steps below k that are to be kept,
        those that its source kept.

        Raises:
            MissingLatentError: x_k was not kept, or its file is gone.
            SettingsError: a step is beyond the schedule, or the source has another schedule.
        """
        return await self._draw_all(requests, store, progress)

    def close(self) -> None:
        """End the work in flight with ``ModelError`` and take no more; it need not be called."""
        self._engine.close()

    async def _draw_all(
        self, requests: Sequence[GenerateRequest | RedenoiseRequest], store: Store, progress: Progress | None
    ) -> list[ImageRecord]:
        tell = None if progress is None else in_this_context(progress)
        images = [asyncio.ensure_future(self._draw(Job(request, store, tell))) for request in requests]
        try:
            return await asyncio.gather(*images)
        finally:
            for image in images:
                image.cancel()

    async def _draw(self, job: Job) -> ImageRecord:
        done = await self._engine.run(Work(partial(self._samples.sample, job), self._picture, job.report))
        # In a thread of its own: the event loop and the model go on meanwhile.
        return await asyncio.to_thread(write_image, job, done, self.model, self._latents)

    def _picture(self, sample: Sample) -> Image.Image:
        # One by one, so that the pixels follow from the latent alone.
        [picture] = decode(self.pipe, sample.final[None])
        return picture
