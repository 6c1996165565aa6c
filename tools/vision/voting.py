"""Several looks at one image, and the verdicts of most of them."""

import asyncio
from collections.abc import Sequence
from statistics import mean

from ...state import Check, ConceptGraph, Critique, ImageRecord, Verdict
from ..errors import SettingsError
from ..roles import Critic
from ..store import Store
from .gates import gated
from .impact import failures, issues
from .verdicts import verdict
from .votes import Vote


class VotingCritic:
    """Asks several critics and takes, for each check, the answer of most that answered it.

    A critic that settled a check without asking has no vote on it. Where votes tie, or fewer than
    half of them give an answer, the check is unknown. The corrected prompt is that of the critic,
    among those that wrote one, that agrees with most of the verdicts. Votes only mend errors that
    differ: critics that are wrong together stay wrong.

    Args:
        critics: one or more; the same one may be given several times, where its answers vary.

    Raises:
        SettingsError: there is no critic.
    """

    def __init__(self, *critics: Critic) -> None:
        if not critics:
            raise SettingsError("a vote needs at least one critic")
        self.critics = critics

    @property
    def model(self) -> str:
        """Names of all of them."""
        return "vote of " + ", ".join(getattr(c, "model", type(c).__name__) for c in self.critics)

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The elected verdicts, with the exchanges of every critic."""
        seen = await asyncio.gather(*(critic.critique(image, concepts, store) for critic in self.critics))
        answers = [{v.check: v for v in critique.verdicts} for critique in seen]
        verdicts = gated(concepts, {c.id: _elected(c, [a[c.id] for a in answers]) for c in concepts.checks})
        right = all(v.answer == "pass" for v in verdicts)
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=issues(failures(concepts, verdicts)),
            refined_prompt=None if right else _spokesman(seen, verdicts).refined_prompt,
            exchanges=tuple(exchange for critique in seen for exchange in critique.exchanges),
            looks=sum(critique.looks for critique in seen),
        )


def _elected(check: Check, verdicts: Sequence[Verdict]) -> Verdict:
    asked = [v for v in verdicts if v.settled_by is None]
    if not asked:
        return Verdict(check=check.id, answer="unknown", reason="no critic asked it: each had settled it")
    if len(verdicts) == 1:
        return asked[0]
    elected = verdict(check, [_vote(v) for v in asked])
    given = [v.probability for v in asked if v.answer != "unknown" and v.probability is not None]
    if elected.answer == "unknown" or not given:
        return elected
    return elected.model_copy(update={"probability": mean(given)})


def _vote(verdict: Verdict) -> Vote:
    answer = {"pass": "yes", "fail": "no", "unknown": None}[verdict.answer]
    return Vote(answer, verdict.evidence, verdict.reason or "")  # pyright: ignore[reportArgumentType]


def _spokesman(seen: Sequence[Critique], verdicts: Sequence[Verdict]) -> Critique:
    """The critique that agrees with most verdicts; of equals, the first one that has a corrected prompt."""
    elected = {v.check: v.answer for v in verdicts}

    def agreement(critique: Critique) -> tuple[bool, int]:
        said = critique.answers()
        return critique.refined_prompt is not None, sum(said[check] == answer for check, answer in elected.items())

    return max(seen, key=agreement)
