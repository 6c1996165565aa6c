"""What a model that was asked between two rounds would do; recorded, so that the judge stays pure."""

from typing import Self

from pydantic import Field, model_validator

from .base import Frozen, Words
from .decisions import Action
from .exchange import Exchange


class Choice(Frozen):
    """What to do with one image."""

    image: str
    """Its id."""
    action: Action
    reason: Words
    start_step: int | None = Field(default=None, ge=0)
    """refine only: the step of the schedule to start at; None leaves it to the policy."""


class Advice(Frozen):
    """The answer after one round."""

    round: int = Field(ge=0)
    choices: tuple[Choice, ...] = ()
    """At most one for an image."""
    silence: str | None = Field(default=None, min_length=1)
    """Why there is no choice at all; only then, and always then."""
    exchanges: tuple[Exchange, ...] = ()
    """Exactly what was asked and answered."""

    @model_validator(mode="after")
    def _is_an_answer_or_tells_why_not(self) -> Self:
        if bool(self.choices) != (self.silence is None):
            raise ValueError("advice has choices, or the reason why it has none")
        if len({choice.image for choice in self.choices}) < len(self.choices):
            raise ValueError("advice chooses at most once for an image")
        return self

    def about(self, image: str) -> Choice | None:
        """The choice for an image; None if there is none."""
        return next((choice for choice in self.choices if choice.image == image), None)
