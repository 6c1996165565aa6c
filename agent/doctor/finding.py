"""One thing that was looked at."""

from collections.abc import Callable
from typing import Literal

from ...state import Frozen
from ...tools.errors import DetailScribeError

Status = Literal["ok", "warning", "problem"]
"""ok: works; warning: works, but the user should know; problem: a run would end with it."""


class Finding(Frozen):
    """What was found, and what to do about it."""

    topic: str
    """What was looked at, in a word or two."""
    status: Status
    text: str
    """In one line, with what to do unless it is ok."""
    seconds: float | None = None
    """Of the call that told it, where there was one."""


def ok(topic: str, text: str, seconds: float | None = None) -> Finding:
    return Finding(topic=topic, status="ok", text=text, seconds=seconds)


def warning(topic: str, text: str) -> Finding:
    return Finding(topic=topic, status="warning", text=text)


def problem(topic: str, error: DetailScribeError) -> Finding:
    return Finding(topic=topic, status="problem", text=" ".join(str(error).split()))


def found(topic: str, look: Callable[[], str]) -> Finding:
    """``ok`` with what ``look`` says, or the problem that it raises."""
    try:
        return ok(topic, look())
    except DetailScribeError as error:
        return problem(topic, error)
