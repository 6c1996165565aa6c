"""The diffusion role over the pipelines of other families than SD3: Flux, Qwen-Image, Z-Image, Chroma, and others."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers import FirstBlockCacheConfig
from PIL import Image

from ...state import DrawingOptions
from ..errors import ModelError, SettingsError
from ..files import picture_in
from ..quiet import quiet_encoding
from .blocks import replaced
from .embeddings import corrections_first
from .engine import Engine, Kind, Work
from .job import DrawJob
from .latents import final_latent, read_source, write_latents
from .loading import check_scheduler
from .local import ModelDiffusion
from .sampling import Held, Schedule, hold, inject, picture_size, shifted

_DISTILLED: dict[str, tuple[int, float, Callable[[Any], bool]]] = {
    "FluxPipeline": (
        4,
        0.0,
        lambda pipe: not (_reads_guidance(pipe) or pipe.scheduler.config.get("use_dynamic_shifting")),
    ),
    "ZImagePipeline": (9, 0.0, lambda pipe: pipe.scheduler.config.get("shift") == 3),
    "Flux2KleinPipeline": (4, 1.0, lambda pipe: pipe.config.is_distilled),
    "Krea2Pipeline": (8, 0.0, lambda pipe: pipe.config.is_distilled),
}
"""For distilled models, by class: the publisher's steps and guidance, and how to recognize the model: FLUX.1 schnell,
Z-Image-Turbo, FLUX.2 klein, Krea 2 TDM."""
_TOGETHER = (
    "ChromaPipeline",
    "Flux2KleinPipeline",
    "Flux2Pipeline",
    "FluxPipeline",
    "Krea2Pipeline",
    "Lumina2Pipeline",
    "QwenImagePipeline",
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "ZImagePipeline",
)
"""Classes whose images share passes. A class is added with a test that its images are the same alone and in a batch:
Qwen-Image 2.1 and CogView4 place an image behind the longest prompt of the batch, GLM-Image samples from one seed."""
_ONLY_EDITS = ("QwenImageEdit", "LongCatImageEdit")
"""Prefixes of classes that draw nothing without a picture."""


def check_family(name: str, kind: type[Any] | None = None) -> str:
    """Why pipelines of that class cannot refine images, as far as the class shows; empty if they can. ``ModelError`` if
    they cannot draw from a prompt alone."""
    kind = kind or getattr(diffusers, name, None)
    if not isinstance(kind, type):
        raise ModelError(f"diffusers {diffusers.__version__} has no pipeline {name}: a newer one may")
    parameters = inspect.signature(kind.__call__).parameters
    if missing := [need for need in ("prompt", "num_inference_steps", "generator") if need not in parameters]:
        raise ModelError(f"a {name} takes no {', '.join(missing)}, so it cannot draw from a prompt and a seed")
    if extra := sorted({"strength", "control_image", "mask_image", "layers"} & set(parameters)):
        raise ModelError(f"a {name} takes {', '.join(extra)}: here is only a prompt, so name a text-to-image pipeline")
    scale = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"
    if scale in parameters and parameters[scale].default is None:
        raise ModelError(f"a {name} has no default {scale}, and guidance by a schedule is not supported")
    lacking = [] if scale in parameters else ["guidance_scale"]
    lacking += [] if hasattr(kind, "prepare_latents") else ["latents"]
    lacking += [] if "callback_on_step_end" in parameters else ["callback_on_step_end"]
    return f"a {name} takes no {', '.join(lacking)}" if lacking else ""


class PipelineDiffusion(ModelDiffusion):
    """Draws and refines with a text-to-image pipeline of diffusers. One that takes a picture beside the prompt, such as
    Kontext, FLUX.2 or Qwen-Image-Edit, edits.

    Waiting images with the same steps, start and guidance are drawn in the same passes, if their class is tested for
    it. To refine, the pipeline is called as for a full drawing, with x_k in place of its noise and the noise levels
    from step k on. Latents have the pipeline's own form without the batch: (tokens, channels) if it packs them.
    Pipelines that cannot be called so only draw, and their images have no latents.
    """

    check_class = staticmethod(check_family)

    def _defaults(self, model: str, options: DrawingOptions) -> tuple[int, float, DrawingOptions]:
        pipe = self.pipe
        scheduler: Any = pipe.scheduler
        self.name = type(pipe).__name__
        self.only_draws = check_family(self.name, type(pipe))
        """Why its images cannot be refined; empty if they can."""
        if type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler":
            check_scheduler(scheduler)
        else:
            self.only_draws = self.only_draws or f"its scheduler is a {type(scheduler).__name__}"
        if self.only_draws and options.shift is not None:
            raise SettingsError(f"{self.only_draws}, so it has no shift: leave it out")
        self._parameters = inspect.signature(type(pipe).__call__).parameters
        self._reads_guidance = _reads_guidance(pipe)
        self._scale = "guidance_scale"
        """Parameter for the guidance."""
        if "true_cfg_scale" in self._parameters and not self._reads_guidance:
            self._scale = "true_cfg_scale"
        default = self._parameters.get(self._scale)
        steps, guidance = self._parameters["num_inference_steps"].default, default.default if default else 0.0
        if sigmas := pipe.config.get("sample_sigmas"):  # of Qwen-Image 2.1, which then ignores num_inference_steps
            steps = len(sigmas)
        self._distilled = False
        if (known := _DISTILLED.get(self.name)) is not None and known[2](pipe):
            steps, guidance, self._distilled = known[0], known[1], True
        if options.distilled_steps is not None:
            steps = options.distilled_steps
            guidance = guidance if self._reads_guidance else options.distilled_guidance(guidance)
            if scheduler.config.shift_terminal and options.shift is None:
                # As the publishers of Qwen-Image-Lightning do: few steps need no last one near the end.
                options = options.model_copy(update={"shift": 3.0})
        return steps, guidance, options

    def _set_up(self, max_tokens: int | None) -> None:
        pipe, options, has = self.pipe, self.options, self._parameters
        side = getattr(pipe, "default_sample_size", None)
        if side is None and self.denoiser is not getattr(pipe, "transformer", None):
            side = self.denoiser.config.sample_size
        pixels = 1024 if side is None else side * pipe.vae_scale_factor
        width, height = picture_size(options, pixels, pipe.image_processor.config.vae_scale_factor)
        self.edits = "image" in has
        """Whether it takes a picture and an instruction."""
        # Without max_area, Kontext draws a megapixel in that aspect.
        sizes = {"width": width, "height": height, "max_area": width * height}
        self._arguments: dict[str, Any] = {name: value for name, value in sizes.items() if name in has}
        if "width" not in has and (options.width or options.height):
            raise SettingsError(f"a {self.name} chooses the size by the picture: leave width and height out")
        if options.negative_prompt is not None:
            if not ("negative_prompt" in has and self._is_guided(self.guidance)):
                how = f"a {self.name} at guidance {self.guidance:g}"
                raise SettingsError(f"a negative prompt has no effect on {how}: leave it out")
            self._arguments["negative_prompt"] = options.negative_prompt
        for setting in ("guidance_interval", "skip_layers"):
            if getattr(options, setting):
                raise SettingsError(f"{setting} has no effect on a {self.name}, only on SD3: leave {setting} out")
        if max_tokens is None and self.name == "FluxPipeline" and self._distilled:
            max_tokens = 256  # what FLUX.1 schnell was made for, though its pipeline reads 512
        if max_tokens is not None:
            if "max_sequence_length" not in has:
                raise SettingsError(f"a {self.name} reads whole prompts: leave max_tokens out")
            self._arguments["max_sequence_length"] = max_tokens
        try:
            if options.block_cache is not None and self.name.startswith("Flux2"):
                raise ValueError("that of diffusers 0.42 fails on its last block")
            if options.block_cache is not None:
                if "cache_context" not in inspect.unwrap(type(pipe).__call__).__code__.co_names:
                    raise ValueError("it opens no cache_context")
                self.denoiser.enable_cache(FirstBlockCacheConfig(options.block_cache))
        except (AttributeError, ValueError) as error:
            raise SettingsError(f"a {self.name} has no block cache, so leave block_cache out: {error}") from error
        pipe.register_modules(scheduler=shifted(pipe.scheduler, options))
        try:
            if self._compiled:
                self.denoiser.compile_repeated_blocks()
        except ValueError as error:
            raise SettingsError(f"a {self.name} has no blocks to compile: {error}") from error
        if hasattr(pipe.vae, "enable_slicing"):
            pipe.vae.enable_slicing()  # decoding one by one takes no longer and a fraction of the memory
        pipe.set_progress_bar_config(disable=True)
        self._schedules: dict[int, Schedule] = {}
        # A chosen kernel may take no mask for padded prompts, and diffusers' block cache decides for a whole batch.
        alone = self.name not in _TOGETHER or self._attention or options.block_cache
        self._engine = Engine(self._draw_together, 1 if alone else self._max_batch)

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing, at most."""
        return self.steps * (2 if self._is_guided(self.guidance) else 1)

    def _work(self, job: DrawJob) -> "Work[Drawing, Image.Image]":
        return Work(begin=lambda: Drawing(self, job), finish=lambda drawing: drawing.picture)

    def _draw_together(self, drawings: "Sequence[Drawing]") -> None:
        """Draw images of one kind in the same passes."""
        first, rows = drawings[0], 0

        def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            """Count the rows of a forward pass; its first argument is the latents, one tensor or a list of them."""
            nonlocal rows
            rows += len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

        if any(drawing.needs_schedule for drawing in drawings):
            self.schedule(first.steps)  # before the call that needs it
        with self.denoiser.register_forward_pre_hook(count, with_kwargs=True):
            pictures = self._call(first.steps, first.guidance, drawings)
        for drawing, picture in zip(drawings, pictures, strict=True):
            drawing.finish(picture, rows // len(drawings))

    def schedule(self, steps: int) -> Schedule:
        """The noise levels for N = ``steps``, as the pipeline sets them; call it in the engine's thread."""
        if steps not in self._schedules:
            with suppress(Ended):
                self._call(steps, 0.0)
        return self._schedules[steps]

    def _call(self, steps: int, guidance: float, drawings: "Sequence[Drawing]" = ()) -> list[Image.Image]:
        """The pictures of ``drawings``, which all start at one step of N = ``steps``, in the same passes; without
        drawings it raises ``Ended`` as soon as the noise levels are known."""
        scheduler: Any = self.pipe.scheduler
        prepare, set_all = self.pipe.prepare_latents, scheduler.set_timesteps
        start, edited = (drawings[0].job.start_step, drawings[0].edited) if drawings else (0, None)
        prompts = [drawing.job.prompt for drawing in drawings] or [" "]

        def check_wanted() -> None:
            if not any(drawing.job.wanted for drawing in drawings):
                raise Ended

        def prepare_latents(*args: Any, **more: Any) -> Any:
            prepared = prepare(*args, **more)
            noise, rest = (prepared[0], prepared[1:]) if isinstance(prepared, tuple) else (prepared, None)
            if drawings:
                noise = torch.stack([drawing.first(row) for drawing, row in zip(drawings, noise, strict=True)])
            return noise if rest is None else (noise, *rest)

        @functools.wraps(set_all)
        def set_timesteps(*args: Any, **more: Any) -> None:
            set_all(*args, **more)
            if self.only_draws:
                return
            if (taken := len(scheduler.timesteps)) != steps:
                raise SettingsError(f"{self.model} takes {taken} steps, not {steps}: ask for steps={taken}")
            if edited is None:  # the shift depends on the size, which an edit may change
                self._schedules[steps] = Schedule(scheduler.sigmas, scheduler.timesteps)
            scheduler.sigmas, scheduler.timesteps = scheduler.sigmas[start:], scheduler.timesteps[start:]
            check_wanted()

        def on_step_end(pipe: Any, step: int, timestep: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
            check_wanted()
            rows = zip(drawings, tensors["latents"], strict=True)
            return {"latents": torch.stack([drawing.on_step(start + step + 1, latent) for drawing, latent in rows])}

        how: dict[str, Any] = {self._scale: guidance, "callback_on_step_end": on_step_end}
        how = {name: value for name, value in how.items() if name in self._parameters}
        if self._scale == "true_cfg_scale" and guidance > 1:
            how["negative_prompt"] = " "
        how |= self._arguments
        if edited is not None:  # Kontext would read and draw another size
            unit = self.pipe.image_processor.config.vae_scale_factor
            width, height = (max(side // unit, 1) * unit for side in edited.size)
            more = {"width": width, "height": height, "max_area": width * height, "_auto_resize": False}
            how |= {name: value for name, value in more.items() if name in self._parameters} | {"image": edited}
        seeds = [drawing.job.seed for drawing in drawings] or [0]
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        per_image: dict[str, Any] = {"prompt": prompts, "generator": generators}
        refined = drawings and drawings[0].job.source is not None and edited is None
        if refined and "prompt_2" in self._parameters:
            per_image |= {"prompt": [corrections_first(self.pipe, prompt) for prompt in prompts], "prompt_2": prompts}
        if "negative_prompt" in how:
            per_image["negative_prompt"] = [how["negative_prompt"]] * len(prompts)
        if len(prompts) == 1:
            per_image = {name: values[0] for name, values in per_image.items()}
        try:
            with (
                quiet_encoding(self.pipe),
                replaced(self.pipe, prepare_latents=prepare_latents),
                replaced(scheduler, set_timesteps=set_timesteps),
            ):
                return self.pipe(num_inference_steps=steps, **(how | per_image)).images
        finally:
            # A call that ended early has neither offloaded the model nor reset the block cache.
            self.pipe.maybe_free_model_hooks()

    def _is_guided(self, guidance: float) -> bool:
        """Whether a step takes two passes, by the pipeline's own rule where it has one."""
        if self._reads_guidance:
            return False
        rule = getattr(type(self.pipe), "do_classifier_free_guidance", None)
        if "true_cfg_scale" in self._parameters or not isinstance(rule, property) or rule.fget is None:
            return guidance > 1
        return bool(rule.fget(SimpleNamespace(_guidance_scale=guidance, config=self.pipe.config, unet=self.denoiser)))

    def _made(self, job: DrawJob, done: "Work[Drawing, Image.Image]") -> tuple[Image.Image, dict[str, Any]]:
        drawing, start = done.sample, job.start_step
        sigma = 1.0 if drawing.edited or self.only_draws else self.schedule(drawing.steps).sigma(start)
        picture = job.fitted(done.result, drawing.edited) if drawing.edited else done.result
        has_latent = not self.only_draws and picture is done.result
        latents = write_latents(job, drawing.latent, drawing.kept) if has_latent else {"latent": None}
        made = {"steps": drawing.steps, "guidance": drawing.guidance, "evaluations": drawing.evaluations}
        return picture, made | latents | {"start_sigma": sigma}


class Drawing:
    """One image of a pipeline, which draws all steps in one call: its start, kept latents and cost."""

    picture: Image.Image
    """Once it is done."""
    rows = 1
    """Its share of the time of a call."""

    def __init__(self, diffusion: PipelineDiffusion, job: DrawJob) -> None:
        self.diffusion, self.job, attempt = diffusion, job, job.attempt
        self.steps = attempt.steps or diffusion.steps
        self.guidance = diffusion.guidance if attempt.guidance is None else attempt.guidance
        self.kept: dict[int, torch.Tensor] = {}
        self.held: Held | None = None
        """The source outside the region of a refinement."""
        self.evaluations, self.done = 0, False
        job.check_start(self.steps)
        if attempt.stop_step not in (None, self.steps):
            stop = attempt.stop_step
            raise SettingsError(f"{job.id!r} cannot stop at step {stop}: only SD3 (LocalDiffusion) can preview")
        self.edited = job.read_edited() if diffusion.edits else None
        """The picture to edit."""
        if self.edited is None and diffusion.name.startswith(_ONLY_EDITS):
            raise SettingsError(f"{diffusion.model} edits pictures and draws none: name it with edit.model instead")
        if self.edited is None and job.source is not None and diffusion.only_draws:
            raise SettingsError(f"{job.id!r} cannot be made: {diffusion.only_draws}, so it draws and does not refine")
        self._source = None if self.edited else read_source(job, self.steps)
        alone = id(self) if self.edited else None
        self.kind = Kind((self.steps, self.guidance, job.start_step, job.source is None, alone))
        if self._source is not None and job.source is not None and job.start_step == self.steps:
            self._note(self.steps, self._source)  # no step is left: the image is the source itself
            self.finish(picture_in(job.store.read(job.source.path)), 0)

    def finish(self, picture: Image.Image, evaluations: int) -> None:
        """Note the picture and the rows of forward passes that it took."""
        self.picture, self.evaluations, self.done = picture, evaluations, True

    @property
    def needs_schedule(self) -> bool:
        """Whether x_start depends on the noise levels."""
        attempt = self.job.attempt
        return self._source is not None and (attempt.operator == "inject" or attempt.region is not None)

    def first(self, noise: torch.Tensor) -> torch.Tensor:
        """x_start in the pipeline's own form, given the noise that it drew."""
        first, job, diffusion = noise, self.job, self.diffusion
        if self._source is not None and job.source is not None:
            if self._source.shape != noise.shape:
                shapes = f"{tuple(self._source.shape)} is of another model; {diffusion.model} has {tuple(noise.shape)}"
                raise ModelError(f"a latent of shape {shapes}")
            first = self._source.to(noise.device, noise.dtype)
            if job.attempt.operator == "inject":
                first = inject(first, noise, diffusion.schedule(self.steps), job.start_step)
            if (region := job.attempt.region) is not None:
                ratio, schedule = job.source.width / job.source.height, diffusion.schedule(self.steps)
                self.held = hold(region, lambda: final_latent(job), first, schedule, job.start_step, ratio)
        self._note(job.start_step, first)
        return first

    def on_step(self, step: int, latent: torch.Tensor) -> torch.Tensor:
        """Note x_k after a step, and return the latent to go on with."""
        if self.held is not None and step <= self.held.until:
            latent = self.held.put_back(latent, self.diffusion.schedule(self.steps).sigma(step))
        self._note(step, latent)
        self.job.report(step - self.job.start_step, self.steps - self.job.start_step)
        return latent

    def _note(self, step: int, latent: torch.Tensor) -> None:
        self.latent = latent
        if step in self.job.keep_steps:
            self.kept[step] = latent


class Ended(Exception):
    """Raised to end a call of a pipeline early."""


def _reads_guidance(pipe: Any) -> bool:
    """Whether the denoiser takes the guidance as input, so that a step takes one pass."""
    denoiser = getattr(pipe, "transformer", None) or pipe.unet
    return bool(denoiser.config.get("guidance_embeds", False))


def takes_pictures(name: str) -> bool:
    """Whether pipelines of that class take a picture beside the prompt, and so can edit."""
    kind = getattr(diffusers, name, None)
    return isinstance(kind, type) and "image" in inspect.signature(kind.__call__).parameters
