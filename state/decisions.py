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
    keep_steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Steps k whose x_k is kept, so that the trajectory can be resumed there."""


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
        if missing or surplus:
            raise ValueError(
                f"a {self.action} decision needs {', '.join(needed) or 'no parameters'};"
                f" missing: {', '.join(missing) or 'none'}; surplus: {', '.join(surplus) or 'none'}"
            )
        return self
