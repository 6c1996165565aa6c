"""What a chat model answers on the wire, and the JSON schemas that ask for it.

The schemas are the same for every picture and checklist: servers compile each new one, which takes
seconds. Nothing in them ensures that the answers are complete, or to what was asked. Evidence and
reasons stand before the answers, since models write fields in the order of the schema, and so decide
after they have looked. Servers demand every field; a reply without evidence can be read all the same.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

LONGEST_REMARK = 240
"""Characters of evidence or of a reason that are kept."""
LONGEST_ID = 160
"""Characters of a check's id that are read."""
MOST_ANSWERS = 20
"""Answers in one reply; a small model that repeats itself ends here, and so within ``ChatSettings.max_tokens``."""


def one_line(text: str) -> str:
    """With every run of blanks and line breaks as one blank."""
    return " ".join(text.split())


def _plain(value: object) -> object:
    """``Yes.`` is ``yes``; anything but text is left for the validation to refuse."""
    return value.strip(" \t\r\n.!\"'`").lower() if isinstance(value, str) else value


def _shorter(limit: int) -> BeforeValidator:
    """Cuts what is too long: a rambling remark is no reason to lose the answer."""
    return BeforeValidator(lambda value: one_line(value)[:limit].rstrip() if isinstance(value, str) else value)


Remark = Annotated[str, _shorter(LONGEST_REMARK), Field(max_length=LONGEST_REMARK)]


class CheckAnswer(BaseModel):
    """The answer to one check."""

    check: Annotated[str, _shorter(LONGEST_ID), Field(max_length=LONGEST_ID)]
    """Its id, as the model copied it."""
    evidence: Remark = ""
    """What the model saw, in words."""
    answer: Annotated[Literal["yes", "no", "unclear"], BeforeValidator(_plain)]
    """unclear: the picture does not let the model tell."""


class CritiqueAnswer(BaseModel):
    """One answer for each check."""

    answers: Annotated[tuple[CheckAnswer, ...], Field(max_length=MOST_ANSWERS)]


class RefinedAnswer(BaseModel):
    """The corrected prompt."""

    prompt: Annotated[str, Field(min_length=1, max_length=4000)]


class ComparisonAnswer(BaseModel):
    """Which of two pictures is better."""

    reason: Remark = ""
    better: Annotated[Literal["first", "second", "equal"], BeforeValidator(_plain)]
    """first, second: as the pictures were shown; equal: neither, or the model cannot tell."""
