"""From votes and probabilities to verdicts, and which checks are asked when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...state import Check, ConceptGraph, Verdict
from .votes import Vote

THRESHOLD = 0.5
"""P(yes) above this is a pass."""
UNSURE = 0.05
"""P(yes) nearer to the threshold than this is unknown: as for the embedded critic, so that both decide alike
on the same probabilities. Chat models put most of theirs near 0 and 1; what lies between is told by the
verdict's own probability."""


@dataclass(frozen=True)
class Weight:
    """P(yes) of one check, or why there is none."""

    probability: float | None
    """In [0, 1]."""
    reason: str | None = None
    """Why there is none; only then."""


def levels(concepts: ConceptGraph, together: bool) -> list[tuple[Check, ...]]:
    """The checklist in the order of asking: first what depends on nothing, then what depends on that, and so on.

    With ``together`` it is one level, parents first.
    """
    ordered = concepts.checks_in_order()
    depth: dict[str, int] = {}
    for check in ordered:
        depth[check.id] = 0 if together else max((depth[p] + 1 for p in check.depends_on), default=0)
    return [tuple(c for c in ordered if depth[c.id] == n) for n in sorted(set(depth.values()))]


def failed_parent(check: Check, verdicts: Mapping[str, Verdict]) -> str | None:
    """Id of the first check that ``check`` depends on and that failed, among those known."""
    return next((p for p in check.depends_on if p in verdicts and verdicts[p].answer == "fail"), None)


def settled(check: Check, parent: str) -> Verdict:
    """The verdict on a check whose parent failed."""
    return Verdict(check=check.id, answer="fail", evidence=f"{parent} failed", settled_by=parent)


def verdict(check: Check, votes: Sequence[Vote], weight: Weight | None = None) -> Verdict:
    """What the votes say of a check or, where it was asked for and given, P(yes).

    P(yes) decides over the words, since it can be weighed; where they disagree, the evidence says so.
    """
    if weight is not None and weight.probability is not None:
        return _weighed(check, votes, weight.probability)
    elected = _elected(check, votes)
    if weight is None:
        return elected
    remark = f"no P(yes): {weight.reason}"
    evidence = f"{elected.evidence} ({remark})" if elected.evidence else remark
    return elected.model_copy(update={"evidence": evidence})


def _elected(check: Check, votes: Sequence[Vote]) -> Verdict:
    """The answer of most votes; unknown where they tie, or where fewer than half of them give one."""
    given = [v for v in votes if v.answer is not None]
    if 2 * len(given) < len(votes) or not given:
        return _undecided(check, votes)
    yes = [v for v in given if v.answer == "yes"]
    share = len(yes) / len(given) if len(votes) > 1 else None
    if 2 * len(yes) == len(given):
        reason = f"{len(yes)} of {len(given)} answers are yes, and as many no"
        return Verdict(check=check.id, answer="unknown", probability=share, evidence=_both(given), reason=reason)
    answer = "pass" if 2 * len(yes) > len(given) else "fail"
    return Verdict(check=check.id, answer=answer, probability=share, evidence=_evidence(votes, answer == "pass"))


def _undecided(check: Check, votes: Sequence[Vote]) -> Verdict:
    silent = [v for v in votes if v.answer is None]
    reasons = "; ".join(dict.fromkeys(v.reason for v in silent))
    counted = f"{len(silent)} of {len(votes)} replies give no answer: " if len(votes) > 1 else ""
    evidence = next((v.evidence for v in silent if v.evidence), "")
    return Verdict(check=check.id, answer="unknown", evidence=evidence, reason=f"{counted}{reasons}")


def _weighed(check: Check, votes: Sequence[Vote], likely: float) -> Verdict:
    unsure = abs(likely - THRESHOLD) < UNSURE
    passed = likely > THRESHOLD
    return Verdict(
        check=check.id,
        answer="unknown" if unsure else "pass" if passed else "fail",
        probability=likely,
        evidence=_evidence(votes, passed) or _contradiction(votes, likely),
        reason=f"P(yes) is {likely:.2f}, too near to {THRESHOLD}" if unsure else None,
    )


def _evidence(votes: Sequence[Vote], passed: bool) -> str:
    """What the first vote with that answer saw."""
    return next((v.evidence for v in votes if v.answer == ("yes" if passed else "no")), "")


def _contradiction(votes: Sequence[Vote], likely: float) -> str:
    said = next((v for v in votes if v.evidence), None)
    return (
        "" if said is None else f"in words {said.answer or 'unclear'}, though P(yes) is {likely:.2f}: {said.evidence}"
    )


def _both(given: Sequence[Vote]) -> str:
    return " / ".join(f"{a}: {_evidence(given, a == 'yes')}" for a in ("yes", "no"))
