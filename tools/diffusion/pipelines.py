"""The diffusion role over the pipelines of other families than SD3: Flux, Qwen-Image, Z-Image, Chroma, and others."""

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, Self

import diffusers
import torch
from diffusers import DiffusionPipeline, FirstBlockCacheConfig
from PIL import Image

from ...state import Attempt, DrawingOptions, ImageRecord
from ..errors import ModelError, SettingsError
from ..files import Store, picture_in
from ..roles import Progress
from .attention import set_attention
from .embeddings import corrections_first
from .engine import TICKS, is_out_of_memory, no_room, raisable
from .job import Job
from .latents import final_latent, read_source, write_latents
from .loading import check_scheduler, class_named, load_any
from .memory import Offload, Precision
from .placement import choose_placement, tile
from .quiet import quiet_encoding
from .sampling import Held, Schedule, hold, inject, picture_size, shifted

_NEEDED = ("prompt", "num_inference_steps", "generator")
"""Parameters of a pipeline that draws from a prompt and a seed."""
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
"""Steps and guidance by class for models that were distilled, which a pipeline's own defaults do not suit, and how to
recognize one: FLUX.1 schnell, Z-Image-Turbo, FLUX.2 klein, Krea 2 TDM, as their publishers draw with them."""


_EDITS_ALONE = "QwenImageEdit"
"""How classes begin that draw nothing without a picture."""


class PipelineDiffusion:
    """Draws and refines with a text-to-image pipeline of diffusers; the only owner of it. One that takes a picture
    beside the prompt, such as Kontext, FLUX.2 or Qwen-Image-Edit, edits.

    Images that wait together and are alike in steps, start and guidance are drawn in the same passes. An image is the
    same alone and in a batch up to rounding, as of ``LocalDiffusion``; with ``max_batch=1`` it is the same exactly.
    To refine, the pipeline is called as for a full drawing, with its noise replaced by x_k and its noise levels by
    those from step k on. Latents are in the pipeline's own form without the batch: (tokens, channels) where it packs
    them. What cannot be steered so can still draw: its images have no latents.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        model: str,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        options: DrawingOptions | None = None,
        max_tokens: int | None = None,
        max_batch: int = 8,
        compiled: bool = False,
        attention: str | None = None,
        tiled: bool = False,
    ) -> None:
        """Take over a pipeline, quantized or offloaded as one likes.

        Args:
            pipe: Text to image. Nobody else may use it from now on.
            model: Name and hash, for the records.
            steps: N, at least 1; None for the model's own.
            guidance: What the family calls so: ``true_cfg_scale`` for Qwen-Image and undistilled Flux, otherwise
                ``guidance_scale``, of which 0 means none to Z-Image; None for the model's own.
            options: What else is set of how it draws; the pipeline has its weights and LoRAs already.
            max_tokens: What is read of a prompt; None for the family's own.
            max_batch: Images in one forward pass, at most. Out of memory halves it.
            compiled: Compile the denoiser's blocks, where a C++ or CUDA compiler is there; the first image takes a
                minute more, the others less.
            attention: A backend of diffusers' dispatcher, such as ``_native_cudnn``, ``flash`` or ``sage``; None for
                torch's own choice.
            tiled: Decode in overlapping tiles, which takes less memory.

        Raises:
            ModelError: the pipeline cannot draw from a prompt alone, and why.
            SettingsError: the family has no such setting, or it has no such value.
        """
        self.unsteered = check_family(type(pipe).__name__, type(pipe))
        """Why its images cannot be refined; empty if they can."""
        if isinstance(scheduler := pipe.scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
            check_scheduler(scheduler)
        else:
            self.unsteered = self.unsteered or f"its scheduler is a {type(scheduler).__name__}"
        options = options or DrawingOptions()
        if self.unsteered and options.shift is not None:
            raise SettingsError(f"{self.unsteered}, so it has no shift: leave it out")
        usual_steps, usual_guidance = usual(pipe)
        scheduler: Any = pipe.scheduler
        if options.distilled_steps is not None:
            usual_steps = options.distilled_steps
            usual_guidance = usual_guidance if _reads_guidance(pipe) else options.distilled_guidance(usual_guidance)
            if scheduler.config.shift_terminal and options.shift is None:
                # Few steps need no last one near the end: as the publishers of Qwen-Image-Lightning draw with it.
                options = options.model_copy(update={"shift": 3.0})
        self.pipe: Any = pipe
        self.options, self.model = options, options.name(model)
        self.steps = usual_steps if steps is None else steps
        self.guidance = usual_guidance if guidance is None else guidance
        if min(self.steps, max_batch) < 1 or self.guidance < 0:
            raise SettingsError("steps and max_batch must be at least 1, and guidance at least 0")
        self.denoiser: Any = getattr(pipe, "transformer", None) or self.pipe.unet
        side = getattr(pipe, "default_sample_size", None)
        if side is None and self.denoiser is not getattr(pipe, "transformer", None):
            side = self.denoiser.config.sample_size
        pixels = 1024 if side is None else side * self.pipe.vae_scale_factor
        width, height = picture_size(options, pixels, self.pipe.image_processor.config.vae_scale_factor)
        self._parameters = inspect.signature(type(pipe).__call__).parameters
        self.edits = "image" in self._parameters
        """Whether it takes a picture and an instruction."""
        self._arguments: dict[str, Any] = {"width": width, "height": height}
        if options.negative_prompt is not None:
            if not ("negative_prompt" in self._parameters and self._is_guided(self.guidance)):
                how = f"a {type(pipe).__name__} at guidance {self.guidance:g}"
                raise SettingsError(f"a negative prompt has no effect on {how}: leave it out")
            self._arguments["negative_prompt"] = options.negative_prompt
        name = type(pipe).__name__
        if options.guidance_interval is not None:
            raise SettingsError(f"a {name} guides every step: leave guidance_interval out")
        if options.skip_layers:
            raise SettingsError(f"skip_layers has no effect on a {name}, only on SD3: leave it out")
        if attention is not None:
            set_attention(self.denoiser, attention)
        tile(self.pipe.vae, always=tiled)
        if options.block_cache is not None:
            try:
                if name.startswith("Flux2"):
                    raise ValueError("that of diffusers 0.42 fails on its last block")
                self.denoiser.enable_cache(FirstBlockCacheConfig(options.block_cache))
            except (AttributeError, ValueError) as error:
                raise SettingsError(f"a {name} has no block cache, so leave block_cache out: {error}") from error
        if max_tokens is None and name == "FluxPipeline" and _DISTILLED[name][2](pipe):
            max_tokens = 256  # what FLUX.1 schnell was made for, though its pipeline reads 512
        self.pipe.register_modules(scheduler=shifted(scheduler, options))
        if max_tokens is not None:
            if "max_sequence_length" not in self._parameters:
                raise SettingsError(f"a {type(pipe).__name__} reads whole prompts: leave max_tokens out")
            self._arguments["max_sequence_length"] = max_tokens
        if compiled:
            try:
                self.denoiser.compile_repeated_blocks()
            except ValueError as error:
                raise SettingsError(f"a {name} has no blocks to compile: {error}") from error
        self._schedules: dict[int, Schedule] = {}
        # A chosen kernel may take no mask for prompts of other lengths, and diffusers' block cache decides for a batch.
        together = "list" in str(self._parameters["prompt"].annotation) and not attention and not options.block_cache
        self._most = max_batch if together else 1
        """Images in one call of the pipeline, at most."""
        if hasattr(pipe.vae, "enable_slicing"):
            pipe.vae.enable_slicing()  # decode one by one, which takes no longer and a fraction of the memory
        self._waiting: list[Drawing] = []
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detailscribe-pipeline")
        self.pipe.set_progress_bar_config(disable=True)

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        device: torch.device | str | None = None,
        precision: Precision | None = None,
        offload: Offload = "none",
        options: DrawingOptions | None = None,
        **drawing: Any,
    ) -> Self:
        """Load a diffusers folder or a model of the hub; arguments as of ``LocalDiffusion.load``.

        Raises:
            ModelError: weights are missing or corrupt, the family cannot be refined, or there is too little memory.
        """
        placement = choose_placement(device, precision, offload)
        check_family(class_named(source))
        pipe, model = load_any(source, placement, options)
        return cls(pipe, model, options=options, **drawing)

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing, at most."""
        return self.steps * (2 if self._is_guided(self.guidance) else 1)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an attempt out; ``progress`` is called from another thread.

        Raises:
            MissingLatentError: x_k was not kept, or its file is gone.
            ModelError: the source is of another model.
            SettingsError: a step is beyond the schedule, or the source has another one.
        """
        drawing = Drawing(self, Job(attempt, store, source, progress))
        try:
            self._waiting.append(drawing)
            for _ in range(TICKS):
                await asyncio.sleep(0)
            self._owner.submit(self._draw_next)
            picture, seconds = await asyncio.wrap_future(drawing.future)
            # In a thread of its own: the event loop and the model go on meanwhile.
            return await asyncio.to_thread(drawing.write, picture, seconds)
        except ValueError as error:  # of a picture that the pipeline does not take
            if attempt.operator != "edit":
                raise
            raise ModelError(f"{self.model} cannot edit {attempt.source!r}: {error}") from error
        finally:
            drawing.abandoned.set()
            drawing.future.cancel()

    def _draw_next(self) -> None:
        """Draw the oldest image that waits, and in the same passes those like it, in the owner's thread."""
        oldest = next(iter(self._waiting), None)
        alike = [drawing for drawing in list(self._waiting) if oldest and drawing.kind == oldest.kind]
        together = alike[: self._most]
        for drawing in together:
            self._waiting.remove(drawing)
        together = [drawing for drawing in together if drawing.begin()]
        while together:
            some = together[: self._most]
            try:
                self._draw_together(some)
            except BaseException as error:  # noqa: BLE001 - it is raised where the images are awaited
                if is_out_of_memory(error) and len(some) > 1:
                    self._most, some = len(some) // 2, []
                for drawing in some:
                    drawing.future.set_exception(no_room(error) if is_out_of_memory(error) else raisable(error))
            if not some:  # Only here is the traceback gone, which held the tensors that did not fit.
                torch.cuda.empty_cache()
            together = together[len(some) :]

    def _draw_together(self, drawings: "Sequence[Drawing]") -> None:
        """Draw images of one kind in the same passes."""
        first, rows, began = drawings[0], 0, perf_counter()
        for drawing in drawings:
            drawing.waited = began - drawing.arrived
        start = first.job.start_step

        def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            """Before each forward pass; its latents are the first argument, one tensor or a list of them."""
            nonlocal rows
            rows += len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

        def check_wanted() -> None:
            if all(drawing.abandoned.is_set() for drawing in drawings):
                raise Ended

        def on_step(step: int, latents: torch.Tensor) -> torch.Tensor:
            check_wanted()
            return torch.stack([one.on_step(step, latent) for one, latent in zip(drawings, latents, strict=True)])

        check_wanted()
        if any(drawing.needs_schedule for drawing in drawings):
            self.schedule(first.steps)  # before the call that needs it
        with self.denoiser.register_forward_pre_hook(count, with_kwargs=True):
            pictures = self.call(
                [drawing.job.prompt for drawing in drawings],
                [drawing.job.seed for drawing in drawings],
                first.steps,
                first.guidance,
                start,
                lambda noise: torch.stack([one.first(row) for one, row in zip(drawings, noise, strict=True)]),
                check_wanted,
                on_step,
                first.edited,
                refined=first.job.source is not None and first.edited is None,
            )
        seconds = (perf_counter() - began) / len(drawings)
        for drawing, picture in zip(drawings, pictures, strict=True):
            drawing.evaluations = rows // len(drawings)
            drawing.future.set_result((picture, seconds))

    def schedule(self, steps: int) -> Schedule:
        """The noise levels of N = ``steps``, as the pipeline itself sets them; to be called in the owner's thread."""
        if steps not in self._schedules:
            with suppress(Ended):
                self.call([" "], [0], steps, 0.0, on_schedule=_end)
        return self._schedules[steps]

    def call(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int,
        guidance: float,
        start: int = 0,
        first: Callable[[torch.Tensor], torch.Tensor] = lambda noise: noise,
        on_schedule: Callable[[], None] = lambda: None,
        on_step: Callable[[int, torch.Tensor], torch.Tensor] = lambda step, latents: latents,
        edited: Image.Image | None = None,
        refined: bool = False,
    ) -> list[Image.Image]:
        """The n pictures that the pipeline draws in the same passes, from step ``start`` of N = ``steps`` on.

        Args:
            prompts: What to draw.
            seeds: Of the noise of each.
            steps: N.
            guidance: In the family's own sense.
            start: First step to run.
            first: Makes x_start (n, ...) of the noise (n, ...) that the pipeline drew.
            on_schedule: Called once the noise levels are known; may raise to end the call.
            on_step: Gives, after each step, what to go on with in place of x_k (n, ...), with its k in N; may raise to
                end the call.
            edited: The picture that the prompt, which is the only one, is about.
            refined: Whether the prompts are refined ones, of which CLIP reads the corrections first.
        """
        scheduler: Any = self.pipe.scheduler
        prepare, set_all = self.pipe.prepare_latents, scheduler.set_timesteps

        def prepare_latents(*args: Any, **more: Any) -> Any:
            made = prepare(*args, **more)
            return (first(made[0]), *made[1:]) if isinstance(made, tuple) else first(made)

        @functools.wraps(set_all)
        def set_timesteps(*args: Any, **more: Any) -> None:
            set_all(*args, **more)
            if self.unsteered:
                return
            if edited is None:  # an edit may be of another size, on which the shift depends
                self._schedules[steps] = Schedule(scheduler.sigmas, scheduler.timesteps)
            scheduler.sigmas, scheduler.timesteps = scheduler.sigmas[start:], scheduler.timesteps[start:]
            on_schedule()

        def on_step_end(pipe: Any, step: int, timestep: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
            return {"latents": on_step(start + step + 1, tensors["latents"])}

        how: dict[str, Any] = {"guidance_scale": guidance} if "guidance_scale" in self._parameters else {}
        if "true_cfg_scale" in self._parameters and not _reads_guidance(self.pipe):
            how = {"true_cfg_scale": guidance} | ({"negative_prompt": " "} if guidance > 1 else {})
        if "callback_on_step_end" in self._parameters:
            how["callback_on_step_end"] = on_step_end
        how |= self._arguments
        if edited is not None:  # Kontext would draw, and look at, another size
            unit = self.pipe.image_processor.config.vae_scale_factor
            width, height = (max(side // unit, 1) * unit for side in edited.size)
            more = {
                "width": width,
                "height": height,
                "max_area": width * height,
                "_auto_resize": False,
                "image": edited,
            }
            how |= {name: value for name, value in more.items() if name in self._parameters}
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        given: dict[str, Any] = {"prompt": list(prompts), "generator": generators}
        if refined and "prompt_2" in self._parameters:
            given |= {"prompt": [corrections_first(self.pipe, prompt) for prompt in prompts], "prompt_2": [*prompts]}
        if "negative_prompt" in how:
            given["negative_prompt"] = [how["negative_prompt"]] * len(prompts)
        if len(prompts) == 1:
            given = {name: values[0] for name, values in given.items()}
        try:
            with (
                quiet_encoding(self.pipe),
                _replaced(self.pipe, prepare_latents=prepare_latents),
                _replaced(scheduler, set_timesteps=set_timesteps),
            ):
                return self.pipe(num_inference_steps=steps, **(how | given)).images
        finally:
            # A call that ended early has neither offloaded the model nor forgotten what its blocks added.
            self.pipe.maybe_free_model_hooks()

    def _is_guided(self, guidance: float) -> bool:
        """Whether a step takes two passes, by the pipeline's own rule where it has one."""
        if _reads_guidance(self.pipe):
            return False
        rule = getattr(type(self.pipe), "do_classifier_free_guidance", None)
        if "true_cfg_scale" in self._parameters or not isinstance(rule, property) or rule.fget is None:
            return guidance > 1
        return bool(rule.fget(SimpleNamespace(_guidance_scale=guidance, config=self.pipe.config, unet=self.denoiser)))


class Drawing:
    """One image of a pipeline: how it starts, what is kept of it, and what it costs."""

    def __init__(self, diffusion: PipelineDiffusion, job: Job) -> None:
        self.diffusion, self.job, attempt = diffusion, job, job.attempt
        self.steps = attempt.steps or diffusion.steps
        self.guidance = diffusion.guidance if attempt.guidance is None else attempt.guidance
        self.kept: dict[int, torch.Tensor] = {}
        self.held: Held | None = None
        """Puts the source back outside the region of a refinement."""
        self.edited: Image.Image | None = None
        """The picture that it changes."""
        self.evaluations = 0
        """Rows of the denoiser's forward passes."""
        self.future: Future[tuple[Image.Image, float]] = Future()
        """The picture, and the seconds that it took."""
        self.abandoned = threading.Event()
        """Set when nobody waits for the image any more."""
        self.arrived, self.waited = perf_counter(), 0.0
        alone = attempt.operator == "edit" or self.job.start_step == self.steps
        self.kind = (self.steps, self.guidance, self.job.start_step, job.source is None, id(self) if alone else None)
        """What images in the same passes have in common."""

    @property
    def needs_schedule(self) -> bool:
        """Whether x_start depends on the noise levels."""
        attempt = self.job.attempt
        return self._source is not None and (attempt.operator == "inject" or attempt.region is not None)

    def begin(self) -> bool:
        """Read what it starts from, in the owner's thread; False if there is nothing to draw."""
        if not self.future.set_running_or_notify_cancel():
            return False
        try:
            self._source = self._read()
            if self._source is None or self.job.source is None or self.job.start_step < self.steps:
                return True
            self._note(self.steps, self._source)  # nothing changes: the source's own latent and picture
            self.future.set_result((picture_in(self.job.store.read(self.job.source.path)), 0.0))
        except BaseException as error:  # noqa: BLE001 - it is raised where the image is awaited
            self.future.set_exception(raisable(error))
        return False

    def _read(self) -> torch.Tensor | None:
        """The latent that it is made of, on the CPU; None for a new image and for an edit."""
        job, diffusion = self.job, self.diffusion
        stop = job.attempt.stop_step
        job.check_start(self.steps)
        if stop not in (None, self.steps):
            raise SettingsError(f"{job.id!r} cannot stop at step {stop}: only SD3 (LocalDiffusion) can preview")
        self.edited = job.read_edited() if diffusion.edits else None
        if self.edited is not None:
            return None
        if type(diffusion.pipe).__name__.startswith(_EDITS_ALONE):
            raise SettingsError(f"{diffusion.model} edits pictures and draws none: name it with edit.model instead")
        if job.source is not None and diffusion.unsteered:
            raise SettingsError(f"{job.id!r} cannot be made: {diffusion.unsteered}, so it draws and does not refine")
        return read_source(job, self.steps)

    def first(self, noise: torch.Tensor) -> torch.Tensor:
        """x_start as the pipeline has it, of the noise that it drew."""
        first, start = noise, self.job.start_step
        if self._source is not None:
            if self._source.shape != noise.shape:
                raise ModelError(
                    f"a latent of shape {tuple(self._source.shape)} is of another model; {self.diffusion.model} has "
                    f"{tuple(noise.shape)}"
                )
            first = self._source.to(noise.device, noise.dtype)
            if self.job.attempt.operator == "inject":
                first = inject(first, noise, self.diffusion.schedule(self.steps), start)
            if (region := self.job.attempt.region) is not None and self.job.source is not None:
                ratio, schedule = self.job.source.width / self.job.source.height, self.diffusion.schedule(self.steps)
                self.held = hold(region, lambda: final_latent(self.job), first, schedule, start, ratio)
        self._note(start, first)
        return first

    def on_step(self, step: int, latent: torch.Tensor) -> torch.Tensor:
        """Note x_k after a step, and give what to go on with."""
        if self.held is not None and step <= self.held.until:
            latent = self.held.put_back(latent, self.diffusion.schedule(self.steps).sigma(step))
        self._note(step, latent)
        if not self.abandoned.is_set():
            self.job.report(step - self.job.start_step, self.steps - self.job.start_step)
        return latent

    def write(self, picture: Image.Image, seconds: float) -> ImageRecord:
        """Write the picture and its latents."""
        job, diffusion, start = self.job, self.diffusion, self.job.start_step
        sigma = 1.0 if self.edited or diffusion.unsteered else diffusion.schedule(self.steps).sigma(start)
        drawn, picture = picture, job.fitted(picture, self.edited) if self.edited else picture
        has_latent = not diffusion.unsteered and picture is drawn
        return job.write(
            picture,
            **(write_latents(job, self.latent, self.kept) if has_latent else {"latent": None}),
            steps=self.steps,
            start_sigma=sigma,
            guidance=self.guidance,
            options=diffusion.options.chosen,
            model=diffusion.model,
            evaluations=self.evaluations,
            seconds=seconds,
            waited=self.waited,
        )

    def _note(self, step: int, latent: torch.Tensor) -> None:
        self.latent = latent
        if step in self.job.keep_steps:
            self.kept[step] = latent


class Ended(Exception):
    """A call of a pipeline was to end early."""


def _end() -> None:
    raise Ended


@contextmanager
def _replaced(owner: Any, **methods: Any) -> Generator[None]:
    """Replace methods of one object, as long as it lasts."""
    vars(owner).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(owner)[name]


def usual(pipe: DiffusionPipeline) -> tuple[int, float]:
    """The model's own steps and guidance: those of its distillation, or else the defaults of its pipeline."""
    if (distilled := _DISTILLED.get(type(pipe).__name__)) is not None and distilled[2](pipe):
        return distilled[:2]
    parameters = inspect.signature(type(pipe).__call__).parameters
    real = "true_cfg_scale" in parameters and not _reads_guidance(pipe)
    guidance = parameters.get("true_cfg_scale" if real else "guidance_scale")
    return parameters["num_inference_steps"].default, 0.0 if guidance is None else guidance.default


def _reads_guidance(pipe: Any) -> bool:
    """Whether the denoiser was distilled to read the guidance, so that a step takes one pass."""
    denoiser = getattr(pipe, "transformer", None) or pipe.unet
    return bool(denoiser.config.get("guidance_embeds", False))


def takes_pictures(name: str) -> bool:
    """Whether pipelines of that class take a picture beside the prompt, so that they edit."""
    kind = getattr(diffusers, name, None)
    return isinstance(kind, type) and "image" in inspect.signature(kind.__call__).parameters


def check_family(name: str, kind: type[Any] | None = None) -> str:
    """Why images of pipelines of that class cannot be refined, as far as the class shows; empty if they can.

    Raises:
        ModelError: they cannot draw from a prompt alone, and why.
    """
    kind = kind or getattr(diffusers, name, None)
    if not isinstance(kind, type):
        raise ModelError(f"diffusers {diffusers.__version__} has no pipeline {name}: a newer one may")
    parameters = inspect.signature(kind.__call__).parameters
    if missing := [parameter for parameter in _NEEDED if parameter not in parameters]:
        raise ModelError(f"a {name} takes no {', '.join(missing)}, so it cannot draw from a prompt and a seed")
    if wanted := sorted({"strength", "control_image", "mask_image"} & set(parameters)):
        raise ModelError(f"a {name} takes {', '.join(wanted)}: here is only a prompt, so name a text-to-image pipeline")
    lacking = [] if {"guidance_scale", "true_cfg_scale"} & set(parameters) else ["guidance_scale"]
    lacking += [] if hasattr(kind, "prepare_latents") else ["latents"]
    lacking += [] if "callback_on_step_end" in parameters else ["callback_on_step_end"]
    return f"a {name} takes no {', '.join(lacking)}" if lacking else ""
