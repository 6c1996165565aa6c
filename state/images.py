"""Attempts to make an image, and records of images that were made: enough to make each again."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from .base import Box, Frozen, Seed, Share, Words

Origin = Literal["generate", "refine", "reseed", "look"]
"""generate: a first drawing; refine: re-denoised from an earlier image; reseed: drawn anew from another seed; look: the
earlier image itself, for a second opinion."""

Operator = Literal["inject", "resume", "edit"]
"""inject: adds noise to the final latent and denoises it; resume: continues the image's own denoising from a kept step;
edit: gives the picture to an editing model, with the prompt as instruction."""

Look = Literal["look"]
"""In place of an operator: nothing is drawn, and the critic looks at the image again."""

Step = Annotated[int, Field(ge=0, le=1000)]
"""A step of the denoising schedule, 0 to N, which is 1000 at most."""

WeightsFile = Annotated[str, StringConstraints(pattern=r"\.(safetensors|gguf)$")]
LoraFile = Annotated[str, StringConstraints(pattern=r"\.safetensors$")]


def _rises(interval: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError("two numbers in [0, 1] are needed, the lower one first")
    return interval


Interval = Annotated[tuple[float, float], AfterValidator(_rises)]
"""Two numbers in [0, 1], the lower one first."""
Reference = Annotated[str, Field(min_length=1, max_length=250)]
"""A file, relative to the run folder."""


class DrawingOptions(Frozen):
    """How a model draws, whatever the prompt; fields that are not set keep the model's default. A file is a path, or
    ``owner/name/file`` on the model hub; other formats are refused, since they may contain code."""

    weights: WeightsFile | None = None
    """File with other weights of the denoiser: ``.safetensors``, also of 8-bit floats or a whole checkpoint, or
    ``.gguf``."""
    loras: dict[LoraFile, float] = Field(default_factory=dict)
    """Scale by file (``.safetensors``) of the LoRAs (arXiv 2106.09685) to add to the weights. A name with ``8steps`` or
    the like is of a distillation, which sets steps and guidance unless they are set."""
    width: int | None = Field(default=None, ge=16)
    """Pixels, a multiple of what the model takes."""
    height: int | None = Field(default=None, ge=16)
    """Pixels, a multiple of what the model takes."""
    negative_prompt: Words | None = None
    """Prompt that guidance leads away from; needs guidance."""
    shift: float | None = Field(default=None, gt=0)
    """s of the noise levels s * t / (1 + (s - 1) * t), for t from 1 to 0: above 1, more steps are at high noise. It
    replaces a shift that depends on the size of the image."""
    guidance_interval: Interval | None = None
    """Least and greatest noise level, in [0, 1], with guidance (arXiv 2404.07724); other steps take one pass, not two.
    None: all steps are guided."""
    block_cache: float | None = Field(default=None, gt=0, lt=1)
    """Relative change of the first block's residual below which a step reuses the last residual of the other blocks,
    for each image by itself; such a step costs no evaluation. None: every step runs all blocks."""
    skip_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Blocks of the denoiser that skip-layer guidance leaves out in one more evaluation of a guided step; 7, 8 and 9
    for SD3.5 Medium."""
    skip_scale: float = Field(default=2.8, gt=0)
    """Scale of skip-layer guidance."""
    skip_interval: Interval = (0.01, 0.2)
    """Skip-layer guidance applies to the steps k of N with k / N strictly between these."""

    @model_validator(mode="after")
    def _skips_something(self) -> Self:
        usual = {name: type(self).model_fields[name].default for name in ("skip_scale", "skip_interval")}
        if not self.skip_layers and any(getattr(self, name) != value for name, value in usual.items()):
            raise ValueError("skip_scale and skip_interval have no effect without skip_layers")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that it names."""
        return (*filter(None, [self.weights]), *self.loras)

    @property
    def distilled_steps(self) -> int | None:
        """The number of steps in the name of a distilled LoRA, if any."""
        names = [file.rpartition("/")[2].lower() for file in self.loras]
        matches = [re.search(r"(\d+)[-_ ]?steps?(?![a-z])", name) for name in names]
        return max((int(steps[1]) for steps in matches if steps), default=None)

    def distilled_guidance(self, guidance: float) -> float:
        """Guidance of a model with a distilled LoRA: 1, or the model's own if a LoRA has ``cfg`` in its name."""
        return guidance if any("cfg" in file.lower() for file in self.loras) else 1.0

    @property
    def chosen(self) -> Self | None:
        """These options, or None if none is set."""
        return self if self.model_dump(exclude_defaults=True) else None

    def name(self, model: str) -> str:
        """``model``, the name of the loaded weights, with a hash of the other options if there are any."""
        how = self.model_dump(exclude_defaults=True, exclude={"weights", "loras"})
        if not how:
            return model
        text = json.dumps(how, sort_keys=True)
        return f"{model}+{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Region(Frozen):
    """The part of a picture that a refinement may change; the rest is restored after each step."""

    boxes: tuple[Box, ...] = Field(min_length=1)
    """Where the picture may change."""
    margin: Share = 1 / 6
    """Added around each box, as a fraction of the picture's side."""
    release: Share = 0.2
    """Fraction of the steps, at the end, that restore nothing, so that no seam remains; at 0 everything outside stays
    that of the source."""

    @property
    def grown(self) -> tuple[Box, ...]:
        """The boxes with their margin, inside the picture."""
        m = self.margin
        return tuple((max(a - m, 0), max(b - m, 0), min(c + m, 1), min(d + m, 1)) for a, b, c, d in self.boxes)


class Attempt(Frozen):
    """One image to make: a new drawing, or a refinement of an earlier image. The graph adds id, round and parent, and
    prompt and seed if the policy sets none."""

    prompt: str | None = Field(default=None, min_length=1)
    """The prompt to draw; None: the run's."""
    seed: Seed | None = None
    """Seed of the image's own CPU generator, which draws ``inject``'s noise too; None: derived from the run's."""
    source: str | None = None
    """Id of the image to start from; None: from pure noise."""
    operator: Operator | Look | None = None
    """How a refinement starts, or ``look``; set exactly if ``source`` is."""
    start_step: Step = 0
    """First step of the schedule to run, k in [0, N]; at N the source comes back unchanged. 0 for a new drawing."""
    stop_step: int | None = Field(default=None, ge=1)
    """Step k in [start_step + 1, N] to stop at, for a preview: the picture is the denoiser's estimate of the final one,
    and x_k is kept, so that ``resume`` at k continues as if it had not stopped. None goes to the end."""
    keep_steps: tuple[Step, ...] | None = None
    """Steps k whose x_k is kept, so that ``resume`` can start there; None: those of the first drawings."""
    steps: int | None = Field(default=None, ge=1)
    """N, the length of the schedule; None: the model's default. For ``resume`` it must be that of the source."""
    guidance: float | None = Field(default=None, ge=0)
    """Scale of classifier-free guidance, 1 or less for none; None: the model's own."""
    region: Region | None = None
    """Where a refinement may change the picture; None: everywhere."""
    id: str | None = Field(default=None, min_length=1)
    """Id of the image to make, unique in the run; set by the graph."""
    round: int = Field(default=0, ge=0)
    """0 for the first drawings; set by the graph."""
    parent: str | None = None
    """Id of the image that this one refines or replaces; None for a first drawing; set by the graph."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.source is None) != (self.operator is None):
            raise ValueError("an attempt names a source and an operator, or neither")
        if self.source is None and self.start_step:
            raise ValueError("a new drawing starts at step 0; to start later, name a source and an operator")
        if self.operator == "edit" and self.start_step:
            raise ValueError("an edit starts from the whole picture, at step 0")
        if self.region is not None and self.source is None:
            raise ValueError("a new drawing has no region: there is nothing to keep outside it")
        if self.stop_step is not None and self.stop_step <= self.start_step:
            raise ValueError("a preview would stop before it starts")
        return self

    @property
    def origin(self) -> Origin:
        """The origin of the image to make."""
        if self.operator is not None:
            return "look" if self.operator == "look" else "refine"
        return "generate" if self.parent is None else "reseed"


class ImageRecord(Frozen):
    """An image that was made: its lineage, how it was made and where its files are. Never its pixels."""

    id: str = Field(min_length=1)
    """Unique in the run."""
    round: int = Field(ge=0)
    """0 for the first drawings."""
    origin: Origin
    parent: str | None = None
    """Id of the image that it refines, replaces or looks at again; None for a first drawing."""
    prompt: str
    """The diffusion model's prompt."""
    revised_prompt: str | None = None
    """The prompt as a server says it rewrote it; None if it says nothing."""
    seed: Seed
    """Seed of the image's own CPU generator; for a second opinion, that of the look."""
    seeded: bool = True
    """Whether the image follows from the seed; False for a server that takes no seed."""
    steps: int = Field(ge=1)
    """N, the length of the schedule."""
    start_step: int = Field(ge=0)
    """First step that was run, 0 to N; N-start_step steps were run."""
    start_sigma: float = Field(ge=0, le=1)
    """Noise level at the first step that was run; 1 is pure noise."""
    stop_step: int | None = Field(default=None, ge=1)
    """For a preview, the step that it stopped at, where x_k is kept; picture and final latent are the denoiser's
    estimates. None: it went to the end."""
    operator: Operator | Look | None = None
    """How a refinement started, or ``look``; None for a full drawing."""
    region: Region | None = None
    """Where a refinement could change the picture; None: everywhere."""
    guidance: float = Field(ge=0)
    """Scale of classifier-free guidance; 1 or less means none."""
    width: int = Field(ge=1)
    """Pixels."""
    height: int = Field(ge=1)
    """Pixels."""
    options: DrawingOptions | None = None
    """Options that were set; None if none was, or the role has none."""
    model: str
    """Name and content hash of the diffusion model, and a hash of its ``options`` if there are any."""
    path: Reference
    """The PNG, relative to the run folder."""
    digest: str = ""
    """SHA-256 of the picture's mode, size and pixels, in hexadecimal; empty if the role gives none."""
    latent: Reference | None
    """The final latent (safetensors), relative to the run folder; None from a server, whose images cannot be
    re-denoised."""
    trajectory: dict[int, Reference] = Field(default_factory=dict)
    """Kept latents x_k by step k, relative to the run folder."""
    evaluations: int = Field(ge=0)
    """Forward passes of the denoiser; a guided step counts two. 0 from a server that does not report them."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""
    seconds: float = Field(ge=0)
    """Model time: its share of each forward pass, and its own encoding and decoding."""
    waited: float = Field(default=0.0, ge=0)
    """Seconds that the model spent on other images while this one was in flight."""

    @model_validator(mode="after")
    def _lineage_fits_the_origin(self) -> Self:
        refined = self.origin in ("refine", "look")
        if (self.parent is None) != (self.origin == "generate"):
            raise ValueError("an image has a parent exactly when it is refined or reseeded")
        if (self.operator is not None) != refined:
            raise ValueError("an image has an operator exactly when it is refined")
        if self.start_step > (self.steps if refined else 0):
            raise ValueError("a full drawing starts at step 0, a refinement at step N at most")
        if self.stop_step is not None and not self.start_step < self.stop_step < self.steps:
            raise ValueError("a preview stops after the step it started at and before step N")
        if beyond := sorted(k for k in self.trajectory if not 0 <= k <= self.steps):
            raise ValueError(f"kept steps outside the schedule of {self.steps}: {beyond}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is neither a preview nor a second opinion."""
        return self.stop_step is None and self.origin != "look"

    @property
    def spared(self) -> int:
        """Forward passes of the denoiser that a preview saved by stopping early; 0 for a whole image."""
        return 0 if self.stop_step is None else (self.steps - self.stop_step) * (2 if self.guidance > 1 else 1)

    @property
    def files(self) -> tuple[str, ...]:
        """Its files in the run folder, the picture first."""
        return (self.path, *([] if self.latent is None else [self.latent]), *self.trajectory.values())

    def moved(self, rename: Callable[[str], str], **changes: object) -> Self:
        """A copy with renamed files and other changes."""
        references = {
            "path": rename(self.path),
            "latent": self.latent and rename(self.latent),
            "trajectory": {k: rename(reference) for k, reference in self.trajectory.items()},
        }
        return self.model_copy(update=references | changes)

    def again(self, attempt: Attempt) -> Self:
        """The same picture and files at no cost, for the critic to look at again."""
        place = {name: getattr(attempt, name) for name in ("id", "round", "parent", "origin", "operator", "seed")}
        cost = dict.fromkeys(("evaluations", "money", "seconds", "waited"), 0)
        return self.model_copy(update=place | cost | {"start_step": self.steps, "start_sigma": 0.0, "region": None})

    @property
    def source(self) -> str | None:
        """Id of the image it started from; None for a full drawing."""
        return self.parent if self.operator is not None else None

    def attempt(self, keep_steps: Sequence[int] = ()) -> Attempt:
        """The attempt that makes this image again, with x_k kept at these steps."""
        same = {name: getattr(self, name) for name in Attempt.model_fields.keys() - {"keep_steps"}}
        return Attempt(**same, keep_steps=tuple(keep_steps))
