"""Images as they are asked for and as they are made: enough to make each of them again."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from .base import Box, Frozen, Seed, Share, Words

Origin = Literal["generate", "refine", "reseed", "look"]
"""generate: the first drawing; refine: re-denoised from an earlier image; reseed: drawn anew from another seed; look:
the earlier image itself, for a second opinion."""

Operator = Literal["inject", "resume", "edit"]
"""inject: noise is added to the final latent, which is denoised from there; resume: the image's own
denoising is continued from a kept step; edit: a model that edits pictures is given the picture, and the prompt is the
instruction."""

Look = Literal["look"]
"""In place of an operator: nothing is drawn, and the critic looks at the image once more."""

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
    """How a model draws, whatever the prompt; what is not set is the model's own.

    A file is a path, or ``owner/name/file`` on the model hub. No other formats are read, since they may hold code.
    """

    weights: WeightsFile | None = None
    """File of the denoiser's weights in place of the model's own: ``.safetensors``, with 8-bit floats or a whole
    checkpoint too, or ``.gguf``."""
    loras: dict[LoraFile, float] = Field(default_factory=dict)
    """Scale by file (``.safetensors``) of the LoRAs (arXiv 2106.09685) that are added to the weights. A name such as
    ``8steps`` is that of a distillation, which sets steps and guidance unless they are set otherwise."""
    width: int | None = Field(default=None, ge=16)
    """Pixels, a multiple of what the model takes."""
    height: int | None = Field(default=None, ge=16)
    """Pixels, a multiple of what the model takes."""
    negative_prompt: Words | None = None
    """What guidance leads away from; it needs guidance."""
    shift: float | None = Field(default=None, gt=0)
    """s of the noise levels s * t / (1 + (s - 1) * t), for t falling evenly from 1 to 0: above 1, more of the steps are
    at high noise. It replaces a shift that depends on the size of the image."""
    guidance_interval: Interval | None = None
    """Least and greatest noise level, in [0, 1], with guidance (arXiv 2404.07724); the other steps take one pass, not
    two. None: all steps are guided."""
    block_cache: float | None = Field(default=None, gt=0, lt=1)
    """Relative change of what the first block adds below which a step takes what the other blocks added last, each
    image by itself; such a step costs no evaluation. None: every step runs all blocks."""
    skip_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Blocks of the denoiser without which one more evaluation of a guided step is made, to lead away from it
    (skip-layer guidance, as SD3.5 Medium is drawn with 7, 8 and 9)."""
    skip_scale: float = Field(default=2.8, gt=0)
    """How far it leads."""
    skip_interval: Interval = (0.01, 0.2)
    """The steps k with it are those of N for which k / N lies between these, both left out."""

    @model_validator(mode="after")
    def _skips_something(self) -> Self:
        usual = {name: type(self).model_fields[name].default for name in ("skip_scale", "skip_interval")}
        if not self.skip_layers and any(getattr(self, name) != value for name, value in usual.items()):
            raise ValueError("skip_scale and skip_interval have no effect without skip_layers")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Everything that it refers to."""
        return (*filter(None, [self.weights]), *self.loras)

    @property
    def distilled_steps(self) -> int | None:
        """Those that the name of a LoRA says it was distilled for; None where none does."""
        names = [file.rpartition("/")[2].lower() for file in self.loras]
        found = [re.search(r"(\d+)[-_ ]?steps?(?![a-z])", name) for name in names]
        return max((int(steps[1]) for steps in found if steps), default=None)

    def distilled_guidance(self, guidance: float) -> float:
        """That of a model with a distilled LoRA: none, unless a name says that it keeps that of the model."""
        return guidance if any("cfg" in file.lower() for file in self.loras) else 1.0

    @property
    def chosen(self) -> Self | None:
        """These options, or None where nothing is set."""
        return self if self.model_dump(exclude_defaults=True) else None

    def name(self, model: str) -> str:
        """The name of what draws so; ``model`` is the name of what was loaded, which tells the contents of files."""
        how = self.model_dump(exclude_defaults=True, exclude={"weights", "loras"})
        if not how:
            return model
        text = json.dumps(how, sort_keys=True)
        return f"{model}+{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Region(Frozen):
    """The part of a picture that a refinement may change; everything else is put back after each step."""

    boxes: tuple[Box, ...] = Field(min_length=1)
    """What may change."""
    margin: Share = 1 / 6
    """Of the picture's side, that may change around each box."""
    release: Share = 0.2
    """Of the schedule's steps, at its end, after which nothing is put back, so that no seam remains; at 0 everything
    outside stays that of the source."""

    @property
    def grown(self) -> tuple[Box, ...]:
        """The boxes with their margin, inside the picture."""
        m = self.margin
        return tuple((max(a - m, 0), max(b - m, 0), min(c + m, 1), min(d + m, 1)) for a, b, c, d in self.boxes)


class Attempt(Frozen):
    """One image to make: a new drawing, or a refinement of an earlier image. A policy fills in what it cares about; the
    graph adds id, round and parent, and the words and the seed where the policy leaves them open."""

    prompt: str | None = Field(default=None, min_length=1)
    """The words to draw from; None: those of the run's prompt."""
    seed: Seed | None = None
    """Seed of the image's own CPU generator, of ``inject``'s noise in a refinement; None: derived from the run's."""
    source: str | None = None
    """Id of the image to start from; None: from pure noise."""
    operator: Operator | Look | None = None
    """How a refinement starts, or that the source is looked at again; set exactly where ``source`` is."""
    start_step: Step = 0
    """First step of the schedule to run, k in [0, N]; at N the source comes back unchanged. 0 for a new drawing."""
    stop_step: int | None = Field(default=None, ge=1)
    """Step k in [start_step + 1, N] to stop at, for a preview: the picture is what the denoiser takes for the final
    one there, and x_k is kept, so that ``resume`` at k continues as if it had not stopped. None goes to the end."""
    keep_steps: tuple[Step, ...] | None = None
    """Steps k whose x_k is kept, so that ``resume`` can start there; None: as the first drawings keep."""
    steps: int | None = Field(default=None, ge=1)
    """N, the length of the schedule; None: the model's own, which ``resume`` needs to be that of the source."""
    guidance: float | None = Field(default=None, ge=0)
    """Scale of classifier-free guidance, 1 or less for none; None: the model's own."""
    region: Region | None = None
    """Where a refinement may change the picture; None: everywhere."""
    id: str | None = Field(default=None, min_length=1)
    """Of the image to be, unique in the run; given by the graph."""
    round: int = Field(default=0, ge=0)
    """0 for the first drawings; given by the graph."""
    parent: str | None = None
    """Id of the image that this one is refined from or replaces; None for a first drawing; given by the graph."""

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
        """What the image will be to its run."""
        if self.operator is not None:
            return "look" if self.operator == "look" else "refine"
        return "generate" if self.parent is None else "reseed"


class ImageRecord(Frozen):
    """An attempt carried out: its lineage, how it was made and where its data lies. Never its pixels."""

    id: str = Field(min_length=1)
    """Unique in the run."""
    round: int = Field(ge=0)
    """0 for the first drawings."""
    origin: Origin
    parent: str | None = None
    """Id of the image it was refined from, that its reseed replaces or that was looked at again; None for a first
    drawing."""
    prompt: str
    """The words the diffusion model was given."""
    revised_prompt: str | None = None
    """What a server says it made of them before it drew; None where nothing was said."""
    seed: Seed
    """Seed of the image's own CPU generator; for a second opinion, that of its look."""
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
    operator: Operator | Look | None = None
    """How a refinement started, or that the picture is its parent's; None for a full drawing."""
    region: Region | None = None
    """Where a refinement could change the picture; None: everywhere."""
    guidance: float = Field(ge=0)
    """Scale of classifier-free guidance; 1 or less means none."""
    width: int = Field(ge=1)
    """Pixels."""
    height: int = Field(ge=1)
    """Pixels."""
    options: DrawingOptions | None = None
    """What was set of how the model draws; None where nothing was, or the role has no such options."""
    model: str
    """Name and content hash of the diffusion model, and a hash of its ``options`` where there are any."""
    path: Reference
    """The PNG, relative to the run folder."""
    digest: str = ""
    """SHA-256 of the picture's mode, size and pixels, in hexadecimal; empty where a role does not give it."""
    latent: Reference | None
    """The final latent (safetensors), relative to the run folder; None where the model is a server that gives none,
    so that the image cannot be refined."""
    trajectory: dict[int, Reference] = Field(default_factory=dict)
    """Kept latents x_k by step k, relative to the run folder."""
    evaluations: int = Field(ge=0)
    """Forward passes of the denoiser; a guided step counts two. 0 where the model is a server that does not say."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""
    seconds: float = Field(ge=0)
    """Of model time: its part in each forward pass that it shared, and its own encoding and decoding."""
    waited: float = Field(default=0.0, ge=0)
    """Seconds in which the model worked for other images while this one was in flight."""

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
        beyond = sorted(k for k in self.trajectory if not 0 <= k <= self.steps)
        if beyond:
            raise ValueError(f"kept steps outside the schedule of {self.steps}: {beyond}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is a picture of its own that was drawn to its end: no preview, and no second opinion."""
        return self.stop_step is None and self.origin != "look"

    @property
    def spared(self) -> int:
        """Forward passes of the denoiser that a preview did not take for having stopped; 0 for a whole image."""
        return 0 if self.stop_step is None else (self.steps - self.stop_step) * (2 if self.guidance > 1 else 1)

    @property
    def files(self) -> tuple[str, ...]:
        """Everything that it refers to in the run folder, the picture first."""
        return (self.path, *([] if self.latent is None else [self.latent]), *self.trajectory.values())

    def moved(self, rename: Callable[[str], str], **changes: object) -> Self:
        """The same image with other references to its files, and other changes."""
        references = {
            "path": rename(self.path),
            "latent": self.latent and rename(self.latent),
            "trajectory": {k: rename(reference) for k, reference in self.trajectory.items()},
        }
        return self.model_copy(update=references | changes)

    def again(self, attempt: Attempt) -> Self:
        """The same picture, from the same files and for nothing, to be looked at once more."""
        place = {name: getattr(attempt, name) for name in ("id", "round", "parent", "origin", "operator", "seed")}
        cost = dict.fromkeys(("evaluations", "money", "seconds", "waited"), 0)
        return self.model_copy(update=place | cost | {"start_step": self.steps, "start_sigma": 0.0, "region": None})

    @property
    def source(self) -> str | None:
        """Id of the image that it started from; None for a full drawing."""
        return self.parent if self.operator is not None else None

    def attempt(self, keep_steps: Sequence[int] = ()) -> Attempt:
        """The attempt that makes this image again, with x_k kept at these steps."""
        same = {name: getattr(self, name) for name in Attempt.model_fields.keys() - {"keep_steps"}}
        return Attempt(**same, keep_steps=tuple(keep_steps))
