"""What a critic says of one image, or of two side by side."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Box, Exchange, Frozen
from .concepts import ConceptGraph

Answer = Literal["pass", "fail", "unknown"]
"""pass: the picture shows it; fail: it does not; unknown: the critic could not tell, with the reason."""


class Verdict(Frozen):
    """The answer to one check on one image."""

    check: str
    """Id of the check."""
    answer: Answer
    probability: float | None = Field(default=None, ge=0, le=1)
    """P(yes) where the model gives one."""
    evidence: str = ""
    """What the critic saw, in words."""
    reason: str | None = None
    """Why the answer is unknown; only then, and always then."""
    settled_by: str | None = None
    """Id of the failed parent check that decided this one without asking, which makes it a fail;
    None if it was asked."""
    heard: bool = True
    """False where no usable answer came (quota, outage, rate limit, refusal, unreadable), so that the check is
    unknown; an unknown check that was heard is one that the critic could not tell."""
    boxes: tuple[Box, ...] = ()
    """Where the things are that the check is about, as far as the critic sees them; empty where it cannot say."""

    @classmethod
    def by_probability(cls, check: str, likely: float, evidence: str, boxes: tuple[Box, ...]) -> Self:
        """The verdict that P(yes) amounts to: unknown where it is nearer to one half than 0.05. Models put most of
        theirs near 0 and 1."""
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
        """Where its boxes lie together, such as ``upper left`` or ``middle``; empty where it has none."""
        if not self.boxes:
            return ""
        across, down = ((min(b[i] for b in self.boxes) + max(b[i + 2] for b in self.boxes)) / 2 for i in (0, 1))
        row, column = (("upper", "middle", "lower")[int(3 * down)], ("left", "middle", "right")[int(3 * across)])
        return row if row == column else f"{row} {column}"

    @property
    def certainty(self) -> float | None:
        """P(yes) where it is given, else 1 for a pass and 0 for a fail; None for unknown."""
        if self.probability is not None or self.answer == "unknown":
            return self.probability
        return float(self.answer == "pass")


class Critique(Frozen):
    """Every verdict on one image, and what to ask for next."""

    image: str
    """Id of the image."""
    verdicts: tuple[Verdict, ...]
    """One for each check of the concept graph, in its order."""
    issues: tuple[str, ...] = ()
    """What is wrong, worst first."""
    refined_prompt: str | None = None
    """The prompt with corrections; None where nothing is to be corrected."""
    exchanges: tuple[Exchange, ...] = ()
    """Exactly what was asked and answered."""
    looks: int = Field(default=1, ge=0)
    """Times that the image was looked at: critics that took part in a vote; 0 where none was there to look."""

    @model_validator(mode="after")
    def _verdicts_fit_together(self) -> Self:
        answers = self.answers()
        if len(answers) < len(self.verdicts):
            raise ValueError(f"the critique of {self.image!r} answers a check twice")
        unsettled = [v.check for v in self.verdicts if v.settled_by is not None and answers.get(v.settled_by) != "fail"]
        if unsettled:
            raise ValueError(f"settled by a check that did not fail: {', '.join(unsettled)}")
        return self

    @property
    def faults(self) -> tuple[Box, ...]:
        """Where the checks that failed are about something, each box once."""
        return tuple(dict.fromkeys(box for v in self.verdicts if v.answer == "fail" for box in v.boxes))

    @property
    def unheard(self) -> tuple[Verdict, ...]:
        """The verdicts on checks to which no usable answer came."""
        return tuple(v for v in self.verdicts if not v.heard)

    @property
    def silence(self) -> str | None:
        """Why the critic was not heard at all; None where any check got a usable answer, or there are none."""
        if not self.verdicts or len(self.unheard) < len(self.verdicts):
            return None
        return "; ".join(dict.fromkeys(v.reason for v in self.unheard if v.reason))

    @property
    def passed(self) -> int:
        return sum(v.answer == "pass" for v in self.verdicts)

    @property
    def all_pass(self) -> bool:
        """Whether every check passed; an unknown one did not."""
        return self.passed == len(self.verdicts)

    @property
    def score(self) -> float:
        """Share of checks that passed, in [0, 1]; 1 for an empty checklist."""
        return self.passed / len(self.verdicts) if self.verdicts else 1.0

    @property
    def confidence(self) -> float:
        """Mean certainty of the verdicts that have one, in [0, 1]; the score where none does. A settled check counts as
        a fail: without it, a picture that lacks its subject would outrank one that shows it and fails as many
        checks."""
        given = [c for v in self.verdicts if (c := v.certainty) is not None]
        return sum(given) / len(given) if given else self.score

    def answers(self) -> dict[str, Answer]:
        return {v.check: v.answer for v in self.verdicts}


def fail_dependents(concepts: ConceptGraph, own: Mapping[str, Verdict]) -> tuple[Verdict, ...]:
    """Verdicts in the order of the checklist: each check's own, but a fail where a check that it depends on failed.
    Checks that have neither are left out: they are still to be asked."""
    found: dict[str, Verdict] = {}
    for check in concepts.checks_in_order():
        failed = next((p for p in check.depends_on if p in found and found[p].answer == "fail"), None)
        if failed is not None:
            found[check.id] = Verdict(check=check.id, answer="fail", evidence=f"{failed} failed", settled_by=failed)
        elif check.id in own:
            found[check.id] = own[check.id]
    return tuple(found[check.id] for check in concepts.checks if check.id in found)


class Change(Frozen):
    """How the verdicts on an image differ from those on its parent, by check id."""

    fixed: tuple[str, ...]
    """Passed now, did not before."""
    broken: tuple[str, ...]
    """Passed before, does not now."""
    unchanged: tuple[str, ...]


def change(before: Critique, after: Critique) -> Change:
    """Compare two critiques of the same checklist; checks that only one has are left out."""
    earlier, later = before.answers(), after.answers()
    shared = [check for check in later if check in earlier]
    fixed = tuple(c for c in shared if later[c] == "pass" != earlier[c])
    broken = tuple(c for c in shared if earlier[c] == "pass" != later[c])
    return Change(fixed=fixed, broken=broken, unchanged=tuple(c for c in shared if c not in fixed and c not in broken))


class Comparison(Frozen):
    """The outcome for one pair of images, each of which was shown in both places."""

    first: str
    """Id of an image."""
    second: str
    """Id of the other image."""
    better: str | None
    """Id of the better one; None where they are equal, or where no answer, or not the same one, came
    with the images in either order."""
    reason: str = Field(min_length=1)
    """What decided; where the answers differ, both of them."""
    exchanges: tuple[Exchange, ...] = ()
    """Exactly what was asked and answered."""

    @model_validator(mode="after")
    def _better_is_one_of_two(self) -> Self:
        if self.first == self.second:
            raise ValueError(f"image {self.first!r} is compared with itself")
        if self.better not in (self.first, self.second, None):
            raise ValueError(f"image {self.better!r} is neither {self.first!r} nor {self.second!r}")
        return self
