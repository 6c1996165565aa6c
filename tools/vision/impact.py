"""What is wrong with a picture, worst first."""

from collections.abc import Sequence

from ...state import Aspect, Check, ConceptGraph, Verdict
from .questions import UNSEEN

IMPACT: tuple[Aspect, ...] = ("presence", "relation", "attribute", "count", "scene", "nothing_else")
"""Aspects from the gravest failure to the least: a missing thing takes all else along."""


def failures(concepts: ConceptGraph, verdicts: Sequence[Verdict]) -> tuple[tuple[Check, Verdict], ...]:
    """The failed checks by impact; of equals those that were asked, then in the order of the checklist.

    An unknown check is none of them: to correct what may be right can only break it.
    """
    failed = [(concepts.check(v.check), v) for v in verdicts if v.answer == "fail"]
    return tuple(sorted(failed, key=lambda pair: (IMPACT.index(pair[0].aspect), pair[1].settled_by is not None)))


def issues(failed: Sequence[tuple[Check, Verdict]]) -> tuple[str, ...]:
    """The failures in words, in their order."""
    return tuple(f"{check.question} No: {verdict.evidence or UNSEEN}" for check, verdict in failed)
