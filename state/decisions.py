"""What a policy decides about an image."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Frozen, Words
from .images import Operator
from .seeds import Seed

Action = Literal["refine", "reseed", "stop"]
"""refine: re-denoise from an image; reseed: draw anew from another seed; stop: no more work on it."""


class Plan(Frozen):
    """What to draw first."""

    images: int = Field(default=1, ge=1)
    """How many first drawings, each from a seed of its own."""
    seeds: tuple[Seed, ...] | None = None
    """Their seeds, in order, where a procedure fixes them; None: they follow from the run's seed."""
    keep_steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Steps k whose x_k is kept, so that the trajectory can be resumed there."""
    stop_step: int | None = Field(default=None, ge=1)
    """Step to stop at, for previews; None goes to the end."""

    @model_validator(mode="after")
    def _every_drawing_has_its_seed(self) -> Self:
        if self.seeds is not None and len(self.seeds) != self.images:
            raise ValueError(f"{self.images} first drawings need as many seeds, not {len(self.seeds)}")
        return self


class Decision(Frozen):
    """One image's fate, and why."""

    image: str
    """Id of the image that is judged."""
    action: Action
    rule: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the rule that fired, in snake_case; every stop has its own."""
    reason: Words
    """The rule applied to this image, in words."""
    source: str | None = None
    """refine only: id of the image to start from; the judged image itself unless an ancestor is better."""
    operator: Operator | None = None
    """refine only."""
    start_step: int | None = Field(default=None, ge=0)
    """refine only: the step of the schedule to start at."""
    branches: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """refine only: more steps to start at; each gives an image beside that of ``start_step``."""
    stop_step: int | None = Field(default=None, ge=1)
    """refine and reseed: the step to stop at, for a preview; None goes to the end."""
    prompt: str | None = Field(default=None, min_length=1)
    """refine and reseed: the words to draw from."""
    seed: Seed | None = None
    """reseed: the new seed; refine: the seed of the noise, by default the source's own."""

    @model_validator(mode="after")
    def _parameters_fit_the_action(self) -> Self:
        needed = {
            "refine": ("source", "operator", "start_step", "prompt", "seed"),
            "reseed": ("prompt", "seed"),
            "stop": (),
        }[self.action]
        names = ("source", "operator", "start_step", "prompt", "seed")
        missing = [n for n in needed if getattr(self, n) is None]
        surplus = [n for n in names if n not in needed and getattr(self, n) is not None]
        surplus += ["branches"] if self.branches and self.action != "refine" else []
        surplus += ["stop_step"] if self.stop_step is not None and self.action == "stop" else []
        if missing or surplus:
            raise ValueError(
                f"a {self.action} decision needs {', '.join(needed) or 'no parameters'};"
                f" missing: {', '.join(missing) or 'none'}; surplus: {', '.join(surplus) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _steps_fit_together(self) -> Self:
        if len({*self.starts}) < len(self.starts):
            raise ValueError(f"two branches of {self.image!r} start at the same step: they would be one image")
        if self.stop_step is not None and self.stop_step <= max(self.starts, default=0):
            raise ValueError(f"a preview of {self.image!r} would stop before it starts")
        return self

    @property
    def starts(self) -> tuple[int, ...]:
        """refine only: every step to start at, each of which gives an image."""
        return () if self.start_step is None else (self.start_step, *self.branches)
