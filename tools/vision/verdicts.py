"""From a model's answers to verdicts: reads one reply, counts votes, and weighs P(yes)."""

import re
from collections.abc import Sequence
from statistics import mean

from ...state import Answer, Aspect, Box, Check, ConceptGraph, Verdict
from ..roles import BoxForm
from .questions import LONGEST_ID, UNSEEN, BoxedAnswer, CheckAnswer, wire_id, wire_line

IMPACT: tuple[Aspect, ...] = ("presence", "relation", "attribute", "count", "scene", "nothing_else")
"""Aspects, the gravest failure first: where a thing is missing, all else about it fails too."""
_MEANING: dict[str, Answer] = {"yes": "pass", "no": "fail", "unclear": "unknown"}


def unheard(check: Check, reason: str) -> Verdict:
    """The verdict on a check to which no usable answer came."""
    return Verdict(check=check.id, answer="unknown", reason=reason, heard=False)


def shares(box: Sequence[float], form: BoxForm, size: tuple[int, int]) -> Box | None:
    """A box that a model wrote in that form, as shares of the picture, which was sent with ``size`` pixels; None where
    it cannot be of that form, such as one that leaves the picture."""
    a, b, c, d = box
    left, top, right, bottom = (b, a, d, c) if form.endswith("-yx") else (a, b, c, d)
    width, height = {"p": size, "t": (1000, 1000), "s": (1, 1)}[form[0]]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        return None
    return left / width, top / height, right / width, bottom / height


def read_answers(
    checks: Sequence[Check], answers: Sequence[CheckAnswer], form: BoxForm = "shares", size: tuple[int, int] = (1, 1)
) -> dict[str, Verdict]:
    """The verdict of one reply on each check that was asked, by id; answers to anything else are left out."""
    exact = {wire_id(check)[:LONGEST_ID]: check.id for check in checks}
    names: dict[str, set[str]] = {}  # what a model may call a check: its id, the whole line, or the question
    for check in checks:
        for name in (wire_id(check), wire_line(check), check.question):
            names.setdefault(_bare(name[:LONGEST_ID]), set()).add(check.id)
    answers_to: dict[str, list[CheckAnswer]] = {check.id: [] for check in checks}
    unasked: dict[str, None] = {}
    for answer in answers:
        ids = {exact[answer.check]} if answer.check in exact else names.get(_bare(answer.check), set[str]())
        if len(ids) == 1:
            answers_to[next(iter(ids))].append(answer)
        else:
            unasked[repr(answer.check)] = None
    instead = f"; it answers {', '.join(list(unasked)[:3])} instead" if unasked else ""
    verdicts: dict[str, Verdict] = {}
    for check in checks:
        given = answers_to[check.id]
        boxes = [shares(box, form, size) for answer in given if isinstance(answer, BoxedAnswer) for box in answer.boxes]
        verdict = _verdict(check, given, instead)
        verdicts[check.id] = verdict.model_copy(update={"boxes": tuple(box for box in boxes if box is not None)})
    return verdicts


def _bare(name: str) -> str:
    """In small letters, without a leading number, and without marks and blanks around and between the words."""
    unnumbered = re.sub(r"^\W*\d+\s*[.):\]]\s*(?=\w)", "", name.casefold())
    return " ".join(re.findall(r"[^\W_]+", unnumbered))


def _verdict(check: Check, answers: Sequence[CheckAnswer], instead: str) -> Verdict:
    words = sorted({a.answer for a in answers})
    if not words:
        return unheard(check, f"the reply does not answer this check{instead}")
    if len(words) > 1:
        evidence = " / ".join(f"{a.answer}: {a.evidence}" for a in answers)
        reason = f"the reply answers this check with {' and with '.join(words)}"
        return Verdict(check=check.id, answer="unknown", evidence=evidence, reason=reason)
    reason = "the model cannot tell from the picture" if words == ["unclear"] else None
    return Verdict(check=check.id, answer=_MEANING[words[0]], evidence=answers[0].evidence, reason=reason)


def elect(check: Check, votes: Sequence[Verdict]) -> Verdict:
    """The majority's answer; unknown where the votes tie, or where fewer than half of them give one.

    Its probability is the mean of those of the votes that answer, else the share of a pass among them.
    """
    if len(votes) == 1:
        return votes[0]
    given, unknown = [v for v in votes if v.answer != "unknown"], [v for v in votes if v.answer == "unknown"]
    if len(given) < len(unknown) or not given:
        reasons = "; ".join(dict.fromkeys(v.reason or "" for v in unknown))
        return Verdict(
            check=check.id,
            answer="unknown",
            evidence=next((v.evidence for v in unknown if v.evidence), ""),
            reason=f"{len(unknown)} of {len(votes)} replies give no answer: {reasons}",
            heard=any(v.heard for v in votes),
        )
    passes = sum(v.answer == "pass" for v in given)
    share = passes / len(given)
    if 2 * passes == len(given):
        both = f"yes: {_evidence(given, 'pass')} / no: {_evidence(given, 'fail')}"
        reason = f"{passes} of {len(given)} answers are yes, and as many no"
        return Verdict(check=check.id, answer="unknown", probability=share, evidence=both, reason=reason)
    answer = "pass" if 2 * passes > len(given) else "fail"
    likely = [v.probability for v in given if v.probability is not None]
    probability = mean(likely) if likely else share
    evidence, boxes = _evidence(given, answer), _boxes(given, answer)
    return Verdict(check=check.id, answer=answer, probability=probability, evidence=evidence, boxes=boxes)


def weigh(check: Check, votes: Sequence[Verdict], likely: float | None, lost: str) -> Verdict:
    """The verdict by P(yes), which decides over the words; where they disagree, the evidence says so. Without P(yes),
    the votes decide, and the evidence says why it is ``lost``."""
    if likely is None:
        elected = elect(check, votes)
        remark = f"no P(yes): {lost}"
        evidence = f"{elected.evidence} ({remark})" if elected.evidence else remark
        return elected.model_copy(update={"evidence": evidence})
    answer = "pass" if likely > 0.5 else "fail"
    evidence = _evidence(votes, answer)
    if not evidence and (other := next((v for v in votes if v.evidence), None)) is not None:
        word = next(word for word, meaning in _MEANING.items() if meaning == other.answer)
        evidence = f"in words {word}, though P(yes) is {likely:.2f}: {other.evidence}"
    return Verdict.by_probability(check.id, likely, evidence, _boxes(votes, answer))


def _evidence(votes: Sequence[Verdict], answer: str) -> str:
    """The evidence of the first vote with that answer."""
    return next((v.evidence for v in votes if v.answer == answer), "")


def _boxes(votes: Sequence[Verdict], answer: str) -> tuple[Box, ...]:
    """The boxes of the first vote with that answer that has any, else of the first that has any."""
    with_boxes = [v for v in votes if v.boxes]
    return next((v.boxes for v in sorted(with_boxes, key=lambda v: v.answer != answer)), ())


def failures(concepts: ConceptGraph, verdicts: Sequence[Verdict]) -> tuple[tuple[Check, Verdict], ...]:
    """The failed checks by impact, then those that were asked, then in the order of the checklist. An unknown check is
    none of them: to correct what may be right can only break it."""
    failed = [(concepts.check(v.check), v) for v in verdicts if v.answer == "fail"]
    return tuple(sorted(failed, key=lambda pair: (IMPACT.index(pair[0].aspect), pair[1].settled_by is not None)))


def issues(failed: Sequence[tuple[Check, Verdict]]) -> tuple[str, ...]:
    """The failures in words, in their order."""
    return tuple(f"{check.question} No: {verdict.evidence or UNSEEN}" for check, verdict in failed)
