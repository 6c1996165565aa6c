"""Checks that hang on others: with their gates taken away, and put back."""

from collections.abc import Mapping

from ...state import ConceptGraph, Verdict
from .verdicts import failed_parent, settled


def ungated(concepts: ConceptGraph) -> ConceptGraph:
    """The same checklist with every check asked for itself, whatever becomes of the others."""
    checks = tuple(check.model_copy(update={"depends_on": ()}) for check in concepts.checks)
    return concepts.model_copy(update={"checks": checks})


def gated(concepts: ConceptGraph, own: Mapping[str, Verdict]) -> tuple[Verdict, ...]:
    """Verdicts in the order of the checklist: each check's own, unless a check that it depends on failed."""
    found: dict[str, Verdict] = {}
    for check in concepts.checks_in_order():
        parent = failed_parent(check, found)
        found[check.id] = own[check.id] if parent is None else settled(check, parent)
    return tuple(found[check.id] for check in concepts.checks)
