"""The phrases that all views share: amounts, concepts, checks, origins, and how two prompts differ."""

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

from ...state import (
    Advice,
    Box,
    Change,
    Check,
    Comparison,
    ConceptGraph,
    Critique,
    Entity,
    ImageRecord,
    ModelSpend,
    Spend,
)

if TYPE_CHECKING:
    from ..records.events import Steered
    from ..records.manifest import Parent
    from ..records.reader import RecordedRun

WORK = {
    "decompose": "reading the prompt",
    "generate": "drawing",
    "refine": "refining",
    "critique": "looking at the images",
    "person": "waiting for a person",
    "finish": "choosing the best",
}
"""What each node of the graph does."""

FOLDED = 12
"""Images; a view of a run with more shows the most important ones in full, and the others in a line each."""

COMPARED = 200
"""Words of each prompt, at most, that are compared one by one, which takes quadratic time or more."""


class Piece(NamedTuple):
    """A part of a prompt, compared with an earlier prompt."""

    edit: Literal["same", "added", "removed"]
    """same: in both prompts; added: only in the new one; removed: only in the old one."""
    text: str
    """The words, each with the space after it."""


def differences(before: str, after: str) -> tuple[Piece, ...]:
    """The words of both prompts in order, removed words before added ones.

    Of long prompts only the common beginning and end count as the same.
    """
    # Words and punctuation, each with the space after it, which is shown but not compared.
    old, new = ([*re.findall(r"(^\s+|\w+|[^\w\s]+)(\s*)", text)] for text in (before, after))
    a, b = [word for word, _ in old], [word for word, _ in new]
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    end_a, end_b = len(a) - tail, len(b) - tail
    edits = [("replace", head, end_a, head, end_b)]
    if max(end_a, end_b) - head <= COMPARED:
        matcher = SequenceMatcher(a=a[head:end_a], b=b[head:end_b], autojunk=False)
        edits = [(tag, head + i, head + j, head + k, head + m) for tag, i, j, k, m in matcher.get_opcodes()]
    pieces: list[Piece] = []
    for tag, i, j, k, m in (("equal", 0, head, 0, head), *edits, ("equal", end_a, len(a), end_b, len(b))):
        if tag != "equal":
            pieces.append(Piece("removed", "".join(word + space for word, space in old[i:j])))
        pieces.append(Piece("same" if tag == "equal" else "added", "".join(word + space for word, space in new[k:m])))
    return tuple(piece for piece in pieces if piece.text)


def _common(a: list[str], b: list[str]) -> int:
    """The length of their common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def counted(number: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float, *, rough: bool = False) -> str:
    """``0.42 s``, ``8.3 s``, ``48 s``, ``3 min 05 s``, ``2 h 10 min``; ``rough``: without parts of a second."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    if rough or seconds >= 10:
        return f"{whole} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


def dollars(money: float) -> str:
    """``1.50``; below a cent its first two digits."""
    return f"{money:.2f}" if money >= 0.01 else f"{money:.2g}"


def extras(spend: Spend) -> list[str]:
    """Tokens and money, if any."""
    return [counted(spend.tokens, "token")] * bool(spend.tokens) + [f"${dollars(spend.money)}"] * bool(spend.money)


def spend_rows(spend: Spend) -> tuple[tuple[str, str], ...]:
    """Label and amount of each cost; tokens and money only if there are any."""
    rows = (
        ("images", f"{spend.images:,}"),
        ("denoiser evaluations", f"{spend.evaluations:,}"),
        ("critic calls", f"{spend.critic_calls:,}"),
        ("model time", duration(spend.seconds)),
        ("tokens", f"{spend.tokens:,}" if spend.tokens else ""),
        ("US dollars", dollars(spend.money) if spend.money else ""),
    )
    return tuple(row for row in rows if row[1])


def shares(models: Mapping[str, ModelSpend], images: Iterable[ImageRecord]) -> tuple[tuple[str, str], ...]:
    """Each model and its cost in one line; tokens, money and cached answers only if there are any."""
    draw = {image.model for image in images}
    lines: list[tuple[str, str]] = []
    for model, own in models.items():
        tokens, money = [counted(own.tokens, "token")] * bool(own.tokens), [f"${dollars(own.money)}"] * bool(own.money)
        cached = [f"{counted(own.cached, 'answer')} from the cache"] * bool(own.cached)
        calls = counted(own.calls, "image" if model in draw else "call")
        lines.append((model, ", ".join([calls, *tokens, duration(own.seconds), *cached, *money])))
    return tuple(lines)


def phrase(entity: Entity) -> str:
    """``red bicycle``; of several, with their count before it."""
    words = " ".join((*entity.attributes, entity.name))
    return words if entity.count == 1 else f"{entity.count} \N{MULTIPLICATION SIGN} {words}"


def relations(concepts: ConceptGraph) -> list[tuple[str, str, str, str]]:
    """Subjects, relation, object and kind of every interaction; the object is empty where the subjects relate to each
    other."""
    named = {e.id: phrase(e) for e in concepts.entities} | {None: ""}
    return [
        (" and ".join(named[s] for s in i.subjects), i.relation, named[i.object], i.kind.replace("_", " "))
        for i in concepts.interactions
    ]


def origin(image: ImageRecord, refined: str = "refined") -> str:
    """How an image was made, such as ``refined from step 4``."""
    if image.operator == "edit":
        return "edited"
    words = {"generate": "first drawing", "reseed": "drawn anew", "look": "looked at again"}.get(
        image.origin, f"{refined} from step {image.start_step}"
    )
    return words if image.stop_step is None else f"{words}, a preview at step {image.stop_step}"


def advised(advice: Advice) -> str:
    """What a chat model advised for each image, or why it gave no advice."""
    return advice.silence or ", ".join(f"{choice.action} {choice.image}" for choice in advice.choices)


def compared(pair: Comparison) -> str:
    """Which of two images is better, and why."""
    outcome = f"{pair.better} is better" if pair.better else "neither is better"
    return f"{pair.first} and {pair.second}: {outcome}: {pair.reason}"


def steered(event: "Steered") -> str:
    """A person's instruction: ``Ann accepted 01-00``."""
    done = {"pause": "paused it", "go": "had it go on", "cancel": "cancelled it", "decide": "decided about images"}
    done |= {"accept": f"accepted {event.image}", "budget": "changed the budget"}
    refused = f", which was not done: {event.refused}" if event.refused else ""
    return f"{event.by or 'a person'} {done[event.action]}{refused}"


def forked(parent: "Parent") -> str:
    """The run that a run was forked from: ``fox-1123-0947-3fa2 after step 3, with 00-00.red=pass``."""
    edits = ", ".join(f"{place}={value}" for place, value in parent.edits.items())
    return f"{parent.run} after step {parent.step}" + (f", with {edits}" if edits else "")


def verdict(best: Critique, images: int) -> str:
    """The outcome of a run in one line."""
    total, after = len(best.verdicts), f"after {counted(images, 'image')}"
    if not total:
        return f"Nothing to check {after}"
    if best.all_pass:
        return f"{'The only check passes' if total == 1 else f'All {total} checks pass'} {after}"
    answers = list(best.answers().values())
    failed, unknown = answers.count("fail"), answers.count("unknown")
    rest = [f"{failed} {'fails' if failed == 1 else 'fail'}"] * bool(failed) + [f"{unknown} unknown"] * bool(unknown)
    return f"{best.passed} of {total} checks pass {after}; {', '.join(rest)}"


def unfinished(run: "RecordedRun") -> str:
    """Why a run is not finished; empty where it is."""
    if run.error is not None:
        return f"failed: {run.error.error}: {run.error.message}"
    if run.interrupted:
        return "unfinished: it was interrupted"
    return "" if run.stop is not None else "unfinished: it goes on, or was killed"


def used_up(run: "RecordedRun") -> str:
    """The bounds that a run reached, such as ``the budget is used up: 16 of 16 images``; empty where it reached none,
    or its best image passes every check."""
    best, budget = run.best_critique, run.budget
    if run.stop is None or best is None or best.all_pass:
        return ""
    rounds, images = max(i.round for i in run.images.values()), len(run.images)
    reached = [f"{rounds} of {budget.rounds} rounds"] * (rounds >= budget.rounds)
    reached += [f"{images} of {budget.images} images"] * (images >= budget.images)
    return f"the budget is used up: {', '.join(reached)}" if reached else ""


CheckState = Literal["pass", "fail", "unknown", "settled", "missing"]
"""settled: it failed with a check that it depends on; missing: the critic left it out."""

SYMBOLS: dict[CheckState, str] = {"pass": "✓", "fail": "✕", "unknown": "?", "settled": "↳", "missing": "·"}


class CheckMark(NamedTuple):
    """A check on one image, as views show it."""

    check: Check
    state: CheckState
    symbol: str
    words: str
    """State and change, for screen readers."""
    became: Literal["", "fixed", "broken"]
    """Relative to the image's parent."""
    percent: int | None
    """P(yes), 0 to 100."""
    note: str
    """What the critic saw, why it could not tell, or why it was not asked."""
    boxes: tuple[Box, ...] = ()
    """Around what the check is about."""
    place: str = ""
    """The place of the boxes in words."""


def marks(concepts: ConceptGraph, critique: Critique | None, changed: Change | None) -> tuple[CheckMark, ...]:
    """Every check on one image; ``changed`` is relative to its parent."""
    verdicts = {v.check: v for v in critique.verdicts} if critique else {}
    questions = {c.id: c.question for c in concepts.checks}
    fixed, broken = (changed.fixed, changed.broken) if changed else ((), ())
    rows: list[CheckMark] = []
    for check in concepts.checks:
        became = "fixed" if check.id in fixed else "broken" if check.id in broken else ""
        verdict = verdicts.get(check.id)
        if verdict is None:
            note = "The critic gave no answer."
            rows.append(CheckMark(check, "missing", SYMBOLS["missing"], "not answered", became, None, note))
            continue
        state = answer = verdict.answer
        note = " · ".join(filter(None, (verdict.reason, verdict.evidence)))
        if verdict.settled_by is not None:
            parent = questions.get(verdict.settled_by, verdict.settled_by)
            state, answer, note = "settled", "not asked", f"Not asked: settled by “{parent}”"
        percent = None if verdict.probability is None else round(100 * verdict.probability)
        words = ", ".join(filter(None, (answer, became)))
        rows.append(CheckMark(check, state, SYMBOLS[state], words, became, percent, note, verdict.boxes, verdict.place))
    return tuple(rows)
