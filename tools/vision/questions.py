"""What a vision model is asked, and the answers that are read from its replies.

The JSON schemas do not depend on picture or checklist, since servers take seconds to compile a new one; so nothing in
them ensures that the answers are complete, or to what was asked. Evidence and reasons come before the answers, since
models write fields in the order of the schema and should look before they decide. Docstrings of answers are part of
the schemas.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from ...state import Check, ImageRecord
from ..files import Store, picture_file
from ..language.question import Picture, Wording
from ..language.structured import read_last
from ..roles import BoxForm
from ..text import one_line

LONGEST_REMARK = 240
"""Characters of evidence or of a reason that are kept."""
LONGEST_ID = 160
"""Characters of a check's id that are read."""
MOST_ANSWERS = 20
"""Answers that the schema allows in one reply, so that a small model that repeats itself ends; more are read too."""
UNSEEN = "no evidence given"
"""Stands for evidence where there is none."""
_MARKS = " \t\r\n.!*_\"'`#()[]{}<>"
"""What small models put around a word."""
_WORDS = {
    "yes": "yes y true 1 correct ja oui sí 是 はい",
    "no": "no n false 0 incorrect nein non 否 不是 いいえ",
    "unclear": "unclear unknown unsure uncertain",
}
_ANSWERS = {word: answer for answer, words in _WORDS.items() for word in words.split()}
_WITH_A_REASON = re.compile(
    r"(yes|no|unclear)(?:\W*[,;:.!()–—-]\W*|\s+(?=(?:because|since|it|the|there)\b))(.+)", re.DOTALL
)
_DOUBTS = re.compile(
    r"\b(yes|no|not sure|unsure|unclear|maybe|perhaps|possibly|partly|partially|cannot|can't|but|wait)\b"
)


def _answer(value: object) -> object:
    """``yes``, ``no`` or ``unclear`` where that is certain; validation refuses anything else."""
    if not isinstance(value, str | bool | int):
        return value
    text = str(value).lower().replace("*", "").strip(_MARKS)
    if reasoned := _WITH_A_REASON.fullmatch(text):
        answer, reason = reasoned.groups()
        return answer if set(_DOUBTS.findall(reason)) <= {answer} else value
    return _ANSWERS.get(text, value)


def _place(value: object) -> object:
    """``first``, ``second`` or ``equal``, also of ``**First**`` and ``the second picture``."""
    text = re.sub(r"\b(?:the|picture|image|one)\b", "", str(value).lower()).strip(_MARKS)
    return {"1": "first", "2": "second"}.get(text, text)


def _shorter(limit: int) -> BeforeValidator:
    """Cuts what is too long: a rambling remark is no reason to lose the answer."""
    return BeforeValidator(lambda value: one_line("" if value is None else str(value))[:limit].rstrip())


Remark = Annotated[str, _shorter(LONGEST_REMARK), Field(max_length=LONGEST_REMARK)]
YesNo = Annotated[Literal["yes", "no", "unclear"], BeforeValidator(_answer)]
"""unclear: the model cannot tell from the picture."""


class CheckAnswer(BaseModel):
    """The answer to one check."""

    check: Annotated[str, _shorter(LONGEST_ID), Field(max_length=LONGEST_ID)]
    """Its id, as the model copied it."""
    evidence: Remark = ""
    """What the model saw."""
    answer: YesNo


def _boxes(value: object) -> object:
    """The entries that are four numbers, or the only one."""
    entries = cast("list[object]", value) if isinstance(value, list) else []
    if len(entries) == 4 and not any(isinstance(entry, list) for entry in entries):
        entries = [entries]
    boxes = [cast("list[object]", entry) for entry in entries if isinstance(entry, list)]
    return [box for box in boxes if len(box) == 4 and all(type(number) in (int, float) for number in box)]


class BoxedAnswer(CheckAnswer):
    """The answer to one check, with where it looked."""

    boxes: Annotated[list[list[float]], BeforeValidator(_boxes)] = Field(default_factory=list[list[float]])
    """In the form that the model was asked for."""


class CritiqueAnswer(BaseModel):
    """One answer for each check. Those that cannot be read are left out, and do not cost the others."""

    entry: ClassVar[type[CheckAnswer]] = CheckAnswer
    answers: Annotated[tuple[CheckAnswer, ...], Field(json_schema_extra={"maxItems": MOST_ANSWERS})]

    @model_validator(mode="before")
    @classmethod
    def _of_any_shape(cls, value: object) -> object:
        if isinstance(value, dict) and "answer" in value:
            return value  # one answer alone is a piece of a reply that was cut or cannot be parsed as a whole
        readable: list[CheckAnswer] = []
        for entry in _entries(value):
            try:
                readable.append(cls.entry.model_validate(entry))
            except ValidationError:
                continue
        return {"answers": readable} if readable else value


class BoxedCritiqueAnswer(CritiqueAnswer):
    """One answer for each check, with where it looked."""

    entry: ClassVar[type[CheckAnswer]] = BoxedAnswer
    answers: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride] - nobody assigns it
        tuple[BoxedAnswer, ...], Field(json_schema_extra={"maxItems": MOST_ANSWERS})
    ]


def _entries(value: object, check: str = "") -> Iterator[dict[str, Any]]:
    """The answers of a reply in whatever shape: listed, by the check's id, nested, or in an envelope."""
    if isinstance(value, list | tuple):
        for inner in cast("Sequence[object]", value):
            yield from _entries(inner)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if "answer" in fields:
            yield {"check": check, **fields}
            return
        for name, inner in fields.items():
            # A lone field, such as {"done": true}, is no answer, unless it is named as checks are.
            if isinstance(inner, dict | list) or len(fields) > 1 or ":" in name:
                yield from _entries(inner, name)
    elif check:
        yield {"check": check, "answer": value}


def answers_in(reply: str, kind: type[CritiqueAnswer] = CritiqueAnswer) -> tuple[CheckAnswer, ...]:
    """The single answers in a reply that cannot be read as a whole, such as one that was cut."""
    pieces: list[object] = []

    def keep(piece: object) -> None:
        pieces.append(piece)
        raise ValueError("the next piece, please")

    with suppress(ValueError):
        read_last(reply, keep)
    with suppress(ValidationError):
        return kind.model_validate({"answers": pieces}).answers
    return ()


class ComparisonAnswer(BaseModel):
    """Which of two pictures is better."""

    reason: Remark = ""
    better: Annotated[Literal["first", "second", "equal"], BeforeValidator(_place)]
    """first, second: as the pictures were shown; equal: neither, or the model cannot tell."""


async def read_picture(store: Store, image: ImageRecord) -> Picture:
    """The image from the store in its own size; raises as ``Store.picture`` does. The file is encoded again, without
    the record of its making, so that equal pixels have equal hashes."""
    png = await asyncio.to_thread(lambda: picture_file(store.picture(image.path)))
    return Picture(png=png, reference=image.path)


def boxes_asked_for(wording: Wording, form: BoxForm, folder: Path | None) -> Wording:
    """The question that also asks for boxes; ``SettingsError`` for a wrong template in ``folder``."""
    more = Wording.load("critique_boxes", folder=folder).text.render(
        order="upper, left, lower, right" if form.endswith("-yx") else "left, upper, right, lower",
        unit={
            "pixels": "pixels of the picture as you see it",
            "thousandths": "whole numbers from 0 to 1000, where 1000 is the whole width or height of the picture",
            "shares": "numbers from 0 to 1, where 1 is the whole width or height of the picture",
        }[form.removesuffix("-yx")],
    )
    system = wording.system and replace(wording.system, text=f"{wording.system.text}\n\n{more.replace('$', '$$')}")
    return replace(wording, system=system)


def wire_id(check: Check) -> str:
    """The check's id, on one line."""
    return one_line(check.id)


def wire_line(check: Check) -> str:
    """The check as it is asked, on one line."""
    return f"{wire_id(check)}: {one_line(check.question)}"


def wire_lines(checks: Iterable[Check]) -> str:
    return "\n".join(map(wire_line, checks))
