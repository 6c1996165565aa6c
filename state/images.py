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
    seed: Seed
    """Seed of the image's own CPU generator."""
    steps: int = Field(ge=1)
    """N, the length of the schedule."""
    start_step: int = Field(ge=0)
    """First step that was run, 0 to N; N-start_step steps were run."""
    start_sigma: float = Field(ge=0, le=1)
    """Noise level at the first step that was run; 1 is pure noise."""
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
    latent: str
    """The final latent (safetensors), relative to the run folder."""
    trajectory: dict[int, str] = Field(default_factory=dict)
    """Kept latents x_k by step k, relative to the run folder."""
    evaluations: int = Field(ge=0)
    """Forward passes of the denoiser; a guided step counts two."""
    seconds: float = Field(ge=0)
    """Wall time of the batch that made it, shared out evenly among its images."""

    @model_validator(mode="after")
    def _lineage_fits_the_origin(self) -> Self:
        refined = self.origin == "refine"
        if (self.parent is None) != (self.origin == "generate"):
            raise ValueError("an image has a parent exactly when it is refined or reseeded")
        if (self.operator is not None) != refined:
            raise ValueError("an image has an operator exactly when it is refined")
        if self.start_step > (self.steps if refined else 0):
            raise ValueError("a full drawing starts at step 0, a refinement at step N at most")
        beyond = sorted(k for k in self.trajectory if not 0 <= k <= self.steps)
        if beyond:
            raise ValueError(f"kept steps outside the schedule of {self.steps}: {beyond}")
        return self
