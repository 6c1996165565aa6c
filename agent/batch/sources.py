"""Files of prompts: JSONL, CSV or plain text, from this machine or from wherever fsspec reaches."""

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal
from urllib.parse import urlsplit

from ...tools.errors import SettingsError
from .asks import Ask, ask_of

STDIN = "-"
Format = Literal["jsonl", "csv", "tsv", "text"]
"""jsonl: an object a line; csv, tsv: a column ``prompt``; text: a prompt a line."""
_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "text"}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")

Located = tuple[Ask, str]
"""An ask, and where it was read."""


def read_asks(source: Path | str) -> Iterator[Located]:
    """The asks of a file, a URL, or ``-`` for standard input, one by one.

    Raises:
        SettingsError: it cannot be read, or a line of it is no prompt; the message names the line.
    """
    name = str(source)
    with _opened(name) as file:
        text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            yield from _asks(text, name)
        except UnicodeDecodeError as error:
            raise SettingsError(f"{display(name)} is not UTF-8 text: {error.reason}") from error
        finally:
            text.detach()


def given_asks(prompts: Iterable[str | Mapping[str, Any]]) -> Iterator[Located]:
    """The asks that a caller hands over: prompts, or tables with the keys of ``Ask``."""
    for number, given in enumerate(prompts, 1):
        yield _located({"prompt": given} if isinstance(given, str) else given, f"prompt {number}")


def display(source: str) -> str:
    """A source as messages and files may name it: without user, password and query, which can be secret."""
    parts = urlsplit(source)
    if source == STDIN:
        return "standard input"
    if not (parts.scheme and parts.netloc):
        return source
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def stem(source: str) -> str:
    """Name of a source without folder and suffixes."""
    return PurePosixPath(_path(source)).name.partition(".")[0]


def _path(source: str) -> str:
    parts = urlsplit(source)
    return parts.path if parts.scheme and parts.netloc else Path(source).as_posix()


@contextmanager
def _opened(source: str) -> Generator[IO[bytes]]:
    if source == STDIN:
        yield sys.stdin.buffer
        return
    with tempfile.TemporaryFile() as copy:
        _fetch(source, copy)
        copy.seek(0)
        yield copy


def _fetch(source: str, into: IO[bytes]) -> None:
    import fsspec  # pyright: ignore[reportMissingTypeStubs]

    remote: Any = fsspec.open
    try:
        with remote(source, "rb", compression="infer") as file:
            shutil.copyfileobj(file, into)
    except ImportError as error:
        raise SettingsError(f"to read {display(source)}: {error} (with pip install)") from error
    except OSError as error:
        raise SettingsError(f"cannot read {display(source)}: {error.strerror or error}") from error
    except Exception as error:  # each of its file systems raises errors of its own
        raise SettingsError(f"cannot read {display(source)}: {error}") from error


def _asks(text: TextIOWrapper, source: str) -> Iterator[Located]:
    lines = enumerate(text, 1)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        raise SettingsError(f"there is no prompt in {display(source)}")
    lines = chain([first], lines)
    match _format(source, first[1]):
        case "jsonl":
            yield from _of_json(lines, display(source))
        case "text":
            yield from _of_text(lines, display(source))
        case "csv":
            yield from _of_table(lines, display(source), ",")
        case "tsv":
            yield from _of_table(lines, display(source), "\t")


def _format(source: str, first: str) -> Format:
    """By the suffix, where it is known; else by the first line that is not blank."""
    suffixes = [suffix for suffix in PurePosixPath(_path(source)).suffixes if suffix.lower() not in _COMPRESSED]
    known = _FORMATS.get(suffixes[-1].lower()) if suffixes else None
    return known or ("jsonl" if first.lstrip().startswith("{") else "text")


def _of_json(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Located]:
    for number, line in lines:
        if line.strip():
            where = f"line {number} of {source}"
            yield _located(_object(line, where), where)


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{where} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{where} is no JSON object with a prompt")
    return {str(name): value for name, value in found.items() if value is not None}


def _of_text(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Located]:
    for number, line in lines:
        if line.strip():
            yield Ask(prompt=line.strip()), f"line {number} of {source}"


def _of_table(lines: Iterable[tuple[int, str]], source: str, delimiter: str) -> Iterator[Located]:
    reader = csv.DictReader((line for _, line in lines), delimiter=delimiter, restkey="", strict=True)
    try:
        if "prompt" not in (names := reader.fieldnames or ()):
            raise SettingsError(f"{source} has no column 'prompt', but {', '.join(names)}")
        for number, row in enumerate(reader, 1):
            where = f"row {number} of {source}"
            if "" in row:
                raise SettingsError(f"{where} has more cells than the first line has names")
            yield _located({name: cell for name, cell in row.items() if cell or name == "prompt"}, where)
    except csv.Error as error:
        raise SettingsError(f"{source} is no CSV after line {reader.line_num}: {error}") from error


def _located(given: Mapping[str, Any], where: str) -> Located:
    try:
        return ask_of(given), where
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error
