"""The errors a user can meet; each message says what to do next."""

from __future__ import annotations

import errno
import sqlite3
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not needed to print the help of the command line
    from collections.abc import Iterable

    from pydantic import ValidationError

    from ..state import Exchange


class DetailScribeError(RuntimeError):
    """Base of every error that is the user's to mend; the command line prints it in one line, exit status 2.

    A ``RuntimeError``, since a LangGraph server hands the words of few classes of errors on to its clients.
    """


class PromptError(DetailScribeError):
    """The prompt cannot be read by the decomposer."""


class SettingsError(DetailScribeError):
    """A setting, a policy name, a folder or a file is not usable."""


class OutsideError(SettingsError, ValueError):
    """Something in a folder leads out of it, or is neither a file nor a folder."""


class ModelError(DetailScribeError):
    """A model cannot be used: its weights are missing or of another kind, or its server refuses or cannot be found."""


class ReplyError(DetailScribeError):
    """A chat model gave no usable answer to one question, however often it was asked."""

    def __init__(self, message: str, *, reason: str, raw: str, exchanges: tuple[Exchange, ...]) -> None:
        super().__init__(message)
        self.reason = reason
        """What was wrong with the last answer, in a few words."""
        self.raw = raw
        """Text of the last answer; empty if none came."""
        self.exchanges = exchanges
        """Every call that was made, in order."""


class NoAnswerError(DetailScribeError):
    """The critic gave no usable answer about any image of a round, so that nothing can be decided."""

    def __init__(self, message: str, *, reason: str, unheard: int) -> None:
        super().__init__(message)
        self.reason = reason
        """Why none came."""
        self.unheard = unheard
        """Checks of the round's images to which none came."""


class MissingLatentError(DetailScribeError):
    """A trajectory was to be resumed at a step that was not kept."""


class Interrupted(DetailScribeError):
    """A run was asked to stop, and did so after a step; it can go on from there."""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk, or a bound on the size of files, is what an error comes from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        # On a full disk SQLite also fails at its shared memory, as an input/output error.
        if isinstance(error, sqlite3.OperationalError) and (
            getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def first_problem(error: ValidationError) -> str:
    """The first complaint of pydantic as ``place: message``, without the value, which may be a secret."""
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else detail["msg"]


def no_such(kind: str, name: str, known: Iterable[str], more: str = "") -> SettingsError:
    """The error of an unknown name, with the nearest known one; ``more`` says what else could be given."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"no {kind} {name!r}: {hint}known are {', '.join(names)}{more}")
