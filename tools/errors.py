"""The errors a user can meet; each message says what to do next."""

from __future__ import annotations

import errno
import inspect
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from traceback import extract_tb
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin

if TYPE_CHECKING:  # not needed to print the help of the command line
    from pydantic import ValidationError

    from ..state import Exchange

P = ParamSpec("P")
R = TypeVar("R")


class DetailScribeError(RuntimeError):
    """Base of every error that is the user's to mend; the command line prints it in one line, exit status 2. A
    ``RuntimeError``, since a LangGraph server hands the words of few classes of errors on to its clients."""


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
        self.no_reply = bool(exchanges) and exchanges[-1].no_reply
        """Whether the server was silent; see ``Exchange``."""


class NoAnswerError(DetailScribeError):
    """The critic gave no usable answer about any image of a round, so that nothing can be decided."""

    def __init__(self, message: str, *, reason: str, unheard: int, no_reply: bool) -> None:
        super().__init__(message)
        self.reason = reason
        """Why none came."""
        self.unheard = unheard
        """Checks of the round's images to which none came."""
        self.no_reply = no_reply
        """Whether a server was silent; see ``Exchange``."""


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


def described(error: BaseException) -> str:
    """Kind, words and place of an error that code of the user's raised, in one line."""
    place = "".join(f" ({frame.filename}:{frame.lineno})" for frame in extract_tb(error.__traceback__)[-1:])
    words = str(error) if type(error).__name__ != "ValidationError" else first_problem(cast("ValidationError", error))
    return f"{type(error).__name__}: {' '.join(words.split())}{place}"


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


_PROXY = re.compile(r"SOCKS proxy|proxy URL")


def mended(error: Exception) -> DetailScribeError | None:
    """The same error in words that say what the user can do, where no room nearer to it did; None for a fault of this
    program or of a library."""
    if disk_is_full(error):
        return SettingsError("the disk is full: make room, and go on with the same command or detailscribe resume")
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return SettingsError("too many files are open: raise the limit with ulimit -n, or lower --concurrency")
    if isinstance(error, DetailScribeError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return SettingsError(f"{error.filename!s:.200} cannot be used: {error.strerror}")
    if isinstance(error, (ImportError, ValueError)) and _PROXY.search(str(error)):  # of httpx
        return SettingsError(
            f"a proxy of the environment cannot be used ({error}): name an HTTP proxy in HTTPS_PROXY or HTTP_PROXY,"
            " unset ALL_PROXY, or list the server in NO_PROXY"
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is heavy
        return ModelError("there is not enough memory: lower diffusion.max_batch, or see detailscribe presets")
    return None


_ROLES = ("decomposer", "diffusion", "critic", "policy")
"""Arguments that ``require_role`` looks at, which says more."""


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which refuses arguments of another type than it declares before it does anything."""
    declared = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in declared.bind(*args, **kwargs).arguments.items():
            parameter = declared.parameters[name]
            if value is parameter.default or name in _ROLES or _fits(value, parameter.annotation):
                continue
            kinds = re.sub(r"[\w.]+\.(?=\w)", "", inspect.formatannotation(parameter.annotation))
            raise SettingsError(f"{function.__name__}: {name} should be {kinds:.100}, not {type(value).__name__}")
        return function(*args, **kwargs)

    return checked


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of a type as it is annotated, with the parts of its containers; iterators are not run."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is Annotated:
        return _fits(value, parts[0])
    if origin is Callable:
        return callable(value)
    if kind in (int, float):
        return hasattr(value, "__index__" if kind is int else "__float__")  # numpy's too
    try:
        if not isinstance(value, NoneType if kind is None else origin or kind):
            return False
    except TypeError:  # a protocol that says nothing of its methods
        return True
    if origin is None or isinstance(value, type):
        return True
    if isinstance(value, Mapping):
        return all(_fits(one, parts[-1]) for one in cast("Mapping[Any, Any]", value).values())
    is_text = isinstance(value, (str, bytes))
    return not is_text and (not isinstance(value, Sequence) or all(_fits(one, parts[0]) for one in value))
