"""A critic's verdicts on one image, and its comparison of two."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Box, Exchange, Frozen
from .concepts import ConceptGraph

Answer = Literal["pass", "fail", "unknown"]
"""pass: the picture shows it; fail: it does not; unknown: the critic could not tell."""


class Verdict(Frozen):
    """The answer to one check on one image."""

    check: str
    """Id of the check."""
    answer: Answer
    probability: float | None = Field(default=None, ge=0, le=1)
    """P(yes), if the model gives one."""
    evidence: str = ""
    """What the critic saw, in words."""
    reason: str | None = None
    """Why the answer is unknown; None for other answers."""
    settled_by: str | None = None
    """Id of the failed parent check that makes this one a fail; None if the check was asked itself."""
    heard: bool = True
    """False if the critic gave no usable answer (quota, outage, rate limit, refusal, unreadable); the check is then
    unknown."""
    boxes: tuple[Box, ...] = ()
    """Where the critic sees the things that the check is about; empty if it cannot tell."""

    @classmethod
    def by_probability(cls, check: str, likely: float, evidence: str, boxes: tuple[Box, ...]) -> Self:
        """The verdict for P(yes): unknown within 0.05 of one half, since most probabilities are near 0 or 1."""
        answer: Answer = "unknown" if abs(likely - 0.5) < 0.05 else "pass" if likely > 0.5 else "fail"
        reason = f"P(yes) is {likely:.2f}, too near to one half" if answer == "unknown" else None
        return cls(check=check, answer=answer, probability=likely, evidence=evidence, boxes=boxes, reason=reason)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.heard and self.answer != "unknown":
            raise ValueError("a verdict to which no answer came can only be unknown")
        if (self.answer == "unknown") != (self.reason is not None):
            raise ValueError("a verdict has a reason exactly when its answer is unknown")
        if self.settled_by is not None and (self.answer != "fail" or self.settled_by == self.check):
            raise ValueError("a verdict is settled only by another check, and only as a fail")
        return self

    @property
    def place(self) -> str:
        """Position of all its boxes together, such as ``upper left`` or ``middle``; empty if it has none."""
        if not self.boxes:
            return ""
        across, down = ((min(b[i] for b in self.boxes) + max(b[i + 2] for b in self.boxes)) / 2 for i in (0, 1))
        row, column = (("upper", "middle", "lower")[int(3 * down)], ("left", "middle", "right")[int(3 * across)])
        return row if row == column else f"{row} {column}"

    @property
    def certainty(self) -> float | None:
        """P(yes), or without it 1 for a pass and 0 for a fail; None for unknown."""
        if self.probability is not None or self.answer == "unknown":
            return self.probability
        return float(self.answer == "pass")


class Critique(Frozen):
    """Every verdict on one image, and the corrected prompt."""

    image: str
    """Id of the image."""
    verdicts: tuple[Verdict, ...]
    """One for each check of the concept graph, in its order."""
    issues: tuple[str, ...] = ()
    """What is wrong, worst first."""
    refined_prompt: str | None = None
    """The prompt with corrections; None if there is nothing to correct."""
    exchanges: tuple[Exchange, ...] = ()
    """What the model was asked and answered."""
    looks: int = Field(default=1, ge=0)
    """Number of critics that looked at the image: more than one in a vote, 0 if there was none."""

    @model_validator(mode="after")
    def _verdicts_fit_together(self) -> Self:
        answers = self.answers()
        if len(answers) < len(self.verdicts):
            raise ValueError(f"the critique of {self.image!r} answers a check twice")
        settled = [v for v in self.verdicts if v.settled_by is not None]
        if unsettled := [v.check for v in settled if answers.get(v.settled_by or "") != "fail"]:
            raise ValueError(f"settled by a check that did not fail: {', '.join(unsettled)}")
        return self

    @property
    def faults(self) -> tuple[Box, ...]:
        """Boxes of the failed checks, each once."""
        return tuple(dict.fromkeys(box for v in self.verdicts if v.answer == "fail" for box in v.boxes))

    @property
    def unheard(self) -> tuple[Verdict, ...]:
        """The verdicts without a usable answer."""
        return tuple(v for v in self.verdicts if not v.heard)

    @property
    def silence(self) -> str | None:
        """Why no check has a usable answer; None if any has one, or there are no checks."""
        if not self.verdicts or len(self.unheard) < len(self.verdicts):
            return None
        return "; ".join(dict.fromkeys(v.reason for v in self.unheard if v.reason))

    @property
    def passed(self) -> int:
        return sum(v.answer == "pass" for v in self.verdicts)

    @property
    def all_pass(self) -> bool:
        """Whether every check passed; unknown is no pass."""
        return self.passed == len(self.verdicts)

    @property
    def score(self) -> float:
        """Share of checks that passed, in [0, 1]; 1 for an empty checklist."""
        return self.passed / len(self.verdicts) if self.verdicts else 1.0

    @property
    def confidence(self) -> float:
        """Mean certainty of the verdicts that have one, in [0, 1]; the score if none has. Settled checks count, or a
        picture that lacks its subject would outrank one that shows it and fails as many checks."""
        certainties = [c for v in self.verdicts if (c := v.certainty) is not None]
        return sum(certainties) / len(certainties) if certainties else self.score

    def answers(self) -> dict[str, Answer]:
        return {v.check: v.answer for v in self.verdicts}


def fail_dependents(concepts: ConceptGraph, own: Mapping[str, Verdict]) -> tuple[Verdict, ...]:
    """Verdicts in the order of the checklist: each check's own, or a fail if a check that it depends on failed. Checks
    with neither are left out: they still have to be asked."""
    verdicts: dict[str, Verdict] = {}
    for check in concepts.checks_in_order():
        failed = next((p for p in check.depends_on if p in verdicts and verdicts[p].answer == "fail"), None)
        if failed is not None:
            verdicts[check.id] = Verdict(check=check.id, answer="fail", evidence=f"{failed} failed", settled_by=failed)
        elif check.id in own:
            verdicts[check.id] = own[check.id]
    return tuple(verdicts[check.id] for check in concepts.checks if check.id in verdicts)


class Change(Frozen):
    """How the verdicts on an image differ from those on its parent, by check id."""

    fixed: tuple[str, ...]
    """Pass now, did not before."""
    broken: tuple[str, ...]
    """Passed before, do not now."""
    unchanged: tuple[str, ...]


def change(before: Critique, after: Critique) -> Change:
    """Compare two critiques of the same checklist; checks that only one has are left out."""
    earlier, later = before.answers(), after.answers()
    shared = [check for check in later if check in earlier]
    fixed = tuple(c for c in shared if later[c] == "pass" != earlier[c])
    broken = tuple(c for c in shared if earlier[c] == "pass" != later[c])
    return Change(fixed=fixed, broken=broken, unchanged=tuple(c for c in shared if c not in fixed and c not in broken))


class Comparison(Frozen):
    """Which of two images is better; the critic saw them in both orders."""

    first: str
    """Id of an image."""
    second: str
    """Id of the other image."""
    better: str | None
    """Id of the better one; None if they are equal, or the answers for the two orders are missing or differ."""
    reason: str = Field(min_length=1)
    """Why; both reasons if the answers differ."""
    exchanges: tuple[Exchange, ...] = ()
    """What the model was asked and answered."""

    @model_validator(mode="after")
    def _better_is_one_of_two(self) -> Self:
        if self.first == self.second:
            raise ValueError(f"image {self.first!r} is compared with itself")
        if self.better not in (self.first, self.second, None):
            raise ValueError(f"image {self.better!r} is neither {self.first!r} nor {self.second!r}")
        return self
