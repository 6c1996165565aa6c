"""One Euler step for any images together, each at its own step of its own schedule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from diffusers import SD3Transformer2DModel

from .attention import pad
from .embeddings import Embedding
from .schedule import Schedule, euler_step, predict_clean


class Kind(NamedTuple):
    """What decides whether images fit in one forward pass."""

    shape: tuple[int, ...]
    """Of the latent."""
    tokens: int
    """Of the prompt."""
    any_length: bool = False
    """Whether prompts of other lengths fit as well."""

    def fits(self, other: "Kind") -> bool:
        """Whether both fit in one pass."""
        return self.shape == other.shape and (self.tokens == other.tokens or (self.any_length and other.any_length))


@dataclass
class Sample:
    """One image on its way through its schedule."""

    latent: torch.Tensor
    """(channels, height, width) x_k."""
    step: int
    """k in [0, N]."""
    stop: int
    """Step to end at, in [step, N]."""
    schedule: Schedule
    prompt: Embedding
    negative: Embedding | None
    """Of as many tokens as the prompt; None where there is no guidance."""
    guidance: float
    """Scale of classifier-free guidance (arXiv 2207.12598); 1 or less means none."""
    any_length: bool = False
    """Whether it may share a pass with prompts of other lengths; see ``attention.mix_lengths``."""
    keep_steps: frozenset[int] = frozenset()
    """Steps k whose x_k is wanted."""
    kept: dict[int, torch.Tensor] = field(default_factory=dict[int, torch.Tensor])
    """x_k by step k, (channels, height, width)."""
    clean: torch.Tensor | None = None
    """(channels, height, width) what the step to a stop before step N took for x_0."""

    def __post_init__(self) -> None:
        if self.guided and self.negative is None:
            raise ValueError("guidance above 1 needs a negative prompt")
        self._keep()

    @property
    def guided(self) -> bool:
        """Whether a step needs the empty prompt, too."""
        return self.guidance > 1

    @property
    def rows(self) -> int:
        """Rows of a forward pass that one step takes; also its evaluations."""
        return 2 if self.guided else 1

    @property
    def done(self) -> bool:
        """Whether no step is left to run."""
        return self.step >= self.stop

    @property
    def kind(self) -> Kind:
        """What decides which samples it can share a pass with."""
        return Kind(tuple(self.latent.shape), len(self.prompt.tokens), self.any_length)

    @property
    def final(self) -> torch.Tensor:
        """(channels, height, width) the latent of its picture: x_N, or before step N what is taken for it."""
        return self.latent if self.clean is None else self.clean

    def take(self, velocity: torch.Tensor) -> None:
        """Go one step along ``velocity`` (channels, height, width)."""
        if self.step + 1 == self.stop < self.schedule.steps:
            self.clean = predict_clean(self.latent, velocity, self.schedule, self.step)
        self.latent = euler_step(self.latent, velocity, self.schedule, self.step)
        self.step += 1
        self._keep()

    def _keep(self) -> None:
        if self.step in self.keep_steps:
            self.kept[self.step] = self.latent


@torch.no_grad()
def advance(transformer: SD3Transformer2DModel, samples: Sequence[Sample]) -> None:
    """Take one step of samples that fit together, in one forward pass; where that fails, none has moved."""
    for sample, velocity in zip(samples, predict(transformer, samples), strict=True):
        sample.take(velocity)


@torch.no_grad()
def predict(transformer: SD3Transformer2DModel, samples: Sequence[Sample]) -> list[torch.Tensor]:
    """Guided velocity (channels, height, width) at the latent of each sample, all of which fit together, in one pass.

    Samples with no guidance take one row of it and the others two. The rows of one sample alone stand as
    ``StableDiffusion3Pipeline`` has them.
    """
    guided = [sample for sample in samples if sample.guided]
    prompts = [sample.negative for sample in guided if sample.negative] + [sample.prompt for sample in samples]
    rows = [*guided, *samples]
    latents = torch.stack([sample.latent for sample in rows])
    config: Any = transformer.config
    tokens, mask = pad([prompt.tokens for prompt in prompts], latents[0, 0].numel() // config.patch_size**2)
    velocity = transformer(
        hidden_states=latents,
        timestep=torch.stack([sample.schedule.timesteps[sample.step] for sample in rows]),
        encoder_hidden_states=tokens,
        pooled_projections=torch.stack([prompt.pooled for prompt in prompts]),
        joint_attention_kwargs=None if mask is None else {"attention_mask": mask},
        return_dict=False,
    )[0]
    unconditional = iter(velocity[: len(guided)])
    return [
        guide(next(unconditional), conditional, sample.guidance) if sample.guided else conditional
        for sample, conditional in zip(samples, velocity[len(guided) :], strict=True)
    ]


def guide(unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance (arXiv 2207.12598): from the prediction without the prompt past the one with it."""
    return unconditional + scale * (conditional - unconditional)
