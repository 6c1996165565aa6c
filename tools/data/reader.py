"""One reader for every set of prompts, wherever it lies."""

import posixpath
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import IO, Any

import fsspec
from pydantic import ValidationError

from ..errors import SettingsError
from .formats import FORMATS, FormatError, Row
from .records import PromptRecord, with_own_ids

_PROMPT = ("prompt", "caption", "text")
"""Names of the column that holds the prompt, in the order of preference; case does not matter."""
_SCENARIO = ("scenario", "category", "tag")
_SUBCLASS = ("subclass", "subcategory", "challenge")
_ID = ("id", "prompt_id", "key")
_HUB = "dataset:"
"""Begins the name of a data set that the package ``datasets`` loads: ``dataset:owner/name``, ``...#split``."""


def read_prompts(
    source: str,
    *,
    column: str | None = None,
    scenario: str | None = None,
    format: str | None = None,
    limit: int | None = None,
    skip_empty: bool = False,
) -> Iterator[PromptRecord]:
    """The prompts of a file or a data set, one by one; nothing is read before the first is asked for.

    Args:
        source: A path, any URL that fsspec opens (``https://``, ``s3://``, ``hf://``, ``github://``, also
            compressed), or ``dataset:owner/name#split`` for the package ``datasets``.
        column: The column that holds the prompt; by default ``prompt``, ``caption`` or ``text``.
        scenario: The column that holds the scenario; by default ``scenario``, ``category`` or ``tag``.
        format: A key of ``FORMATS``; by default the suffix says it.
        limit: Prompts at most.
        skip_empty: Leave out records whose prompt is empty, which tables from the web are full of, rather than stop.

    Raises:
        SettingsError: the source cannot be read, or holds no such column; the message says where in it.
    """
    rows = _dataset_rows(source) if source.startswith(_HUB) else _file_rows(source, format)
    stem = _stem(source)
    numbered = ((n, row) for n, row in enumerate(rows, 1) if not (skip_empty and _is_empty(row, column)))
    yield from with_own_ids(_record(row, n, stem, source, column, scenario) for n, row in islice(numbered, limit))


@contextmanager
def opened(source: str) -> Generator[IO[bytes]]:
    """A file at a path or URL, decompressed where its suffix says so; ``SettingsError`` if it cannot be read."""
    try:
        with fsspec.open(source, "rb", compression="infer") as file:
            yield file  # pyright: ignore[reportReturnType]
    except FormatError as error:
        raise SettingsError(f"{source}: {error}") from error
    except (OSError, ValueError, ImportError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        more = ": pip install 'detailscribe[data]'" if isinstance(error, ImportError) else ""
        raise SettingsError(f"cannot read {source}: {why or type(error).__name__}{more}") from error


def _file_rows(source: str, format: str | None) -> Iterator[Row]:
    chosen = format or _suffix(source)
    if chosen not in FORMATS:
        known = ", ".join(FORMATS)
        raise SettingsError(f"{source}: {chosen or 'no suffix'!r} is no known format; name one with --format: {known}")
    with opened(source) as file:
        yield from FORMATS[chosen](file)


def _dataset_rows(source: str) -> Iterator[Row]:
    """The rows of a data set that ``datasets`` loads, as a stream."""
    try:
        datasets: Any = import_module("datasets")
    except ModuleNotFoundError as error:
        raise SettingsError(f"{source} needs the package datasets: pip install datasets") from error
    name, _, split = source.removeprefix(_HUB).partition("#")
    try:
        yield from datasets.load_dataset(name, split=split or "train", streaming=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {source}: {' '.join(str(error).split())}") from error


def _record(row: Row, number: int, stem: str, source: str, column: str | None, scenario: str | None) -> PromptRecord:
    names = {name.casefold(): name for name in row}
    held = _named(names, (column,) if column else _PROMPT)
    prompt = row[held] if held else None
    if not isinstance(prompt, str) or not prompt.strip():
        wanted = column or ", ".join(_PROMPT)
        raise SettingsError(
            f"{source}: record {number} holds no text in {wanted}; it has {', '.join(row) or 'nothing'}"
        )
    group, part, id = (_named(names, n) for n in ((scenario,) if scenario else _SCENARIO, _SUBCLASS, _ID))
    used = {held, group, part, id}
    try:
        return PromptRecord(
            id=_said(row, id) or f"{stem}-{number:05}",
            prompt=" ".join(prompt.split()),
            scenario=_said(row, group),
            subclass=_said(row, part),
            extra={name: _plain(value) for name, value in row.items() if name not in used},
        )
    except ValidationError as error:
        raise SettingsError(f"{source}: record {number}: {error.errors()[0]['msg']}") from error


def _is_empty(row: Row, column: str | None) -> bool:
    """Whether a record has the column of prompts, and nothing in it."""
    held = _named({name.casefold(): name for name in row}, (column,) if column else _PROMPT)
    return held is not None and not str(row[held] if row[held] is not None else "").strip()


def _named(names: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    return next((names[name.casefold()] for name in wanted if name.casefold() in names), None)


def _said(row: Row, name: str | None) -> str | None:
    """What a column says, as text; None where it says nothing."""
    value = None if name is None else row[name]
    return None if value is None or not str(value).strip() else str(value).strip()


def _plain(value: Any) -> Any:
    """A value that JSON can hold; what it cannot (dates, pictures) in words."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _name(source: str) -> str:
    """The last part of a path or URL, without query and compression."""
    path = re.split(r"[?#]", source)[0] if "://" in source else source.removeprefix(_HUB).partition("#")[0]
    return re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", posixpath.basename(path.replace("\\", "/").rstrip("/")))


def _suffix(source: str) -> str:
    return posixpath.splitext(_name(source))[1].lstrip(".").lower()


def _stem(source: str) -> str:
    return posixpath.splitext(_name(source))[0] or "prompt"
