"""A critic made worse at known rates, so that "how good must the critic be?" becomes a curve."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ...state import SEED_LIMIT, Aspect, Check, ConceptGraph, Critique, ImageRecord, Verdict, derive_seed
from ..errors import SettingsError
from ..roles import Critic
from ..store import Store
from .gates import gated, ungated
from .impact import failures, issues

Rate = float | Mapping[Aspect, float]
"""For every check, or by its aspect; an aspect that is not named has 0."""

Correlated = Literal["no", "image", "check"]
"""Which errors come together. no: each check on each image errs by itself; image: one lot for all
checks of an image, a look that went wrong; check: one lot for a check on all images of the prompt,
a question that the critic misreads every time, which no vote and no other seed mends."""


@dataclass(frozen=True)
class UnreliableCritic:
    """Another critic whose verdicts are biased, then flipped, then blanked, each at its rate.

    The lots follow from ``seed``, prompt, image and check alone: the same image has the same errors
    in whatever run and order. Every check is asked for itself first, and what depends on a check
    that failed is settled afterwards, so that the answers fit together and a thing that is taken to
    be there has its parts judged. The corrected prompt stays the other critic's own: it is lost
    where nothing is left that fails or is unknown, and absent where that critic saw nothing wrong.

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
    """Of the lots; critics of other seeds err independently."""

    def __post_init__(self) -> None:
        for name, lowest in (("flip", 0), ("blank", 0), ("bias", -1)):
            _require_rate(name, getattr(self, name), lowest)
        if self.correlated not in get_args(Correlated):
            raise SettingsError(f"correlated is one of {', '.join(get_args(Correlated))}, not {self.correlated!r}")

    @property
    def model(self) -> str:
        """The other critic's name, and what was done to it."""
        rates = ", ".join(f"{name}={getattr(self, name)}" for name in ("flip", "blank", "bias", "correlated", "seed"))
        return f"{getattr(self.critic, 'model', type(self.critic).__name__)} ({rates})"

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The other critic's critique with errors."""
        seen = await self.critic.critique(image, ungated(concepts), store)
        own = {v.check: self._distorted(v, concepts.check(v.check), image, concepts.prompt) for v in seen.verdicts}
        verdicts = gated(concepts, own)
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
        def befalls(name: str, rate: Rate) -> bool:
            return self._lot(name, check, image, prompt) < abs(_rate(rate, check.aspect))

        verdict = verdict.model_copy(update={"settled_by": None})
        if befalls("bias", self.bias):
            verdict = _turned(verdict, "pass" if _rate(self.bias, check.aspect) > 0 else "fail", "biased")
        if verdict.answer != "unknown" and befalls("flip", self.flip):
            verdict = _turned(verdict, "fail" if verdict.answer == "pass" else "pass", "flipped")
        if befalls("blank", self.blank):
            return Verdict(check=check.id, answer="unknown", reason="blanked on purpose", evidence=verdict.evidence)
        return verdict

    def _lot(self, name: str, check: Check, image: ImageRecord, prompt: str) -> float:
        """A number in [0, 1)."""
        look = (image.id, image.seed, image.prompt)
        about = {"no": (*look, check.id), "image": look, "check": (check.id,)}[self.correlated]
        return derive_seed(self.seed, name, prompt, *about) / SEED_LIMIT


def _turned(verdict: Verdict, answer: Literal["pass", "fail"], how: str) -> Verdict:
    """The same verdict with this answer, as sure as it was of its own."""
    if verdict.answer == answer:
        return verdict
    likely = verdict.probability
    if likely is not None:
        likely = max(likely, 1 - likely) if answer == "pass" else min(likely, 1 - likely)
    evidence = f"{how} on purpose from {verdict.answer}: {verdict.evidence}"
    return Verdict(check=verdict.check, answer=answer, probability=likely, evidence=evidence)


def _rate(rate: Rate, aspect: Aspect) -> float:
    return rate.get(aspect, 0.0) if isinstance(rate, Mapping) else rate


def _require_rate(name: str, rate: Rate, lowest: int) -> None:
    by_aspect = rate if isinstance(rate, Mapping) else dict.fromkeys(get_args(Aspect), rate)
    strange = sorted(set(by_aspect) - set(get_args(Aspect)))
    if strange:
        raise SettingsError(f"{name}: no aspect {', '.join(strange)}; there are {', '.join(get_args(Aspect))}")
    wrong = [value for value in by_aspect.values() if not lowest <= value <= 1]
    if wrong:
        raise SettingsError(f"{name} is a rate from {lowest} to 1, not {wrong[0]}")
