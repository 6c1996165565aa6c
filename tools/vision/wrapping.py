"""Critics around other critics, and the one that does not look: made worse at known rates, voting, asked otherwise."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, SkipValidation, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ...state import (
    SEED_LIMIT,
    Aspect,
    Check,
    ConceptGraph,
    Critique,
    Frozen,
    ImageRecord,
    Verdict,
    derive_seed,
    fail_dependents,
)
from ...state.base import Share
from ..blocking import gather_or_cancel
from ..errors import SettingsError, first_problem
from ..files import Store
from ..roles import Critic, model_name
from .verdicts import elect, failures, issues


def _a_share(rate: float | dict[Aspect, float]) -> float | dict[Aspect, float]:
    if any(not 0 <= value <= 1 for value in (rate.values() if isinstance(rate, dict) else (rate,))):
        raise ValueError("a rate is from 0 to 1")
    return rate


Rate = Annotated[float | dict[Aspect, float], AfterValidator(_a_share)]
"""For every check, or by its aspect; an aspect that is not named has 0."""

Correlated = Literal["no", "image", "check", "alike"]
"""Which errors come together. no: each check on each image errs by itself; image: one random number for
all checks of an image, a look that went wrong; check: one for a check on all images of the prompt, a
question that the critic misreads every time, which no other image mends; alike: one for a check on all
images of the prompt on which the other critic sees the same, so that what was missed once is missed
until the picture changes there."""


class Errors(Frozen):
    """How often a critic errs on checks of one aspect."""

    miss: Share = 0.0
    """How often it passes a check that fails."""
    invent: Share = 0.0
    """How often it fails a check that passes."""


Profile = dict[Aspect, Errors]
"""How often a critic errs, by aspect; one that is not named has no errors."""

PROFILES: dict[str, Profile] = {
    "published": {
        "presence": Errors(miss=0.08, invent=0.02),
        "scene": Errors(miss=0.10, invent=0.02),
        "attribute": Errors(miss=0.20, invent=0.05),
        "count": Errors(miss=0.25, invent=0.06),
        "nothing_else": Errors(miss=0.30, invent=0.05),
        "relation": Errors(miss=0.40, invent=0.08),
    }
}
"""By name. published: assumed after FOCUS (arXiv 2604.21523), whose evaluators overlook spoilt pictures, in some cases
more than half of them, most often where composition and space are wrong. It counts whole pictures; the shares by
aspect and of inventions, a quarter of the misses or less, are this project's assumption."""


def profile_of(given: str | Profile) -> Profile:
    """A profile by its name, or from a JSON file, such as ``{"relation": {"miss": 0.4, "invent": 0.1}}``;
    ``SettingsError`` if it is neither."""
    if not isinstance(given, str):
        return given
    if given in PROFILES:
        return PROFILES[given]
    try:
        return TypeAdapter(Profile).validate_json(Path(given).read_bytes())
    except OSError as error:
        names = ", ".join(PROFILES)
        raise SettingsError(f"profile {given!r} is none of {names}, and no file: {error.strerror}") from error
    except ValidationError as error:
        raise SettingsError(f"profile {given}: {first_problem(error)}") from error


def ungated(concepts: ConceptGraph) -> ConceptGraph:
    """The same checklist with every check asked for itself, whether others fail or not."""
    checks = tuple(check.model_copy(update={"depends_on": ()}) for check in concepts.checks)
    return concepts.model_copy(update={"checks": checks})


class NoCritic:
    """Looks at nothing: every check stays unknown, and the method has to do without."""

    model = "no critic"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
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
        return f"{model_name(self.critic)} (ungated)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
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
        return f"{model_name(self.critic)} (whole)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
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
    """Asks critics, the same one several times where its answers vary, and takes for each check the answer of most that
    answered it.

    A critic that did not ask a check, since one that it depends on failed, has no vote on it. Where votes tie, or fewer
    than half of them give an answer, the check is unknown. The corrected prompt is that of the critic, among those that
    wrote one, that agrees with most of the verdicts. Votes only mend errors that differ: critics that are wrong
    together stay wrong.
    """

    def __init__(self, *critics: Critic) -> None:
        if not critics:
            raise SettingsError("a vote needs at least one critic")
        self.critics, self.model = critics, "vote of " + ", ".join(map(model_name, critics))

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
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


@pydantic_dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True))
class UnreliableCritic:
    """Another critic whose verdicts are turned, then blanked, at known rates.

    The errors follow from ``seed``, prompt, image and check alone: the same image has the same errors in whatever run
    and order. Every check is asked for itself first, and what depends on a check that failed fails afterwards, so that
    the answers fit together and a thing that is taken to be there has its parts judged. Where errors change a verdict,
    a critic with a method ``correct`` is asked for the prompt that follows from the wrong ones; of any other the prompt
    stays its own, and is lost where nothing remains that fails or is unknown.
    """

    critic: SkipValidation[Critic]
    """Takes the look."""
    flip: Rate = 0.0
    """How often a pass becomes a fail or a fail a pass, in [0, 1]; an unknown stays."""
    blank: Rate = 0.0
    """How often a verdict becomes unknown, in [0, 1]."""
    profile: Profile = field(default_factory=dict[Aspect, Errors])
    """How often fails and passes are turned, each at its rate, on top of ``flip``."""
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Multiplies the rates of the profile, at least 0; a rate above 1 is 1. Errors at one strength are also made at
    every greater one."""
    correlated: Correlated = "no"
    """Which errors come together."""
    seed: int = 0
    """Of the random numbers; critics of other seeds err independently."""

    @property
    def model(self) -> str:
        rates = ", ".join(f"{name}={getattr(self, name)}" for name in ("flip", "blank", "correlated", "seed"))
        of_profile = ", ".join(f"{a}={e.miss:g}/{e.invent:g}" for a, e in sorted(self.profile.items()))
        return f"{model_name(self.critic)} ({rates}{f', {self.strength:g} x {of_profile}' if of_profile else ''})"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The other critic's critique with errors; a check that was not heard stays so."""
        seen = await self.critic.critique(image, ungated(concepts), store)
        own = {v.check: self._distorted(v, concepts.check(v.check), image, concepts.prompt) for v in seen.verdicts}
        verdicts = fail_dependents(concepts, own)
        prompt = None if all(v.answer == "pass" for v in verdicts) else seen.refined_prompt
        turned = any(own[v.check].answer != v.answer for v in seen.verdicts)
        if turned and (correct := getattr(self.critic, "correct", None)) is not None:
            prompt = await correct(image, concepts, verdicts, store)
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=issues(failures(concepts, verdicts)),
            refined_prompt=prompt,
            exchanges=seen.exchanges,
            looks=seen.looks,
        )

    def _distorted(self, verdict: Verdict, check: Check, image: ImageRecord, prompt: str) -> Verdict:
        if not verdict.heard:
            return verdict
        look = (image.id, image.seed, image.prompt)
        about = {
            "no": (*look, check.id),
            "image": look,
            "check": (check.id,),
            "alike": (check.id, verdict.answer, verdict.evidence),
        }[self.correlated]

        def befalls(name: str, rate: float) -> bool:
            return derive_seed(self.seed, name, prompt, *about) / SEED_LIMIT < rate

        verdict = verdict.model_copy(update={"settled_by": None})
        errors, passes = self.profile.get(check.aspect, Errors()), verdict.answer == "pass"
        extra = self.strength * (errors.invent if passes else errors.miss)
        if verdict.answer != "unknown" and befalls("flip", _rate(self.flip, check) + extra):
            verdict = _turned(verdict, "fail" if passes else "pass")
        if befalls("blank", _rate(self.blank, check)):
            changes = {"answer": "unknown", "probability": None, "reason": "blanked on purpose"}
            return verdict.model_copy(update=changes)
        return verdict


def _turned(verdict: Verdict, answer: Literal["pass", "fail"]) -> Verdict:
    """The same verdict with the other answer, as sure as it was of its own."""
    likely = verdict.probability
    if likely is not None:
        likely = max(likely, 1 - likely) if answer == "pass" else min(likely, 1 - likely)
    evidence = f"flipped on purpose from {verdict.answer}: {verdict.evidence}"
    return Verdict(check=verdict.check, answer=answer, probability=likely, evidence=evidence, boxes=verdict.boxes)


def _rate(rate: Rate, check: Check) -> float:
    return rate.get(check.aspect, 0.0) if isinstance(rate, dict) else rate
