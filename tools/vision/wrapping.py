"""Critics that wrap others: with errors at known rates, by vote, without gating; and one that answers nothing."""

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


def _from_0_to_1(rate: float | dict[Aspect, float]) -> float | dict[Aspect, float]:
    if any(not 0 <= value <= 1 for value in (rate.values() if isinstance(rate, dict) else (rate,))):
        raise ValueError("a rate is from 0 to 1")
    return rate


Rate = Annotated[float | dict[Aspect, float], AfterValidator(_from_0_to_1)]
"""For every check, or by its aspect; an aspect that is not named has 0."""

Correlated = Literal["no", "image", "check", "alike"]
"""Which errors come together. no: each check on each image errs independently; image: one random number for all checks
of an image; check: one for a check on all images of the prompt, a question that the critic always misreads, which no
other image mends; alike: one for a check on all images of the prompt on which the other critic sees the same, so that
what was missed once is missed until the picture changes there."""


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
"""By name. published: after FOCUS (arXiv 2604.21523), whose evaluators miss spoilt pictures, at times more than half of
them, mostly errors of composition and space. It counts whole pictures; the rates by aspect, and those of inventions,
are this project's assumption."""


def profile_of(given: str | Profile) -> Profile:
    """A profile by its name or from a JSON file, such as ``{"relation": {"miss": 0.4, "invent": 0.1}}``;
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
    """The same checklist without dependencies: every check is asked, whether others fail or not."""
    checks = tuple(check.model_copy(update={"depends_on": ()}) for check in concepts.checks)
    return concepts.model_copy(update={"checks": checks})


class NoCritic:
    """Does not look: every check is unknown."""

    model = "no critic"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        reason = "no critic takes part in this method"
        verdicts = tuple(Verdict(check=check.id, answer="unknown", reason=reason) for check in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, looks=0)


@dataclass(frozen=True)
class UngatedCritic:
    """Asks every check whatever the others: a thing that is not there can still be red, or held."""

    critic: Critic
    """The wrapped critic."""

    @property
    def model(self) -> str:
        return f"{model_name(self.critic)} (ungated)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        return await self.critic.critique(image, ungated(concepts), store)


@dataclass(frozen=True)
class WholeCritic:
    """Gives every check one answer, that for the whole picture, as a critic without decomposition does: pass if all
    pass, fail if any fails, with the product of the probabilities. The corrected prompt stays the other critic's."""

    critic: Critic
    """The wrapped critic."""

    @property
    def model(self) -> str:
        return f"{model_name(self.critic)} (whole)"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        critique = await self.critic.critique(image, concepts, store)
        certainties = [v.certainty for v in critique.verdicts if v.certainty is not None]
        answers = {v.answer for v in critique.verdicts}
        answer = "fail" if "fail" in answers else "unknown" if "unknown" in answers else "pass"
        verdict = Verdict(
            check="whole",
            answer=answer,
            probability=prod(certainties) if certainties else None,
            evidence={"fail": "the picture is not as asked", "pass": "the picture is as asked", "unknown": ""}[answer],
            reason="some of the picture is unclear" if answer == "unknown" else None,
            heard=answer != "unknown" or any(v.heard for v in critique.verdicts),
        )
        verdicts = tuple(verdict.model_copy(update={"check": v.check}) for v in critique.verdicts)
        issues = () if answer == "pass" else ("The picture does not show what the prompt says.",)
        return critique.model_copy(update={"verdicts": verdicts, "issues": issues})


class VotingCritic:
    """Asks several critics, or one several times where its answers vary, and takes the majority's answer to each check.

    A critic that did not ask a check, since one that it depends on failed, has no vote on it. Where votes tie, or fewer
    than half of them give an answer, the check is unknown. The corrected prompt is that of the critic, among those that
    wrote one, that agrees with most of the verdicts. A vote only mends errors that are not shared.
    """

    def __init__(self, *critics: Critic) -> None:
        if not critics:
            raise SettingsError("a vote needs at least one critic")
        self.critics, self.model = critics, "vote of " + ", ".join(map(model_name, critics))

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        critiques = await gather_or_cancel(critic.critique(image, concepts, store) for critic in self.critics)
        own: dict[str, Verdict] = {}
        for check in concepts.checks:
            votes = [v for c in critiques for v in c.verdicts if v.check == check.id and v.settled_by is None]
            nobody = "no critic asked it, since a check that it depends on failed for each of them"
            own[check.id] = elect(check, votes or [Verdict(check=check.id, answer="unknown", reason=nobody)])
        verdicts = fail_dependents(concepts, own)
        answers = {(v.check, v.answer) for v in verdicts}

        def agreement(critique: Critique) -> tuple[bool, int]:
            return critique.refined_prompt is not None, len(answers & set(critique.answers().items()))

        all_pass = all(v.answer == "pass" for v in verdicts)
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=issues(failures(concepts, verdicts)),
            refined_prompt=None if all_pass else max(critiques, key=agreement).refined_prompt,
            exchanges=tuple(exchange for critique in critiques for exchange in critique.exchanges),
            looks=sum(critique.looks for critique in critiques),
        )


@pydantic_dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True))
class UnreliableCritic:
    """Another critic whose verdicts are flipped, then blanked, at known rates.

    The errors depend on ``seed``, prompt, image and check alone, not on the run or the order. Every check is asked, and
    what depends on a failed one fails afterwards, so that the answers stay consistent. Where that changes an answer, a
    critic with a method ``correct`` is asked for the prompt that the wrong verdicts call for; any other keeps its own
    prompt, and has none where all checks pass.
    """

    critic: SkipValidation[Critic]
    """The wrapped critic."""
    flip: Rate = 0.0
    """How often a pass becomes a fail or a fail a pass, in [0, 1]; an unknown one stays."""
    blank: Rate = 0.0
    """How often a verdict becomes unknown, in [0, 1]."""
    profile: Profile = field(default_factory=dict[Aspect, Errors])
    """How often fails and passes are flipped, each at its rate, on top of ``flip``."""
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
        """The other critic's critique with errors; an unheard check stays unheard."""
        original = await self.critic.critique(image, ungated(concepts), store)
        own = {v.check: self._distorted(v, concepts.check(v.check), image, concepts.prompt) for v in original.verdicts}
        verdicts = fail_dependents(concepts, own)
        prompt = None if all(v.answer == "pass" for v in verdicts) else original.refined_prompt
        changed = {v.check: v.answer for v in verdicts} != original.answers()
        if changed and (correct := getattr(self.critic, "correct", None)) is not None:
            prompt = await correct(image, concepts, verdicts, store)
        wrong = {"verdicts": verdicts, "issues": issues(failures(concepts, verdicts)), "refined_prompt": prompt}
        return original.model_copy(update=wrong)

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

        def errs(name: str, rate: float) -> bool:
            return derive_seed(self.seed, name, prompt, *about) / SEED_LIMIT < rate

        verdict = verdict.model_copy(update={"settled_by": None})
        errors, passes = self.profile.get(check.aspect, Errors()), verdict.answer == "pass"
        flip, blank = (r.get(check.aspect, 0.0) if isinstance(r, dict) else r for r in (self.flip, self.blank))
        flip += self.strength * (errors.invent if passes else errors.miss)
        if verdict.answer != "unknown" and errs("flip", flip):
            likely = verdict.probability
            if likely is not None:  # as sure of the other answer
                likely = min(likely, 1 - likely) if passes else max(likely, 1 - likely)
            changes = {"answer": "fail" if passes else "pass", "probability": likely}
            changes |= {"evidence": f"flipped on purpose from {verdict.answer}: {verdict.evidence}"}
            verdict = verdict.model_copy(update=changes)
        if errs("blank", blank):
            changes = {"answer": "unknown", "probability": None, "reason": "blanked on purpose"}
            return verdict.model_copy(update=changes)
        return verdict
