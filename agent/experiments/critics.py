"""The critics of an experiment: the one of the settings, made worse or asked otherwise at known rates."""

from typing import Any, Literal

from pydantic import Field

from ...state import Aspect, Frozen
from ...tools.errors import SettingsError
from ...tools.roles import Critic
from ...tools.vision.wrapping import Correlated, NoCritic, UngatedCritic, UnreliableCritic, VotingCritic, WholeCritic

Checklist = Literal["gated", "ungated", "whole"]
"""How the critic is asked. gated: what depends on a failed check fails unasked; ungated: every check is asked
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
            self.applied(NoCritic())
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
