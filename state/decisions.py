"""What is decided about an image, by a policy, a chat model that a policy asks, or a person."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, computed_field, model_validator

from .base import Exchange, Frozen, Seed, Words
from .images import Attempt, Step

Action = Literal["refine", "reseed", "look", "stop"]
"""refine: re-denoise from an image; reseed: draw anew from another seed; look: ask the critic again; stop: no more work
on it."""


class Plan(tuple[Attempt, ...]):
    """What to draw before the first critique: attempts, of which ``Plan(images=4)`` makes four of the run's prompt.

    Args:
        images: How many first drawings; at least 1. The budget may allow fewer.
        seeds: Theirs, in order, where a procedure fixes them; where one is None, the first has the run's own, and the
            others' follow from it.
        keep_steps: Steps k whose x_k is kept, so that the trajectory can be resumed there.
        stop_step: Step to stop at, for previews; None goes to the end.

    ``ValueError`` if there is no drawing, or not one seed for each.
    """

    def __new__(
        cls,
        images: int = 1,
        *,
        seeds: Sequence[Seed | None] | None = None,
        keep_steps: Sequence[Step] = (),
        stop_step: int | None = None,
    ) -> Self:
        if images < 1:
            raise ValueError(f"a plan draws at least one image, not {images}")
        if seeds is not None and len(seeds) != images:
            raise ValueError(f"{images} first drawings need as many seeds, not {len(seeds)}")
        keep = tuple(keep_steps)
        return super().__new__(
            cls, (Attempt(seed=seed, keep_steps=keep, stop_step=stop_step) for seed in seeds or [None] * images)
        )


class Decision(Frozen):
    """One image's fate, and why."""

    image: str
    """Id of the image that is judged."""
    rule: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the rule that fired, in snake_case; every stop has its own."""
    reason: Words
    """The rule applied to this image, in words."""
    attempts: tuple[Attempt, ...] = ()
    """Images to make on its behalf in the next round; none is a stop. They may differ in anything, and mix
    refinements of any earlier image with new drawings."""
    candidate: bool = True
    """Whether the image stays among those of which the best is chosen, where others can be."""
    notes: str = ""
    """Whatever else the policy wants to keep, in words or as JSON; later rounds and replays have it."""

    @model_validator(mode="before")
    @classmethod
    def _action_is_derived(cls, given: Any) -> Any:
        """A record that was written holds the action as well."""
        if isinstance(given, dict) and "action" in given:
            return {name: value for name, value in given.items() if name != "action"}
        return given

    @computed_field
    @property
    def action(self) -> Action:
        """That of its first attempt; stop where there is none."""
        if not self.attempts:
            return "stop"
        first = self.attempts[0].origin
        return "reseed" if first == "generate" else first


class Choice(Frozen):
    """What a chat model would do with one image."""

    image: str
    """Its id."""
    action: Literal["refine", "reseed", "stop"]
    reason: Words
    start_step: Step | None = None
    """refine only: the step of the schedule to start at; None leaves it to the policy."""


class Advice(Frozen):
    """What a chat model that was asked between two rounds would do; recorded, so that the judge stays pure."""

    round: int = Field(ge=0)
    choices: tuple[Choice, ...] = ()
    """At most one for an image."""
    silence: str | None = Field(default=None, min_length=1)
    """Why there is no choice at all; only then, and always then."""
    exchanges: tuple[Exchange, ...] = ()
    """Exactly what was asked and answered."""

    @model_validator(mode="after")
    def _has_choices_or_a_reason(self) -> Self:
        if bool(self.choices) != (self.silence is None):
            raise ValueError("advice has choices, or the reason why it has none")
        if len({choice.image for choice in self.choices}) < len(self.choices):
            raise ValueError("advice chooses at most once for an image")
        return self

    def about(self, image: str) -> Choice | None:
        """The choice for an image; None if there is none."""
        return next((choice for choice in self.choices if choice.image == image), None)


class Ruling(Frozen):
    """What a person decided after one round, in place of the policy."""

    round: int = Field(ge=0)
    decisions: tuple[Decision, ...]
    """One for each image that waited; those that the policy proposed and the person accepted are among them."""
    chosen: str | None = None
    """The image that the person ended the run with; None: the best by its checks."""
