"""From a model's answers to verdicts: what one reply says, what several say together, and what that means."""

import re
from collections.abc import Sequence
from statistics import mean

from ...state import Answer, Aspect, Box, Check, ConceptGraph, Verdict
from ..roles import BoxForm
from .questions import LONGEST_ID, UNSEEN, BoxedAnswer, CheckAnswer, wire_id, wire_line

IMPACT: tuple[Aspect, ...] = ("presence", "relation", "attribute", "count", "scene", "nothing_else")
"""Aspects from the gravest failure to the least: a missing thing takes all else along."""
_MEANING: dict[str, Answer] = {"yes": "pass", "no": "fail", "unclear": "unknown"}

Likelihood = tuple[float | None, str | None]
"""P(yes) of one check, in [0, 1]; or None, and why there is none."""


def levels(concepts: ConceptGraph, together: bool) -> list[tuple[Check, ...]]:
    """The checklist in the order of asking: first what depends on nothing, then what depends on that, and so on.

    With ``together`` it is one level, parents first.
    """
    ordered = concepts.checks_in_order()
    depth: dict[str, int] = {}
    for check in ordered:
        depth[check.id] = 0 if together else max((depth[p] + 1 for p in check.depends_on), default=0)
    return [tuple(c for c in ordered if depth[c.id] == n) for n in sorted(set(depth.values()))]


def unheard(check: Check, reason: str) -> Verdict:
    """The verdict on a check to which no usable answer came."""
    return Verdict(check=check.id, answer="unknown", reason=reason, heard=False)


def shares(box: Sequence[float], form: BoxForm, size: tuple[int, int]) -> Box | None:
    """A box, as a model wrote it in that form, in shares of the picture, which was sent with ``size`` pixels; None
    where it is none of that form, such as one that leaves the picture."""
    a, b, c, d = box
    left, top, right, bottom = (b, a, d, c) if form.endswith("-yx") else (a, b, c, d)
    width, height = {"p": size, "t": (1000, 1000), "s": (1, 1)}[form[0]]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        return None
    return left / width, top / height, right / width, bottom / height


def read_answers(
    checks: Sequence[Check], answers: Sequence[CheckAnswer], form: BoxForm = "shares", size: tuple[int, int] = (1, 1)
) -> dict[str, Verdict]:
    """What one reply says of each check that was asked, by id; answers to any other are left out."""
    exact = {wire_id(check)[:LONGEST_ID]: check.id for check in checks}
    named = _named(checks)
    found: dict[str, list[CheckAnswer]] = {check.id: [] for check in checks}
    strangers: dict[str, None] = {}
    for answer in answers:
        id = exact.get(answer.check) or named.get(_bare(answer.check))
        if id is None:
            strangers[repr(answer.check)] = None
        else:
            found[id].append(answer)
    instead = f"; it answers {', '.join(list(strangers)[:3])} instead" if strangers else ""
    verdicts = {check.id: _said(check, found[check.id], instead) for check in checks}
    for check, said in found.items():
        boxes = [shares(box, form, size) for answer in said if isinstance(answer, BoxedAnswer) for box in answer.boxes]
        if kept := tuple(box for box in boxes if box is not None):
            verdicts[check] = verdicts[check].model_copy(update={"boxes": kept})
    return verdicts


def _named(checks: Sequence[Check]) -> dict[str, str]:
    """Check ids by what a model may call them: the id, the whole line, or the question. Shared names are left out."""
    names: dict[str, set[str]] = {}
    for check in checks:
        for name in (wire_id(check), wire_line(check), check.question):
            names.setdefault(_bare(name[:LONGEST_ID]), set()).add(check.id)
    return {name: ids.pop() for name, ids in names.items() if len(ids) == 1}


def _bare(name: str) -> str:
    """Without letter case, a number before it, and marks and blanks around and between its words."""
    unnumbered = re.sub(r"^\W*\d+\s*[.):\]]\s*(?=\w)", "", name.casefold())
    return " ".join(re.findall(r"[^\W_]+", unnumbered))


def _said(check: Check, found: Sequence[CheckAnswer], instead: str) -> Verdict:
    said = sorted({a.answer for a in found})
    if not said:
        return unheard(check, f"the reply does not answer this check{instead}")
    if len(said) > 1:
        both = " / ".join(f"{a.answer}: {a.evidence}" for a in found)
        reason = f"the reply answers this check with {' and with '.join(said)}"
        return Verdict(check=check.id, answer="unknown", evidence=both, reason=reason)
    reason = "the model cannot tell from the picture" if said == ["unclear"] else None
    return Verdict(check=check.id, answer=_MEANING[said[0]], evidence=found[0].evidence, reason=reason)


def elect(check: Check, votes: Sequence[Verdict]) -> Verdict:
    """The answer of most votes; unknown where they tie, or where fewer than half of them give one.

    Its probability is the mean of those of the votes that answer, else the share of a pass among them.
    """
    if len(votes) == 1:
        return votes[0]
    given = [v for v in votes if v.answer != "unknown"]
    if 2 * len(given) < len(votes) or not given:
        silent = [v for v in votes if v.answer == "unknown"]
        reasons = "; ".join(dict.fromkeys(v.reason or "" for v in silent))
        return Verdict(
            check=check.id,
            answer="unknown",
            evidence=next((v.evidence for v in silent if v.evidence), ""),
            reason=f"{len(silent)} of {len(votes)} replies give no answer: {reasons}",
            heard=any(v.heard for v in votes),
        )
    passes = sum(v.answer == "pass" for v in given)
    share = passes / len(given)
    if 2 * passes == len(given):
        both = " / ".join(f"{word}: {_evidence(given, answer)}" for word, answer in (("yes", "pass"), ("no", "fail")))
        reason = f"{passes} of {len(given)} answers are yes, and as many no"
        return Verdict(check=check.id, answer="unknown", probability=share, evidence=both, reason=reason)
    answer = "pass" if 2 * passes > len(given) else "fail"
    likely = [v.probability for v in given if v.probability is not None]
    return Verdict(
        check=check.id,
        answer=answer,
        probability=mean(likely) if likely else share,
        evidence=_evidence(given, answer),
        boxes=_boxes(given, answer),
    )


def weigh(check: Check, votes: Sequence[Verdict], likelihood: Likelihood) -> Verdict:
    """The verdict by P(yes) where it came, else by the votes, with the reason why none came as evidence.

    P(yes) decides over the words, since it can be weighed; where they disagree, the evidence says so.
    """
    likely, lost = likelihood
    if likely is None:
        elected = elect(check, votes)
        remark = f"no P(yes): {lost}"
        evidence = f"{elected.evidence} ({remark})" if elected.evidence else remark
        return elected.model_copy(update={"evidence": evidence})
    answer = "pass" if likely > 0.5 else "fail"
    evidence = _evidence(votes, answer)
    if not evidence and (other := next((v for v in votes if v.evidence), None)) is not None:
        said = {"pass": "yes", "fail": "no", "unknown": "unclear"}[other.answer]
        evidence = f"in words {said}, though P(yes) is {likely:.2f}: {other.evidence}"
    return Verdict.by_probability(check.id, likely, evidence, _boxes(votes, answer))


def _evidence(votes: Sequence[Verdict], answer: str) -> str:
    """What the first vote with that answer saw."""
    return next((v.evidence for v in votes if v.answer == answer), "")


def _boxes(votes: Sequence[Verdict], answer: str) -> tuple[Box, ...]:
    """Where the first vote with that answer looked, else the first that says where."""
    own = [v.boxes for v in votes if v.answer == answer and v.boxes] or [v.boxes for v in votes if v.boxes]
    return own[0] if own else ()


def failures(concepts: ConceptGraph, verdicts: Sequence[Verdict]) -> tuple[tuple[Check, Verdict], ...]:
    """The failed checks by impact; of equals those that were asked, then in the order of the checklist.

    An unknown check is none of them: to correct what may be right can only break it.
    """
    failed = [(concepts.check(v.check), v) for v in verdicts if v.answer == "fail"]
    return tuple(sorted(failed, key=lambda pair: (IMPACT.index(pair[0].aspect), pair[1].settled_by is not None)))


def issues(failed: Sequence[tuple[Check, Verdict]]) -> tuple[str, ...]:
    """The failures in words, in their order."""
    return tuple(f"{check.question} No: {verdict.evidence or UNSEEN}" for check, verdict in failed)
