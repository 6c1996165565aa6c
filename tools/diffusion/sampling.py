"""Draws an image by rectified flow (arXiv 2403.03206) in Euler steps, as functions that can be called by hand.

    schedule = make_schedule(pipe.scheduler, steps=28, tokens=4096, device=device)
    noise = draw_noise(seed, (16, 128, 128), dtype, device)
    sample = Sample(noise, schedule, encode(pipe, prompt), encode(pipe, ""), guidance=4.5, keep_steps={2, 4})
    [picture] = decode(pipe, denoise(pipe.transformer, sample)[None])

A refinement starts at step k of the schedule, with ``step=k``, from ``inject(final, noise, schedule, k)`` or from the
``kept[k]`` of an earlier sample. ``denoise`` draws one image; the engine calls ``advance`` for many at once.
"""

from collections.abc import Callable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from diffusers.utils.torch_utils import randn_tensor

from ...state import DrawingOptions, Region
from ..errors import SettingsError
from .embeddings import Embedding
from .engine import Kind

ALL = (0.0, 1.0)
"""All noise levels."""


@dataclass(frozen=True)
class Schedule:
    """N steps from pure noise to an image; step i goes from ``sigmas[i]`` to ``sigmas[i + 1]``."""

    sigmas: torch.Tensor
    """(N + 1,) noise levels, falling, from 1 to 0."""
    timesteps: torch.Tensor
    """(N,) each level as the denoiser reads it, in (0, 1000]."""

    @property
    def steps(self) -> int:
        """N."""
        return len(self.timesteps)

    def sigma(self, step: int) -> float:
        """Noise level of x_step, in [0, 1]; 0 at step N."""
        return min(1.0, float(self.sigmas[step]))


def make_schedule(scheduler: Any, steps: int, tokens: int, device: torch.device) -> Schedule:
    """The noise levels for N = ``steps``, from the configuration of ``scheduler``; ``tokens``, the number of patches of
    an image, matters only for dynamic shifting."""
    fresh: Any = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
    config, shift = fresh.config, {}
    if config.use_dynamic_shifting:
        sizes = (config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift)
        shift = {"mu": calculate_shift(tokens, *sizes)}
    fresh.set_timesteps(steps, device=device, **shift)
    return Schedule(fresh.sigmas, fresh.timesteps)


def shifted(scheduler: Any, options: DrawingOptions) -> Any:
    """``scheduler``, or a copy with the shift of the options in place of its own."""
    if options.shift is None:
        return scheduler
    fixed: dict[str, Any] = {"shift": options.shift, "use_dynamic_shifting": False, "shift_terminal": None}
    return FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, **fixed)


def picture_size(options: DrawingOptions, side: int, multiple: int, most: int | None = None) -> tuple[int, int]:
    """Width and height in pixels, by default ``side``; ``SettingsError`` if the model cannot draw that size."""
    for name, pixels in (("width", options.width), ("height", options.height)):
        if pixels is not None and (pixels % multiple or pixels > (most or pixels)):
            limit = "" if most is None else f", {most} at most"
            raise SettingsError(f"this model draws no {name} of {pixels} pixels: give a multiple of {multiple}{limit}")
    return options.width or side, options.height or side


def draw_noise(seed: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Standard normal noise (channels, height, width) from its own CPU generator, so the same in every batch, and the
    same as in ``StableDiffusion3Pipeline`` with ``generator=torch.Generator("cpu").manual_seed(seed)``."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return randn_tensor((1, *shape), generator=generator, device=device, dtype=dtype)[0]


@dataclass(frozen=True)
class Held:
    """The source image, which each step puts back outside the region of its refinement, at the step's noise level.

    Its latents lie on the straight line from x_k, where the refinement starts, to the final latent. Diffusers'
    ``StableDiffusion3InpaintPipeline`` works alike; here the last step is exact, too.
    """

    inside: torch.Tensor
    """True where the refinement may change the latent; broadcasts to its shape."""
    final: torch.Tensor
    """The source's final latent."""
    start: torch.Tensor
    """x_k."""
    sigma: float
    """Noise level of x_k."""
    until: int
    """The last step of the schedule after which the source is put back."""

    def put_back(self, latent: torch.Tensor, sigma: float) -> torch.Tensor:
        """``latent`` inside the region, the source at noise level ``sigma`` outside."""
        final = self.final.float()
        source = final + sigma / self.sigma * (self.start.float() - final)
        return torch.where(self.inside, latent, source.to(latent.dtype))


def hold(
    region: Region | None,
    final: Callable[[], torch.Tensor],
    start: torch.Tensor,
    schedule: Schedule,
    step: int,
    ratio: float = 1.0,
) -> Held | None:
    """The source held outside ``region``; None without a region, or at the end of the schedule.

    ``final`` returns the source's final latent. ``start`` is x_k for k = ``step``, (..., height, width), or (tokens,
    channels) if the model packs latents row by row; ``ratio`` is the picture's width over its height.
    """
    if region is None or step == schedule.steps:
        return None
    width = start.shape[-1] if start.ndim > 2 else max(1, round((len(start) * ratio) ** 0.5))
    height = start.shape[-2] if start.ndim > 2 else len(start) // width
    inside = torch.zeros(height, width, dtype=torch.bool)
    for left, top, right, bottom in region.grown:
        inside[int(top * height) : ceil(bottom * height), int(left * width) : ceil(right * width)] = True
    until = schedule.steps - int(region.release * schedule.steps)
    inside = (inside if start.ndim > 2 else inside.reshape(-1, 1)).to(start.device)
    return Held(inside, final().to(start.device, start.dtype), start, schedule.sigma(step), until)


@dataclass
class Sample:
    """One image being denoised."""

    latent: torch.Tensor
    """(channels, height, width) x_k."""
    schedule: Schedule
    prompt: Embedding
    negative: Embedding | None = None
    """Of as many tokens as the prompt; required with guidance."""
    guidance: float = 1.0
    """Scale of classifier-free guidance (arXiv 2207.12598); 1 or less turns it off."""
    step: int = 0
    """k in [0, N]."""
    stop: int | None = None
    """Last step, in [step, N]; None is N."""
    keep_steps: Set[int] = frozenset()
    """Steps k whose x_k is kept."""
    interval: tuple[float, float] = ALL
    """Least and greatest noise level with guidance."""
    skip_layers: tuple[int, ...] = ()
    """Blocks that skip-layer guidance leaves out."""
    skip_scale: float = 0.0
    """Of skip-layer guidance."""
    skip_steps: Set[int] = frozenset()
    """Steps k with skip-layer guidance, if they are guided."""
    any_length: bool = False
    """Whether it may share a pass with prompts of other lengths; see ``blocks.mix_lengths``."""
    held: Held | None = None
    """The source outside the region of a refinement."""
    kept: dict[int, torch.Tensor] = field(default_factory=dict[int, torch.Tensor])
    """x_k by step k, (channels, height, width)."""
    clean: torch.Tensor | None = None
    """(channels, height, width) the prediction of x_0 after the last step; None before the first."""
    blocks: Any = None
    """The cache of ``blocks.BlockCache``: what the first block and the others added at the last step that ran all
    blocks, each (rows, tokens, width); None without a cache."""
    evaluations: int = 0
    """Rows of forward passes so far, without those that ``blocks.BlockCache`` skipped."""

    def __post_init__(self) -> None:
        self.end = self.schedule.steps if self.stop is None else self.stop
        self._guided = guided_steps(self.schedule, self.guidance, self.interval)
        if self.guidance > 1 and self.negative is None:
            raise ValueError("guidance above 1 needs a negative prompt")
        self._keep()

    @property
    def is_guided(self) -> bool:
        """Whether the next step has guidance."""
        return self._guided[self.step]

    @property
    def skips(self) -> bool:
        """Whether the next step has skip-layer guidance."""
        return self.is_guided and self.step in self.skip_steps

    @property
    def kind(self) -> Kind:
        """Which other samples fit in its next pass."""
        return Kind(tuple(self.latent.shape), len(self.prompt.tokens), self.any_length)

    @property
    def rows(self) -> int:
        """Rows of forward passes in the next step: one, plus one with guidance, plus one with skip-layer guidance."""
        return 1 + self.is_guided + self.skips

    @property
    def done(self) -> bool:
        """Whether no step is left to run."""
        return self.step >= self.end

    @property
    def final(self) -> torch.Tensor:
        """(channels, height, width) the latent of its picture: x_N, or its prediction at an earlier stop."""
        return self.latent if self.clean is None or self.end == self.schedule.steps else self.clean

    def take_step(self, velocity: torch.Tensor) -> None:
        """Take one Euler step along ``velocity`` (channels, height, width), in float32 as diffusers does."""
        sigmas, k, start = self.schedule.sigmas, self.step, self.latent.float()
        self.clean = (start - sigmas[k] * velocity).to(velocity.dtype)
        self.clean = self.held.put_back(self.clean, 0) if self.held else self.clean
        self.latent = (start + (sigmas[k + 1] - sigmas[k]) * velocity).to(velocity.dtype)
        self.evaluations += self.rows
        self.step += 1
        if self.held is not None and self.step <= self.held.until:
            self.latent = self.held.put_back(self.latent, self.schedule.sigma(self.step))
        self.blocks = None if self.done else self.blocks
        self._keep()

    def _keep(self) -> None:
        if self.step in self.keep_steps:
            self.kept[self.step] = self.latent


Around = Callable[[Sequence[Sample]], AbstractContextManager[object]]
"""A context in which a forward pass runs, given the image of each of its rows."""


def guided_steps(schedule: Schedule, guidance: float, interval: tuple[float, float]) -> list[bool]:
    """Whether each step is guided."""
    low, high = interval
    return [guidance > 1 and low <= schedule.sigma(step) <= high for step in range(schedule.steps)]


def denoise(transformer: SD3Transformer2DModel, sample: Sample) -> torch.Tensor:
    """Take all remaining steps, and return the final latent (channels, height, width)."""
    while not sample.done:
        advance(transformer, [sample])
    return sample.final


def advance(transformer: SD3Transformer2DModel, samples: Sequence[Sample], around: Around = nullcontext) -> None:
    """Take one step of each sample in one forward pass, whatever step each is at; if that fails, none moves."""
    for sample, velocity in zip(samples, predict(transformer, samples, around), strict=True):
        sample.take_step(velocity)


@torch.no_grad()
def predict(
    transformer: SD3Transformer2DModel, samples: Sequence[Sample], around: Around = nullcontext
) -> list[torch.Tensor]:
    """Guided velocity (channels, height, width) at the latent of each sample; all latents have one shape.

    Guided samples take two rows of the pass, in the order of ``StableDiffusion3Pipeline``, the others one. Samples with
    skip-layer guidance, which all skip the same blocks, take another pass.
    """
    guided = [sample for sample in samples if sample.is_guided]
    prompts = [sample.negative for sample in guided if sample.negative] + [sample.prompt for sample in samples]
    skipping, skipped = [sample for sample in samples if sample.skips], iter(())
    if skipping:  # first: the block cache is updated by the other pass, after which nothing may fail
        own, layers = [sample.prompt for sample in skipping], list(skipping[0].skip_layers)
        skipped = iter(_evaluate(transformer, skipping, own, skip_layers=layers))
    rows = [*guided, *samples]
    with around(rows):
        velocity = _evaluate(transformer, rows, prompts)
    unconditional, predicted = iter(velocity[: len(guided)]), list(velocity[len(guided) :])
    for i, sample in enumerate(samples):
        if sample.is_guided:
            start, end = next(unconditional), predicted[i]
            predicted[i] = start + sample.guidance * (end - start)
            if sample.skips:
                predicted[i] = predicted[i] + (end - next(skipped)) * sample.skip_scale
    return predicted


def pad(prompts: list[torch.Tensor], image_tokens: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prompts (tokens, width) as one (rows, most tokens, width), and a mask if their lengths differ."""
    lengths = [len(prompt) for prompt in prompts]
    if len(set(lengths)) == 1:
        return torch.stack(prompts), None
    tokens = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    mask = torch.arange(image_tokens + tokens.shape[1]) < image_tokens + torch.tensor(lengths)[:, None]
    return tokens, mask[:, None, None].to(tokens.device, non_blocking=True)


def _evaluate(
    transformer: SD3Transformer2DModel, rows: Sequence[Sample], prompts: Sequence[Embedding], **more: Any
) -> torch.Tensor:
    """Velocity (rows, channels, height, width) at the latent of each sample for each prompt."""
    config: Any = transformer.config
    latents = torch.stack([sample.latent for sample in rows])
    tokens, mask = pad([prompt.tokens for prompt in prompts], latents[0, 0].numel() // config.patch_size**2)
    return transformer(
        hidden_states=latents,
        timestep=torch.stack([sample.schedule.timesteps[sample.step] for sample in rows]),
        encoder_hidden_states=tokens,
        pooled_projections=torch.stack([prompt.pooled for prompt in prompts]),
        joint_attention_kwargs=None if mask is None else {"attention_mask": mask},
        return_dict=False,
        **more,
    )[0]


def inject(final: torch.Tensor, noise: torch.Tensor, schedule: Schedule, step: int) -> torch.Tensor:
    """Noise injection (SDEdit, arXiv 2108.01073): x_step = sigma * noise + (1 - sigma) * final, all of one shape."""
    sigma = schedule.sigmas[step].to(final.device, final.dtype)
    return sigma * noise + (1.0 - sigma) * final
