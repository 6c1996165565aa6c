"""Decisions about images, by a policy, a chat model that a policy asks, or a person."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, computed_field, model_validator

from .base import Exchange, Frozen, Seed, Words
from .images import Attempt, Step

Action = Literal["refine", "reseed", "look", "stop"]
"""refine: re-denoise an image; reseed: draw anew from another seed; look: ask the critic again; stop: no more work."""


class Plan(tuple[Attempt, ...]):
    """The first drawings, as attempts: ``Plan(images=4)`` draws the run's prompt four times.

    Args:
        images: How many first drawings; at least 1. The budget may allow fewer.
        seeds: One for each, in order; by default, or where one is None, they follow from the run's seed.
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
    """What happens next to one image, and why."""

    image: str
    """Id of the image that is judged."""
    rule: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the rule that fired, in snake_case; every stop has its own."""
    reason: Words
    """Why the rule fired for this image, in words."""
    attempts: tuple[Attempt, ...] = ()
    """Images to make for it in the next round; none is a stop. They may refine any earlier image or draw anew."""
    candidate: bool = True
    """False: the image is not chosen as the best, unless there is no other."""
    notes: str = ""
    """Whatever else the policy wants to keep, in words or as JSON; later rounds and replays see it."""

    @model_validator(mode="before")
    @classmethod
    def _action_is_derived(cls, given: Any) -> Any:
        """Written records hold the action too."""
        if isinstance(given, dict) and "action" in given:
            return {name: value for name, value in given.items() if name != "action"}
        return given

    @computed_field
    @property
    def action(self) -> Action:
        """That of its first attempt; stop if it has none."""
        if not self.attempts:
            return "stop"
        first = self.attempts[0].origin
        return "reseed" if first == "generate" else first


class Choice(Frozen):
    """What a chat model would do with one image."""

    image: str
    """Id of the image."""
    action: Literal["refine", "reseed", "stop"]
    reason: Words
    start_step: Step | None = None
    """For refine: the step of the schedule to start at; None leaves it to the policy."""


class Advice(Frozen):
    """What a chat model would do next, asked between two rounds; recorded, so that the judge stays pure."""

    round: int = Field(ge=0)
    choices: tuple[Choice, ...] = ()
    """At most one for an image."""
    silence: str | None = Field(default=None, min_length=1)
    """Why there are no choices; None if there are some."""
    exchanges: tuple[Exchange, ...] = ()
    """What the model was asked and answered."""

    @model_validator(mode="after")
    def _has_choices_or_a_reason(self) -> Self:
        if bool(self.choices) != (self.silence is None):
            raise ValueError("advice has choices, or the reason why it has none")
        if len({choice.image for choice in self.choices}) < len(self.choices):
            raise ValueError("advice chooses at most once for an image")
        return self

    def about(self, image: str) -> Choice | None:
        """The choice for an image, if any."""
        return next((choice for choice in self.choices if choice.image == image), None)


class Ruling(Frozen):
    """What a person decided after one round, in place of the policy."""

    round: int = Field(ge=0)
    decisions: tuple[Decision, ...]
    """One for each image that waited, proposals of the policy that the person accepted too."""
    chosen: str | None = None
    """The best image by the person's choice, which ends the run; None: the best by its checks."""
