"""From probabilities to verdicts, alike for critic and judge."""

from ...state import Check, ConceptGraph, Verdict
from .reading import Sights, evidence, probability
from .spec import Spec

_HALF = 0.5
_UNSURE = 0.05
"""Answers nearer to one half than this are unknown."""


def settle(concepts: ConceptGraph, spec: Spec, seen: Sights) -> tuple[Verdict, ...]:
    """A verdict for each check, in the order of the concepts; a failed parent settles its children."""
    verdicts: dict[str, Verdict] = {}
    for check in concepts.checks_in_order():
        failed = next((p for p in check.depends_on if verdicts[p].answer == "fail"), None)
        verdicts[check.id] = _verdict(check, failed, concepts, spec, seen)
    return tuple(verdicts[check.id] for check in concepts.checks)


def _verdict(check: Check, failed: str | None, concepts: ConceptGraph, spec: Spec, seen: Sights) -> Verdict:
    if failed is not None:
        return Verdict(check=check.id, answer="fail", evidence=f"{failed} failed", settled_by=failed)
    likely = min(1.0, max(0.0, probability(check, concepts, spec, seen)))
    unsure = abs(likely - _HALF) < _UNSURE
    return Verdict(
        check=check.id,
        answer="unknown" if unsure else "pass" if likely > _HALF else "fail",
        probability=likely,
        evidence=evidence(check, concepts, spec, seen),
        reason=f"P(yes) is {likely:.2f}, too near to one half" if unsure else None,
    )
