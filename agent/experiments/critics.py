"""The critics of an experiment: the one of the settings, made worse or asked otherwise at known rates."""

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from pydantic import Field

from ...state import Aspect, ConceptGraph, Critique, Frozen, ImageRecord, Verdict
from ...tools.errors import SettingsError
from ...tools.roles import Critic
from ...tools.store import Store
from ...tools.vision.gates import ungated
from ...tools.vision.unreliable import Correlated, UnreliableCritic
from ...tools.vision.voting import VotingCritic

Checklist = Literal["gated", "ungated", "whole"]
"""How the critic is asked. gated: a failed parent settles its children; ungated: every check is asked
for itself; whole: one answer for the whole picture, as without decomposition."""
Rate = float | dict[Aspect, float]
"""For every check, or by its aspect."""


class CriticSettings(Frozen):
    """How reliable the critic is, and what it is asked."""

    flip: Rate = 0.0
    """How often a pass becomes a fail or a fail a pass, in [0, 1]."""
    blank: Rate = 0.0
    """How often a verdict becomes unknown, in [0, 1]."""
    bias: Rate = 0.0
    """How often a verdict becomes a pass, or, below 0, a fail; in [-1, 1]."""
    correlated: Correlated = "no"
    """Which errors come together: ``no``, ``image`` or ``check``."""
    seed: int = 0
    """Of the errors."""
    votes: int = Field(default=1, ge=1, le=25)
    """Critics that vote, whose errors are independent of each other's."""
    checklist: Checklist = "gated"
    """``gated``, ``ungated`` or ``whole``."""

    @property
    def is_reliable(self) -> bool:
        """Whether nothing is done to the critic's verdicts."""
        return not (self.flip or self.blank or self.bias)

    def problem(self) -> str | None:
        """Why no critic can be made of it; None where one can."""
        try:
            self.applied(_Nobody())
        except SettingsError as error:
            return str(error)
        return None

    def applied(self, critic: Critic) -> Critic:
        """``critic`` as these settings have it; ``SettingsError`` if a rate is out of range."""
        if self.checklist == "ungated":
            critic = UngatedCritic(critic)
        if not self.is_reliable:
            critic = self._unreliable(critic)
        return WholeCritic(critic) if self.checklist == "whole" else critic

    def _unreliable(self, critic: Critic) -> Critic:
        rates: dict[str, Any] = {name: getattr(self, name) for name in ("flip", "blank", "bias", "correlated")}
        made = [UnreliableCritic(critic, **rates, seed=self.seed + vote) for vote in range(self.votes)]
        return made[0] if self.votes == 1 else VotingCritic(*made)


@dataclass(frozen=True)
class UngatedCritic:
    """Asks every check for itself: a thing that is not there can still be red, or held."""

    critic: Critic
    """Takes the look."""

    @property
    def model(self) -> str:
        """The other critic's name, and what was done to it."""
        return f"{_name(self.critic)} (ungated)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The critique of a checklist without dependencies."""
        return await self.critic.critique(image, ungated(concepts), store)


@dataclass(frozen=True)
class WholeCritic:
    """One answer for the whole picture, given to every check: what is left of a critic without decomposition.

    It passes where every check passes and is unknown where none fails; the probability is the
    product of all. The corrected prompt stays the other critic's.
    """

    critic: Critic
    """Takes the look."""

    @property
    def model(self) -> str:
        """The other critic's name, and what was done to it."""
        return f"{_name(self.critic)} (whole)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The same verdict on every check."""
        seen = await self.critic.critique(image, concepts, store)
        known = [v.certainty for v in seen.verdicts if v.certainty is not None]
        answers = {v.answer for v in seen.verdicts}
        verdicts = tuple(_whole(v.check, answers, prod(known) if known else None) for v in seen.verdicts)
        return seen.model_copy(
            update={
                "verdicts": verdicts,
                "issues": () if answers <= {"pass"} else ("The picture does not show what the prompt says.",),
            }
        )


class _Nobody:
    """Stands in for a critic where none is asked."""

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        raise SettingsError("there is no critic to ask")


def _whole(check: str, answers: set[str], probability: float | None) -> Verdict:
    if "fail" in answers:
        return Verdict(check=check, answer="fail", probability=probability, evidence="the picture is not as asked")
    if "unknown" in answers:
        return Verdict(check=check, answer="unknown", probability=probability, reason="some of the picture is unclear")
    return Verdict(check=check, answer="pass", probability=probability, evidence="the picture is as asked")


def _name(critic: Critic) -> str:
    return str(getattr(critic, "model", type(critic).__name__))
