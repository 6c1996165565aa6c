"""The diffusion role over a model in this process."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch.nn.functional import avg_pool2d

from ...state import Attempt, DrawingOptions, ImageRecord
from ..blocking import one_thread
from ..errors import ModelError, SettingsError
from ..files import Store
from ..roles import Progress
from . import sampling
from .blocks import BlockCache, compile_rows, mix_lengths, set_attention
from .embeddings import Embedding, decode, encode
from .engine import Engine, Statistics, Work
from .job import DrawJob
from .latents import final_latent, read_source, write_latents
from .loading import load
from .memory import T5, Offload, Precision
from .placement import choose_placement, tile
from .sampling import ALL, Sample, Schedule, picture_size

PROMPTS = 64
"""Encoded prompts kept in memory."""
PREVIEW_SIDE = 32
"""The longer side of a preview, in latent pixels: a quarter of that of an image of 1024 pixels."""
SMALL = 10**8
"""A denoiser with fewer parameters computes in one thread on a CPU."""


class ModelDiffusion:
    """The only owner of a diffusers pipeline; images in flight, from any callers, share its passes.

    An image is the same alone and in a batch up to rounding: 1e-4 in latents of unit variance in float32, about 0.05 in
    bfloat16 and float16. With ``max_batch=1`` it is exactly the same.
    """

    check_class: ClassVar[Callable[[str], object]]
    """Raises ``ModelError`` if pipelines of the class of that name cannot take this role."""
    _engine: Engine[Any]

    def __init__(
        self,
        pipe: DiffusionPipeline,
        model: str,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        options: DrawingOptions | None = None,
        max_tokens: int | None = None,
        swap_pooled: bool = True,
        max_batch: int = 8,
        compiled: bool = False,
        attention: str | None = None,
        tiled: bool = False,
        in_turns: bool = False,
    ) -> None:
        """Take over a pipeline, quantized or offloaded or neither; nobody else may use it from now on.

        ``SettingsError`` if the family has no such setting, ``ModelError`` if it cannot draw from a prompt alone.

        Args:
            pipe: Of diffusers.
            model: Name and hash, for the records.
            steps: N, at least 1, for attempts that set none; None for the model's default.
            guidance: Scale of classifier-free guidance, for attempts that set none; 1 or less turns it off, and None is
                the model's default. For other families than SD3 it is ``true_cfg_scale`` (Qwen-Image, undistilled Flux)
                or ``guidance_scale`` (the others; Z-Image turns it off at 0).
            options: Further drawing options; the pipeline already has their weights and LoRAs.
            max_tokens: Tokens of a prompt that T5, or another family's text encoder, reads; None for the default.
            swap_pooled: Whether a refined image of SD3 gets the pooled embedding of its new prompt. Without it, only
                the token embeddings are new, unless at step 0, and the CLIPs read refined prompts from the beginning,
                as in the code published with the paper.
            max_batch: Images in one forward pass, at most; guidance doubles the rows. Out of memory halves it.
            compiled: Compile the denoiser's blocks, and SD3's decoder. The first passes take a minute, so it pays for
                many images. Results round differently: for images to repeat exactly, leave it off.
            attention: A backend of diffusers' dispatcher, such as ``_native_cudnn``, ``flash`` or ``sage``; None for
                torch's choice. With a backend, prompts of different lengths do not share a pass.
            tiled: Decode in overlapping tiles, which takes less memory.
            in_turns: Encode prompts only while no image is in flight, for parts that take turns on the device.
        """
        self.pipe: Any = pipe
        self.denoiser: Any = getattr(pipe, "transformer", None) or self.pipe.unet
        default_steps, default_guidance, self.options = self._defaults(model, options or DrawingOptions())
        self.model = self.options.name(model)
        self.steps = default_steps if steps is None else steps
        self.guidance = default_guidance if guidance is None else guidance
        if min(self.steps, max_batch) < 1 or self.guidance < 0:
            raise SettingsError("steps and max_batch must be at least 1, and guidance at least 0")
        self._swap_pooled, self._attention, self._compiled = swap_pooled, attention, compiled
        self._max_batch, self._in_turns = max_batch, in_turns
        self._set_up(max_tokens)
        if attention is not None:
            set_attention(self.denoiser, attention)
        tile(self.pipe.vae, always=tiled)

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        device: torch.device | str | None = None,
        precision: Precision | None = None,
        offload: Offload = "none",
        t5: T5 = "keep",
        options: DrawingOptions | None = None,
        **drawing: Any,
    ) -> Self:
        """Load a diffusers folder, or a model of the hub by its id; ``drawing`` are the constructor's arguments.

        See ``choose_placement`` and ``memory`` for the others; ``t5`` has no effect on a model without a T5.
        ``ModelError`` if weights are missing, broken or of another kind, or there is too little memory for them.
        """
        with one_thread():
            pipe, model = load(source, choose_placement(device, precision, offload, t5), options, cls.check_class)
        return cls(pipe, model, in_turns=offload == "model", options=options, **drawing)

    @property
    def statistics(self) -> Statistics:
        """What the denoiser has done so far, for all callers."""
        return self._engine.statistics

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Draw one image; attempts that are awaited together, as by ``asyncio.gather``, share the forward passes.

        An image resumed at step k has the steps below k of ``keep_steps`` that its source kept; steps after the last
        one that runs are not kept. ``progress`` is called from another thread, in the caller's context (as
        ``asyncio.to_thread`` would).

        ``MissingLatentError`` if x_k was not kept, or its file is missing; ``SettingsError`` if a step is beyond the
        schedule, or the source has another schedule; ``ModelError`` if there is no memory even for this image alone,
        the source is of another model, or this model was closed.
        """
        job = DrawJob(attempt, store, source, progress)
        try:
            done = await self._engine.run(self._work(job))
            # In a thread of its own: the event loop and the model go on meanwhile.
            return await asyncio.to_thread(self._write, job, done)
        except ValueError as error:  # of a picture that the pipeline does not take
            if attempt.operator != "edit":
                raise
            raise ModelError(f"{self.model} cannot edit {attempt.source!r}: {error}") from error
        finally:
            job.wanted = False

    def close(self) -> None:
        """End the work in flight with ``ModelError`` and take no more; calling it is optional."""
        self._engine.close()

    def _defaults(self, model: str, options: DrawingOptions) -> tuple[int, float, DrawingOptions]:
        """The model's own steps and guidance under these options, and the options with what follows from them."""
        ...

    def _set_up(self, max_tokens: int | None) -> None:
        """Make the engine and what it needs."""
        ...

    def _work(self, job: DrawJob) -> Work[Any, Image.Image]: ...

    def _made(self, job: DrawJob, done: Work[Any, Image.Image]) -> tuple[Image.Image, dict[str, Any]]:
        """Write the latents; the picture, and the fields of its record that say how it was made."""
        ...

    def _write(self, job: DrawJob, done: Work[Any, Image.Image]) -> ImageRecord:
        picture, made = self._made(job, done)
        made |= {"options": self.options.chosen, "model": self.model, "seconds": done.seconds, "waited": done.waited}
        return job.write(picture, **made)


def check_sd3(name: str) -> None:
    """Raises ``ModelError`` for a class of pipelines other than SD3's."""
    if not name.startswith("StableDiffusion3"):
        raise ModelError(f"it holds a {name}, not a StableDiffusion3Pipeline")


class LocalDiffusion(ModelDiffusion):
    """Draws with an SD3-class pipeline, step by step (``engine``).

    Besides the model it holds the latents and embeddings of at most 4 * ``max_batch`` images that have begun, and the
    latest embeddings of prompts.
    """

    check_class = staticmethod(check_sd3)

    def _defaults(self, model: str, options: DrawingOptions) -> tuple[int, float, DrawingOptions]:
        """Those of the publisher of SD3.5 for Turbo, Medium and Large."""
        config = self.denoiser.config
        medium = config.num_layers == 24 and config.dual_attention_layers
        steps, guidance = (4, 0.0) if "turbo" in model.lower() else (40 if medium else 28, 4.5)
        if options.distilled_steps is not None:
            steps, guidance = options.distilled_steps, options.distilled_guidance(guidance)
        return steps, guidance, options

    def _set_up(self, max_tokens: int | None) -> None:
        pipe, options, config = self.pipe, self.options, self.denoiser.config
        needs_guidance = ("negative_prompt", "guidance_interval", "skip_layers")
        if self.guidance <= 1 and (idle := [name for name in needs_guidance if getattr(options, name)]):
            raise SettingsError(f"{idle[0]} has no effect at guidance {self.guidance:g}: leave one of them out")
        if options.skip_layers and max(options.skip_layers) >= config.num_layers:
            last = config.num_layers - 1
            raise SettingsError(f"skip_layers names block {max(options.skip_layers)}; there are 0 to {last}")
        scale, unit = pipe.vae_scale_factor, pipe.vae_scale_factor * config.patch_size
        width, height = picture_size(options, config.sample_size * scale, unit, config.pos_embed_max_size * unit)
        self._shape = (config.in_channels, height // scale, width // scale)
        scheduler, tokens = sampling.shifted(pipe.scheduler, options), width * height // unit**2
        self._device: torch.device = pipe._execution_device  # knows of offloading
        self._dtype: torch.dtype = pipe.text_encoder.dtype
        self._any_length = mix_lengths(self.denoiser) and self._attention is None
        self._encode = lru_cache(PROMPTS)(partial(encode, pipe, max_tokens=max_tokens or 256))
        self._schedule = lru_cache(partial(sampling.make_schedule, scheduler, tokens=tokens, device=self._device))
        if self._compiled:
            pipe.vae.to(memory_format=torch.channels_last)
            for part in (*self.denoiser.transformer_blocks, pipe.vae.decoder):
                compile_rows(part)
        step = partial(sampling.advance, self.denoiser)
        if options.block_cache is not None:
            step = partial(step, around=BlockCache(self.denoiser, options.block_cache).applied)
        # OpenMP threads busy-wait for each other: that slows a small model down ten times beside other processes, and
        # on an idle machine several threads gain only a tenth.
        small = self._device.type == "cpu" and self.denoiser.num_parameters() < SMALL
        around = one_thread if small else nullcontext
        self._engine = Engine(step, self._max_batch, pipe.maybe_free_model_hooks, self._in_turns, around)

    @property
    def schedule(self) -> Schedule:
        """Of attempts that set no number of steps."""
        return self._schedule(self.steps)

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing, at most; a guided step counts two, and three if it
        skips layers."""
        guided = sampling.guided_steps(self.schedule, self.guidance, self.options.guidance_interval or ALL)
        return self.steps + sum(guided) + sum(guided[step] for step in self._skip_steps(self.steps))

    def _work(self, job: DrawJob) -> Work[Sample, Image.Image]:
        return Work(
            begin=partial(self._begin, job),
            # One by one, so that the pixels depend on nothing but the latent.
            finish=lambda sample: decode(self.pipe, sample.final[None])[0],
            on_step=partial(self._on_step, job),
        )

    def _on_step(self, job: DrawJob, sample: Sample) -> None:
        job.report(sample.step - job.start_step, sample.end - job.start_step)
        # A compiled decoder would be compiled again for previews, and one that takes turns would displace the denoiser.
        if (clean := sample.clean) is not None and not (sample.done or self._compiled or self._in_turns):
            ratio = ceil(max(clean.shape[1:]) / PREVIEW_SIDE)
            job.preview(lambda: decode(self.pipe, avg_pool2d(clean[None], ratio))[0])

    def _begin(self, job: DrawJob) -> Sample:
        """The image before its first step."""
        attempt = job.attempt
        schedule = self._schedule(attempt.steps or self.steps)
        end, start = schedule.steps, job.start_step
        stop = end if attempt.stop_step is None else attempt.stop_step
        job.check_start(end)
        if not min(start + 1, end) <= stop <= end:
            raise SettingsError(f"{job.id!r} starts at step {start} of {end} and cannot stop at {stop}")
        guidance = self.guidance if attempt.guidance is None else attempt.guidance
        encoded = partial(self._encode, job.prompt, refined=job.source is not None and self._swap_pooled)
        prompt, negative = encoded(), None
        if guidance > 1:
            negative = self._encode(self.options.negative_prompt or "", length=len(prompt.tokens))
            prompt = encoded(length=len(negative.tokens)) if len(negative.tokens) > len(prompt.tokens) else prompt
        if job.source is not None and start and not self._swap_pooled:
            prompt = Embedding(prompt.tokens, self._encode(job.source.prompt, refined=False).pooled)
        latent = self._start(job, schedule)
        return Sample(
            latent=latent,
            schedule=schedule,
            prompt=prompt,
            negative=negative,
            guidance=guidance,
            interval=self.options.guidance_interval or ALL,
            skip_layers=self.options.skip_layers,
            skip_scale=self.options.skip_scale,
            skip_steps=self._skip_steps(end),
            step=start,
            stop=stop,
            keep_steps=job.keep_steps | ({stop} if stop < end else frozenset()),
            any_length=self._any_length,
            held=sampling.hold(attempt.region, lambda: final_latent(job), latent, schedule, start),
        )

    def _skip_steps(self, steps: int) -> frozenset[int]:
        """Steps k of N = ``steps`` with skip-layer guidance, if they are guided."""
        start, stop = self.options.skip_interval
        return frozenset(k for k in range(steps) if self.options.skip_layers and steps * start < k < steps * stop)

    def _start(self, job: DrawJob, schedule: Schedule) -> torch.Tensor:
        """x_k, (channels, height, width)."""
        latent = read_source(job, schedule.steps)
        if latent is not None:
            if tuple(latent.shape) != self._shape:
                shape = tuple(latent.shape)
                raise ModelError(f"a latent of shape {shape} is of another model; this one has {self._shape}")
            latent = latent.to(self._device, self._dtype)
            if job.attempt.operator == "resume":
                return latent
        noise = sampling.draw_noise(job.seed, self._shape, self._dtype, self._device)
        return noise if latent is None else sampling.inject(latent, noise, schedule, job.start_step)

    def _made(self, job: DrawJob, done: Work[Sample, Image.Image]) -> tuple[Image.Image, dict[str, Any]]:
        sample, steps = done.sample, done.sample.schedule.steps
        made = {"steps": steps, "guidance": sample.guidance, "evaluations": sample.evaluations}
        made |= {"start_sigma": sample.schedule.sigma(job.start_step)}
        made |= {"stop_step": sample.end if sample.end < steps else None}
        return done.result, made | write_latents(job, sample.final, sample.kept)
