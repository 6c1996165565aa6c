"""What a pipeline of any family must offer to be refined, and how it is called; checked before a first image."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from PIL import Image

from ..errors import ModelError
from .schedule import Schedule

_BOTH = ("prompt", "height", "width", "num_inference_steps", "generator", "latents", "callback_on_step_end")
"""Parameters that both pipelines must take."""
_KNOWN = "SD3 (through LocalDiffusion), Flux, Qwen-Image, Z-Image and Chroma can"

OnStep = Callable[[int, torch.Tensor], None]
"""Called after each step of a call with its number, from 0, and the latent; may raise to end it."""


@dataclass(frozen=True)
class Family:
    """A text-to-image pipeline and its image-to-image sibling over the same networks.

    Latents are in the pipeline's own form without the batch: (tokens, channels) where it packs them,
    (channels, height, width) where it does not.
    """

    drawing: Any
    """The text-to-image pipeline."""
    redrawing: Any
    """Its sibling, which starts at a step of the schedule."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    negative_prompt: str
    """Where guidance is classifier-free."""
    max_tokens: int | None
    """Of a prompt; None for the pipeline's own."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.drawing._execution_device

    @property
    def is_distilled(self) -> bool:
        """Whether the denoiser is told the guidance, so that a step takes one pass."""
        return bool(self.drawing.transformer.config.get("guidance_embeds", False))

    def evaluations(self, guidance: float) -> int:
        """Forward passes of one step: 1 where guidance is off or distilled, otherwise 2."""
        off = guidance <= (1 if "true_cfg_scale" in _parameters(type(self.drawing)) else 0)
        return 1 if self.is_distilled or off else 2

    def noise(self, seed: int) -> torch.Tensor:
        """What the drawing pipeline starts from, with a CPU generator of that seed."""
        packed, config = hasattr(self.drawing, "_pack_latents"), self.drawing.transformer.config
        drawn = self.drawing.prepare_latents(
            1,
            config.in_channels // 4 if packed else config.in_channels,
            self.height,
            self.width,
            self.drawing.transformer.dtype if packed else torch.float32,
            self.device,
            torch.Generator("cpu").manual_seed(seed),
        )
        return (drawn[0] if isinstance(drawn, tuple) else drawn)[0]

    def schedule(self, steps: int) -> Schedule:
        """The noise levels of ``steps`` steps, shifted as these families do by the size of the image."""
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(self.drawing.scheduler.config)
        side = 2 * self.drawing.vae_scale_factor
        config = scheduler.config
        shift = calculate_shift(
            (self.height // side) * (self.width // side),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift, device=self.device)
        return Schedule(scheduler.sigmas, scheduler.timesteps)

    def run(
        self, prompt: str, latent: torch.Tensor, schedule: Schedule, start: int, guidance: float, on_step: OnStep
    ) -> Image.Image:
        """The picture that comes of ``latent``, which is x_start.

        Raises:
            ModelError: the pipeline has another schedule, so that no record could say what it did.
        """

        def on_step_end(pipe: Any, step: int, timestep: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
            if step == 0:
                _check_schedule(pipe, schedule)
            on_step(step, tensors["latents"][0])
            return {}

        steps = schedule.steps
        pipe = self.redrawing if start else self.drawing
        arguments: dict[str, Any] = {
            "prompt": prompt,
            "height": self.height,
            "width": self.width,
            "num_inference_steps": steps,
            "latents": latent[None],
            "callback_on_step_end": on_step_end,
            **self._guidance(guidance),
        }
        if self.max_tokens is not None:
            arguments["max_sequence_length"] = self.max_tokens
        if start:
            # Half a step more than (N - k) / N, which rounding would take for another k.
            arguments["strength"] = (steps - start - 0.5) / steps
            # It is not looked at where there are latents, but has to be there.
            arguments["image"] = Image.new("RGB", (self.width, self.height))
        try:
            return pipe(**arguments).images[0]
        finally:
            pipe.maybe_free_model_hooks()

    def _guidance(self, guidance: float) -> dict[str, Any]:
        if "true_cfg_scale" not in _parameters(type(self.drawing)) or self.is_distilled:
            return {"guidance_scale": guidance}
        return {"true_cfg_scale": guidance} | ({"negative_prompt": self.negative_prompt} if guidance > 1 else {})


def make_family(
    pipe: DiffusionPipeline,
    *,
    width: int | None = None,
    height: int | None = None,
    negative_prompt: str = " ",
    max_tokens: int | None = None,
) -> Family:
    """The pipeline with its sibling, whose networks are the same ones.

    Raises:
        ModelError: the family cannot start at a step of its schedule, or not in a way that a seed names.
    """
    drawing: Any = pipe
    redrawing = _sibling(drawing)
    _check_calls(type(drawing), type(redrawing))
    drawing.set_progress_bar_config(disable=True)
    redrawing.set_progress_bar_config(disable=True)
    side = getattr(drawing, "default_sample_size", None)
    usual = 1024 if side is None else side * drawing.vae_scale_factor
    return Family(drawing, redrawing, width or usual, height or usual, negative_prompt, max_tokens)


def check_family(name: str) -> None:
    """Whether pipelines of that class can be refined, as far as the class tells; before any weight is fetched.

    Raises:
        ModelError: they cannot, and why.
    """
    kind = getattr(diffusers, name, None)
    if not isinstance(kind, type):
        raise ModelError(f"diffusers {diffusers.__version__} has no pipeline {name}: a newer one may")
    _check_calls(kind, _sibling_class(name))


def _sibling(pipe: Any) -> Any:
    """The image-to-image pipeline of the same name, built anew: ``from_pipe`` would change the shared weights."""
    name = type(pipe).__name__
    kind = _sibling_class(name)
    _check_scheduler(name, pipe.scheduler)
    wanted = inspect.signature(kind.__init__).parameters
    parts = {part: network for part, network in pipe.components.items() if part in wanted}
    return kind(**parts | {"scheduler": FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)})


def _sibling_class(name: str) -> type[Any]:
    kind = getattr(diffusers, name.replace("Pipeline", "Img2ImgPipeline"), None)
    if kind is None or not name.endswith("Pipeline") or name.endswith("Img2ImgPipeline"):
        raise ModelError(f"diffusers has no image-to-image pipeline for a {name}, so it cannot refine: {_KNOWN}")
    return kind


def _check_scheduler(name: str, scheduler: Any) -> None:
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        raise ModelError(
            f"a {name} with a {type(scheduler).__name__} has no noise levels that a step names "
            f"(it needs a FlowMatchEulerDiscreteScheduler): {_KNOWN}"
        )
    settings: Any = scheduler.config
    if settings.stochastic_sampling or settings.invert_sigmas:
        raise ModelError(f"the scheduler of this {name} samples stochastically or upside down: no seed names an image")


def _check_calls(drawing: type[Any], redrawing: type[Any]) -> None:
    _check_call(drawing, _BOTH)
    _check_call(redrawing, (*_BOTH, "strength", "image"))


def _check_call(kind: type[Any], wanted: tuple[str, ...]) -> None:
    parameters = _parameters(kind)
    missing = [name for name in wanted if name not in parameters]
    if not {"guidance_scale", "true_cfg_scale"} & parameters:
        missing.append("guidance_scale")
    if missing:
        raise ModelError(f"a {kind.__name__} takes no {', '.join(missing)}, so it cannot be refined: {_KNOWN}")
    if "control_image" in parameters:
        raise ModelError(f"a {kind.__name__} wants a control image, and here is only a prompt: {_KNOWN}")


def _parameters(kind: type[Any]) -> set[str]:
    return set(inspect.signature(kind.__call__).parameters)


def _check_schedule(pipe: Any, schedule: Schedule) -> None:
    used = pipe.scheduler.sigmas.to(schedule.sigmas.device)
    if used.shape != schedule.sigmas.shape or not torch.allclose(used, schedule.sigmas, atol=1e-5):
        raise ModelError(f"{type(pipe).__name__} has a schedule of its own that is not known here: {_KNOWN}")
