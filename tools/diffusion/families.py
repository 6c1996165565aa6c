"""The diffusion role over pipelines of other families than SD3: Flux, Qwen-Image, Z-Image, Chroma."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from PIL import Image

from ...state import ImageRecord
from ..errors import ModelError, SettingsError
from ..roles import GenerateRequest, Progress, RedenoiseRequest
from ..store import Store
from .family import Family, check_family, make_family
from .family_drawing import Abandoned, Drawing, counted
from .jobs import Job, in_this_context
from .latents import final_reference, kept_reference, read_latent, write_latent
from .loading import class_named, load_any
from .memory import Offload, Precision
from .operators import inject, resume
from .placement import choose_placement
from .png import png_bytes
from .schedule import Schedule


class PipelineDiffusion:
    """Draws and refines with a text-to-image pipeline that has an image-to-image sibling; the only owner of both.

    Images are drawn one after the other in one thread, so that an image is the same whatever else is asked for.
    Both operators start from latents, without a round trip through the autoencoder.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        model: str,
        *,
        steps: int = 28,
        guidance: float = 3.5,
        width: int | None = None,
        height: int | None = None,
        negative_prompt: str = " ",
        max_tokens: int | None = None,
    ) -> None:
        """Take over a pipeline, quantized or offloaded as one likes.

        Args:
            pipe: Text to image. Nobody else may use it from now on.
            model: Name and hash, for the records.
            steps: N, at least 1.
            guidance: What the family calls so: ``true_cfg_scale`` for Qwen-Image and undistilled Flux, otherwise
                ``guidance_scale``, of which 0 means none to Z-Image.
            width: Pixels; None for the family's own.
            height: Pixels; None for the family's own.
            negative_prompt: For ``true_cfg_scale`` above 1.
            max_tokens: What is read of a prompt; None for the family's own.

        Raises:
            ModelError: the family cannot be refined, and why.
        """
        if steps < 1 or guidance < 0:
            raise SettingsError("steps must be at least 1, and guidance at least 0")
        self.model, self.steps, self.guidance = model, steps, guidance
        self.family: Family = make_family(
            pipe, width=width, height=height, negative_prompt=negative_prompt, max_tokens=max_tokens
        )
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detailscribe-pipeline")

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        device: torch.device | str | None = None,
        precision: Precision | None = None,
        offload: Offload = "none",
        **drawing: Any,
    ) -> Self:
        """Load a diffusers folder, or a model of the hub by its id.

        Args:
            source: A ``Path``, or the text of one, or ``owner/name``.
            device: The GPU if there is one, else the CPU.
            precision: bf16, fp32, fp16 or nf4; bf16 on a GPU and fp32 on a CPU by default.
            offload: What waits in RAM while it is not needed: none, model or group.
            drawing: The constructor's arguments.

        Raises:
            ModelError: weights are missing or corrupt, the family cannot be refined, or there is too little memory.
        """
        placement = choose_placement(device, precision, offload)
        check_family(class_named(source))
        pipe, model = load_any(source, placement)
        return cls(pipe, model, **drawing)

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing, at most."""
        return self.steps * self.family.evaluations(self.guidance)

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; ``progress`` is called from another thread."""
        return await self._submit(requests, store, progress)

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order.

        Raises:
            MissingLatentError: x_k was not kept, or its file is gone.
            SettingsError: a step is beyond the schedule, or the source has another one.
        """
        return await self._submit(requests, store, progress)

    async def _submit(
        self, requests: Sequence[GenerateRequest | RedenoiseRequest], store: Store, progress: Progress | None
    ) -> list[ImageRecord]:
        tell = None if progress is None else in_this_context(progress)
        left, loop = threading.Event(), asyncio.get_running_loop()
        try:
            return await asyncio.gather(
                *(loop.run_in_executor(self._owner, self._draw, Job(r, store, tell), left) for r in requests)
            )
        finally:
            left.set()

    def _draw(self, job: Job, left: threading.Event) -> ImageRecord:
        """One image, in the owner's thread."""
        if left.is_set():
            raise Abandoned
        began, request = perf_counter(), job.request
        schedule = self.family.schedule(self.steps if request.steps is None else request.steps)
        _check_steps(job, schedule.steps)
        start = self._start(job, schedule)
        drawing = Drawing(job, start, schedule, left)
        if isinstance(request, RedenoiseRequest) and job.start_step == schedule.steps:
            picture = _picture_of(request.source, job.store)
        else:
            guidance = self.guidance if request.guidance is None else request.guidance
            with counted(self.family.drawing.transformer) as passes:
                picture = self.family.run(request.prompt, start, schedule, job.start_step, guidance, drawing.on_step)
            drawing.evaluations = passes.rows
        return self._write(drawing, picture, perf_counter() - began)

    def _start(self, job: Job, schedule: Schedule) -> torch.Tensor:
        """x_k that the request starts from."""
        request = job.request
        if isinstance(request, GenerateRequest):
            return self.family.noise(request.seed)
        noise = self.family.noise(request.seed)
        if request.operator == "inject":
            final = self._own(read_latent(job.store, request.source.latent), noise)
            return inject(final, noise, schedule, request.start_step)
        if request.source.steps != schedule.steps:
            raise SettingsError(
                f"image {request.source.id!r} was drawn in {request.source.steps} steps and cannot be resumed in "
                f"{schedule.steps}; ask for steps={request.source.steps}, or use the operator 'inject'"
            )
        return self._own(read_latent(job.store, resume(request.source, request.start_step)), noise)

    def _own(self, latent: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        if latent.shape != noise.shape:
            raise ModelError(
                f"a latent of shape {tuple(latent.shape)} is of another model; {self.model} has {tuple(noise.shape)}"
            )
        return latent.to(noise.device, noise.dtype)

    def _write(self, drawing: Drawing, picture: Image.Image, seconds: float) -> ImageRecord:
        """Write picture and latents; the record says how the image was made."""
        job, request, steps = drawing.job, drawing.job.request, drawing.schedule.steps
        kept = {k: write_latent(job.store, kept_reference(request.id, k), x) for k, x in drawing.kept.items()}
        record = ImageRecord(
            id=request.id,
            round=request.round,
            prompt=request.prompt,
            seed=request.seed,
            steps=steps,
            start_step=job.start_step,
            start_sigma=drawing.schedule.sigma(job.start_step),
            guidance=self.guidance if request.guidance is None else request.guidance,
            width=picture.width,
            height=picture.height,
            model=self.model,
            path=f"images/{request.id}.png",
            latent=write_latent(job.store, final_reference(request.id), drawing.latent),
            trajectory=job.inherited | kept,
            evaluations=drawing.evaluations,
            seconds=seconds,
            **job.lineage,
        )
        job.store.write(record.path, png_bytes(picture, record))
        return record


def _check_steps(job: Job, steps: int) -> None:
    id, start = job.request.id, job.start_step
    if steps < 1 or not 0 <= start <= steps:
        raise SettingsError(f"there is no step {start} for {id!r} to start at: they go from 0 to {steps}")
    if job.request.stop_step is not None and job.request.stop_step != steps:
        raise SettingsError(
            f"{id!r} cannot stop at step {job.request.stop_step}: only SD3 (LocalDiffusion) can preview"
        )


def _picture_of(source: ImageRecord, store: Store) -> Image.Image:
    """The source's own picture, since at step N nothing changes."""
    with Image.open(store.path(source.path)) as picture:
        return picture.convert("RGB")
