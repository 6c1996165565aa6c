"""What the page says in words: amounts, concepts, and where two prompts differ."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

from ...state import Advice, Comparison, ConceptGraph, Critique, Entity, ImageRecord, ModelSpend, Spend

if TYPE_CHECKING:
    from ..traces.manifest import Parent

Edit = Literal["same", "added", "removed"]


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt, beside the prompt it came from."""

    edit: Edit
    text: str


@dataclass(frozen=True)
class Relation:
    """An interaction in words: who, does what, with whom."""

    kind: str
    subjects: str
    relation: str
    object: str
    """Empty where the subjects relate to each other alone."""


def differences(before: str, after: str) -> tuple[Piece, ...]:
    """The words of both prompts in one reading order, with what was removed before what was added."""
    old, new = _words(before), _words(after)
    matcher = SequenceMatcher(a=[word for word, _ in old], b=[word for word, _ in new], autojunk=False)
    pieces: list[Piece] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", _joined(new[c:d])))
            continue
        if b > a:
            pieces.append(Piece("removed", _joined(old[a:b])))
        if d > c:
            pieces.append(Piece("added", _joined(new[c:d])))
    return tuple(pieces)


def _words(text: str) -> list[tuple[str, str]]:
    """Words and marks, each with the space after it, which is shown but not compared."""
    return re.findall(r"(^\s+|\w+|[^\w\s]+)(\s*)", text)


def _joined(words: list[tuple[str, str]]) -> str:
    return "".join(word + space for word, space in words)


def counted(number: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """``0.42 s``, ``8.3 s``, ``48 s``, ``3 min 05 s``, ``2 h 10 min``: as exact as one cares to know."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    if seconds >= 10:
        return f"{whole} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


def spend_rows(spend: Spend) -> tuple[tuple[str, str], ...]:
    """Label and amount of each cost; tokens and money only where there were any."""
    rows = [
        ("images", f"{spend.images:,}"),
        ("denoiser evaluations", f"{spend.evaluations:,}"),
        ("critic calls", f"{spend.critic_calls:,}"),
        ("model time", duration(spend.seconds)),
    ]
    if spend.tokens:
        rows.append(("tokens", f"{spend.tokens:,}"))
    if spend.money:
        rows.append(("US dollars", dollars(spend.money)))
    return tuple(rows)


def dollars(money: float) -> str:
    """``1.50``; below a cent its first two digits."""
    return f"{money:.2f}" if money >= 0.01 else f"{money:.2g}"


def shares(models: Mapping[str, ModelSpend], images: Iterable[ImageRecord]) -> tuple[tuple[str, str], ...]:
    """Each model and what it cost in one line; tokens, money and answers from the cache only where there were any."""
    draw = {image.model for image in images}
    return tuple((model, _share(own, "image" if model in draw else "call")) for model, own in models.items())


def _share(own: ModelSpend, noun: str) -> str:
    words = [counted(own.calls, noun)]
    words += [counted(own.tokens, "token")] * bool(own.tokens) + [duration(own.seconds)]
    words += [f"{counted(own.cached, 'answer')} from the cache"] * bool(own.cached)
    words += [f"${dollars(own.money)}"] * bool(own.money)
    return ", ".join(words)


def advised(advice: Advice) -> str:
    """What a model would do with each image, or why it did not say."""
    return advice.silence or ", ".join(f"{choice.action} {choice.image}" for choice in advice.choices)


def compared(pair: Comparison) -> str:
    """Which of two images is better, and why."""
    outcome = f"{pair.better} is better" if pair.better else "neither is better"
    return f"{pair.first} and {pair.second}: {outcome}: {pair.reason}"


def forked(parent: "Parent") -> str:
    """Where a run comes from: ``fox-1123-0947-3fa2 after step 3, with 00-00.red=pass``."""
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


def phrase(entity: Entity) -> str:
    """``red bicycle``; ``blue balloon`` with its count before it where there are several."""
    words = " ".join((*entity.attributes, entity.name))
    return words if entity.count == 1 else f"{entity.count} \N{MULTIPLICATION SIGN} {words}"


def relations(concepts: ConceptGraph) -> tuple[Relation, ...]:
    """Every interaction, its entities named in full."""
    named = {e.id: phrase(e) for e in concepts.entities}
    return tuple(
        Relation(
            kind=i.kind.replace("_", " "),
            subjects=" and ".join(named[s] for s in i.subjects),
            relation=i.relation,
            object=named[i.object] if i.object else "",
        )
        for i in concepts.interactions
    )
