"""Critics around other critics, and the one that does not look: made worse at known rates, voting, asked otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from ...state import (
    SEED_LIMIT,
    Aspect,
    Check,
    ConceptGraph,
    Critique,
    ImageRecord,
    Verdict,
    derive_seed,
    fail_dependents,
)
from ..errors import SettingsError
from ..files import Store
from ..roles import Critic
from ..tasks import gather_or_cancel
from .verdicts import elect, failures, issues

Rate = float | Mapping[Aspect, float]
"""For every check, or by its aspect; an aspect that is not named has 0."""

Correlated = Literal["no", "image", "check"]
"""Which errors come together. no: each check on each image errs by itself; image: one random number for
all checks of an image, a look that went wrong; check: one for a check on all images of the prompt, a
question that the critic misreads every time, which no vote and no other seed mends."""


def name_of(critic: Critic) -> str:
    """The critic's model, or the name of its class."""
    return str(getattr(critic, "model", type(critic).__name__))


def ungated(concepts: ConceptGraph) -> ConceptGraph:
    """The same checklist with every check asked for itself, whether others fail or not."""
    checks = tuple(check.model_copy(update={"depends_on": ()}) for check in concepts.checks)
    return concepts.model_copy(update={"checks": checks})


class NoCritic:
    """Looks at nothing: every check stays unknown, and the method has to do without."""

    model = "no critic"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """No answer, at no cost."""
        reason = "no critic takes part in this method"
        verdicts = tuple(Verdict(check=check.id, answer="unknown", reason=reason) for check in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, looks=0)


@dataclass(frozen=True)
class UngatedCritic:
    """Asks every check for itself: a thing that is not there can still be red, or held."""

    critic: Critic
    """Takes the look."""

    @property
    def model(self) -> str:
        """The other critic's name, and what was done to it."""
        return f"{name_of(self.critic)} (ungated)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The critique of a checklist without dependencies."""
        return await self.critic.critique(image, ungated(concepts), store)


@dataclass(frozen=True)
class WholeCritic:
    """One answer for the whole picture, given to every check: what remains of a critic without decomposition.

    It passes where every check passes and is unknown where none fails; the probability is the
    product of all. The corrected prompt stays the other critic's.
    """

    critic: Critic
    """Takes the look."""

    @property
    def model(self) -> str:
        """The other critic's name, and what was done to it."""
        return f"{name_of(self.critic)} (whole)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The same verdict on every check."""
        seen = await self.critic.critique(image, concepts, store)
        if not seen.verdicts:
            return seen
        known = [v.certainty for v in seen.verdicts if v.certainty is not None]
        answers = {v.answer for v in seen.verdicts}
        answer = "fail" if "fail" in answers else "unknown" if "unknown" in answers else "pass"
        verdict = Verdict(
            check="whole",
            answer=answer,
            probability=prod(known) if known else None,
            evidence={"fail": "the picture is not as asked", "pass": "the picture is as asked", "unknown": ""}[answer],
            reason="some of the picture is unclear" if answer == "unknown" else None,
            heard=any(v.heard for v in seen.verdicts),
        )
        verdicts = tuple(verdict.model_copy(update={"check": v.check}) for v in seen.verdicts)
        issues = () if answer == "pass" else ("The picture does not show what the prompt says.",)
        return seen.model_copy(update={"verdicts": verdicts, "issues": issues})


class VotingCritic:
    """Asks several critics and takes, for each check, the answer of most that answered it.

    A critic that did not ask a check, since one that it depends on failed, has no vote on it. Where
    votes tie, or fewer than half of them give an answer, the check is unknown. The corrected prompt is
    that of the critic, among those that wrote one, that agrees with most of the verdicts. Votes only
    mend errors that differ: critics that are wrong together stay wrong.

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
        return "vote of " + ", ".join(map(name_of, self.critics))

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The elected verdicts, with the exchanges of every critic."""
        seen = await gather_or_cancel(critic.critique(image, concepts, store) for critic in self.critics)
        own: dict[str, Verdict] = {}
        for check in concepts.checks:
            votes = [v for look in seen for v in look.verdicts if v.check == check.id and v.settled_by is None]
            nobody = "no critic asked it, since a check that it depends on failed for each of them"
            own[check.id] = elect(check, votes or [Verdict(check=check.id, answer="unknown", reason=nobody)])
        verdicts = fail_dependents(concepts, own)
        elected = {v.check: v.answer for v in verdicts}

        def agreement(look: Critique) -> tuple[bool, int]:
            said = look.answers()
            return look.refined_prompt is not None, sum(said[check] == answer for check, answer in elected.items())

        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=issues(failures(concepts, verdicts)),
            refined_prompt=None if set(elected.values()) <= {"pass"} else max(seen, key=agreement).refined_prompt,
            exchanges=tuple(exchange for look in seen for exchange in look.exchanges),
            looks=sum(look.looks for look in seen),
        )


@dataclass(frozen=True)
class UnreliableCritic:
    """Another critic whose verdicts are biased, then flipped, then blanked, each at its rate.

    The errors follow from ``seed``, prompt, image and check alone: the same image has the same errors
    in whatever run and order. Every check is asked for itself first, and what depends on a check
    that failed fails afterwards, so that the answers fit together and a thing that is taken to
    be there has its parts judged. The corrected prompt stays the other critic's own: it is lost
    where nothing remains that fails or is unknown, and absent where that critic saw nothing wrong.

    Raises:
        SettingsError: a rate is out of range or for an aspect that there is not.
    """

    critic: Critic
    """Takes the look."""
    flip: Rate = 0.0
    """How often a pass becomes a fail or a fail a pass, in [0, 1]; an unknown stays."""
    blank: Rate = 0.0
    """How often a verdict becomes unknown, in [0, 1]."""
    bias: Rate = 0.0
    """How often a verdict becomes a pass, in [0, 1], or, below 0, a fail, whatever it was."""
    correlated: Correlated = "no"
    """Which errors come together."""
    seed: int = 0
    """Of the random numbers; critics of other seeds err independently."""

    def __post_init__(self) -> None:
        aspects = get_args(Aspect)
        for name, lowest in (("flip", 0), ("blank", 0), ("bias", -1)):
            rate: Rate = getattr(self, name)
            by_aspect = rate if isinstance(rate, Mapping) else {aspects[0]: rate}
            if strange := sorted(set(by_aspect) - set(aspects)):
                raise SettingsError(f"{name}: no aspect {', '.join(strange)}; there are {', '.join(aspects)}")
            if wrong := [value for value in by_aspect.values() if not lowest <= value <= 1]:
                raise SettingsError(f"{name} is a rate from {lowest} to 1, not {wrong[0]}")
        if self.correlated not in get_args(Correlated):
            raise SettingsError(f"correlated is one of {', '.join(get_args(Correlated))}, not {self.correlated!r}")

    @property
    def model(self) -> str:
        """The other critic's name, and what was done to it."""
        rates = ", ".join(f"{name}={getattr(self, name)}" for name in ("flip", "blank", "bias", "correlated", "seed"))
        return f"{name_of(self.critic)} ({rates})"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The other critic's critique with errors; a check that was not heard stays so."""
        seen = await self.critic.critique(image, ungated(concepts), store)
        own = {v.check: self._distorted(v, concepts.check(v.check), image, concepts.prompt) for v in seen.verdicts}
        verdicts = fail_dependents(concepts, own)
        right = all(v.answer == "pass" for v in verdicts)
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=issues(failures(concepts, verdicts)),
            refined_prompt=None if right else seen.refined_prompt,
            exchanges=seen.exchanges,
            looks=seen.looks,
        )

    def _distorted(self, verdict: Verdict, check: Check, image: ImageRecord, prompt: str) -> Verdict:
        if not verdict.heard:
            return verdict
        look = (image.id, image.seed, image.prompt)
        about = {"no": (*look, check.id), "image": look, "check": (check.id,)}[self.correlated]

        def befalls(name: str) -> bool:
            return derive_seed(self.seed, name, prompt, *about) / SEED_LIMIT < abs(_rate(getattr(self, name), check))

        verdict = verdict.model_copy(update={"settled_by": None})
        if befalls("bias"):
            verdict = _turned(verdict, "pass" if _rate(self.bias, check) > 0 else "fail", "biased")
        if verdict.answer != "unknown" and befalls("flip"):
            verdict = _turned(verdict, "fail" if verdict.answer == "pass" else "pass", "flipped")
        if befalls("blank"):
            return Verdict(check=check.id, answer="unknown", reason="blanked on purpose", evidence=verdict.evidence)
        return verdict


def _turned(verdict: Verdict, answer: Literal["pass", "fail"], how: str) -> Verdict:
    """The same verdict with this answer, as sure as it was of its own."""
    if verdict.answer == answer:
        return verdict
    likely = verdict.probability
    if likely is not None:
        likely = max(likely, 1 - likely) if answer == "pass" else min(likely, 1 - likely)
    evidence = f"{how} on purpose from {verdict.answer}: {verdict.evidence}"
    return Verdict(check=verdict.check, answer=answer, probability=likely, evidence=evidence)


def _rate(rate: Rate, check: Check) -> float:
    return rate.get(check.aspect, 0.0) if isinstance(rate, Mapping) else rate
