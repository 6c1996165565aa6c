"""Where an image came from: enough to make it again."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Frozen
from .seeds import Seed

Origin = Literal["generate", "refine", "reseed"]
"""generate: the first drawing; refine: re-denoised from an earlier image; reseed: drawn anew from another seed."""

Operator = Literal["inject", "resume"]
"""inject: noise is added to the final latent, which is denoised from there; resume: the image's own
denoising is taken up again at a kept step."""


class ImageRecord(Frozen):
    """One image: its lineage, how it was made and where its data lies. Never its pixels."""

    id: str = Field(min_length=1)
    """Unique in the run."""
    round: int = Field(ge=0)
    """0 for the first drawings."""
    origin: Origin
    parent: str | None = None
    """Id of the image it was refined from or that its reseed replaces; None for a first drawing."""
    prompt: str
    """The words the diffusion model was given."""
    revised_prompt: str | None = None
    """What a server says it made of them before it drew; None where nothing was said."""
    seed: Seed
    """Seed of the image's own CPU generator."""
    seeded: bool = True
    """Whether the image follows from the seed; False for a server that takes none and draws another one each time."""
    steps: int = Field(ge=1)
    """N, the length of the schedule."""
    start_step: int = Field(ge=0)
    """First step that was run, 0 to N; N-start_step steps were run."""
    start_sigma: float = Field(ge=0, le=1)
    """Noise level at the first step that was run; 1 is pure noise."""
    stop_step: int | None = Field(default=None, ge=1)
    """For a preview, the step that it stopped at, where x_k is kept; picture and final latent are what the
    denoiser took them for there. None: it went to the end."""
    operator: Operator | None = None
    """How a refinement started; None for a full drawing."""
    guidance: float = Field(ge=0)
    """Scale of classifier-free guidance; 1 or less means none."""
    width: int = Field(ge=1)
    """Pixels."""
    height: int = Field(ge=1)
    """Pixels."""
    model: str
    """Name and content hash of the diffusion model."""
    path: str
    """The PNG, relative to the run folder."""
    latent: str | None
    """The final latent (safetensors), relative to the run folder; None where the model is a server that gives none,
    so that the image cannot be taken up again."""
    trajectory: dict[int, str] = Field(default_factory=dict)
    """Kept latents x_k by step k, relative to the run folder."""
    evaluations: int = Field(ge=0)
    """Forward passes of the denoiser; a guided step counts two. 0 where the model is a server that does not say."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""
    seconds: float = Field(ge=0)
    """Of model time: its part in each forward pass that it shared, and its own encoding and decoding."""
    waited: float = Field(default=0.0, ge=0)
    """Seconds in which the model worked for other images while this one was in flight."""

    @property
    def spared(self) -> int:
        """Forward passes of the denoiser that a preview did not take for having stopped; 0 for a whole image."""
        return 0 if self.stop_step is None else (self.steps - self.stop_step) * (2 if self.guidance > 1 else 1)

    @model_validator(mode="after")
    def _lineage_fits_the_origin(self) -> Self:
        refined = self.origin == "refine"
        if (self.parent is None) != (self.origin == "generate"):
            raise ValueError("an image has a parent exactly when it is refined or reseeded")
        if (self.operator is not None) != refined:
            raise ValueError("an image has an operator exactly when it is refined")
        if self.start_step > (self.steps if refined else 0):
            raise ValueError("a full drawing starts at step 0, a refinement at step N at most")
        if self.stop_step is not None and not self.start_step < self.stop_step < self.steps:
            raise ValueError("a preview stops after the step it started at and before step N")
        beyond = sorted(k for k in self.trajectory if not 0 <= k <= self.steps)
        if beyond:
            raise ValueError(f"kept steps outside the schedule of {self.steps}: {beyond}")
        return self
