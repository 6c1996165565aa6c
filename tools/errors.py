"""The errors that users can meet; each message says what to do next."""

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
    """Base of every error that the user can fix; the command line prints it in one line, with exit status 2. A
    ``RuntimeError``, since a LangGraph server passes the messages of few error classes on to its clients."""


class PromptError(DetailScribeError):
    """The decomposer cannot read the prompt."""


class SettingsError(DetailScribeError):
    """A setting, a policy name, a folder or a file cannot be used."""


class OutsideError(SettingsError, ValueError):
    """Something in a folder links outside it, or is neither a file nor a folder."""


class ModelError(DetailScribeError):
    """A model cannot be used: its weights are missing or of another kind, or its server refuses or is not found."""


class ReplyError(DetailScribeError):
    """A chat model gave no usable answer to one question, after all retries."""

    def __init__(self, message: str, *, reason: str, raw: str, exchanges: tuple[Exchange, ...]) -> None:
        super().__init__(message)
        self.reason = reason
        """What was wrong with the last answer, in a few words."""
        self.raw = raw
        """Text of the last answer, if any."""
        self.exchanges = exchanges
        """Every call, in order."""
        self.no_reply = bool(exchanges) and exchanges[-1].no_reply
        """Whether the server did not reply; see ``Exchange``."""


class NoAnswerError(DetailScribeError):
    """The critic gave no usable answer about any image of a round, so that no policy can decide."""

    def __init__(self, message: str, *, reason: str, unheard: int, no_reply: bool) -> None:
        super().__init__(message)
        self.reason = reason
        """Why there is none."""
        self.unheard = unheard
        """Number of checks of the round's images without one."""
        self.no_reply = no_reply
        """Whether a server did not reply; see ``Exchange``."""


class MissingLatentError(DetailScribeError):
    """A trajectory cannot be resumed at a step that was not kept."""


class Interrupted(DetailScribeError):
    """A run was asked to stop, and did so after a step; it can be resumed."""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a full disk or a limit on the size of files."""
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
    """Class, message and place of an error in the user's code, in one line."""
    place = "".join(f" ({frame.filename}:{frame.lineno})" for frame in extract_tb(error.__traceback__)[-1:])
    message = str(error) if type(error).__name__ != "ValidationError" else first_problem(cast("ValidationError", error))
    return f"{type(error).__name__}: {' '.join(message.split())}{place}"


def first_problem(error: ValidationError) -> str:
    """The first error of pydantic as ``field: message``, without the value, which may be a secret."""
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else detail["msg"]


def no_such(kind: str, name: str, known: Iterable[str], more: str = "") -> SettingsError:
    """The error of an unknown name, with the nearest known one; ``more`` adds other possibilities."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"no {kind} {name!r}: {hint}known are {', '.join(names)}{more}")


_PROXY = re.compile(r"SOCKS proxy|proxy URL")


def mended(error: Exception) -> DetailScribeError | None:
    """The error with a message that says what the user can do; None for a bug in this program or a library."""
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
"""Arguments that ``require_role`` checks in more detail."""


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function to refuse arguments that do not have their annotated types."""
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
    """Whether a value, with the parts of its containers, has the annotated type; iterators are not consumed."""
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
        return all(_fits(item, parts[-1]) for item in cast("Mapping[Any, Any]", value).values())
    is_text = isinstance(value, (str, bytes))
    return not is_text and (not isinstance(value, Sequence) or all(_fits(item, parts[0]) for item in value))
