"""One reader for every set of prompts, wherever it is kept and in whichever format.

``read_rows`` yields what a source says under its own names, with the place in it; ``read_prompts`` makes records of it.
"""

import csv
import io
import json
import posixpath
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from pydantic import ValidationError

from ..errors import SettingsError
from ..text import said_by, without_secrets
from .records import PromptRecord, with_own_ids

STDIN = "-"
"""As a source: standard input."""
_TEXTS = ("text_prompt", "caption", "text", "sentence", "description")
PROMPT_COLUMNS = ("prompt", "prompts", "prompt_en", "prompt_zh", "original_prompt", *_TEXTS)
"""Names of the column that holds the prompt, in the order of preference; case and blanks around them do not matter."""
_SCENARIO = ("scenario", "category", "tag")
_SUBCLASS = ("subclass", "subcategory", "challenge")
_ID = ("id", "prompt_id", "key")
_INDEX = re.compile(r"|Unnamed: \d.*|__index_level_\d+__")
"""Names that pandas gives to the column of its row numbers."""
_HUB = "dataset:"
"""Begins the name of a data set that the package ``datasets`` loads: ``dataset:owner/name``, ``...#split``."""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a letter, which JSON can name and no file can hold."""
_HEAD = 1 << 16
"""Bytes of a file that are looked at to find its format."""

Columns = dict[str, Any]
"""What a source says of one prompt, under its own names."""
Located = tuple[str, Columns]
"""The place in the source, such as ``line 3``, and what is said there."""


@dataclass(frozen=True)
class PromptRow:
    """One prompt of a source, with all that the source says of it."""

    prompt: str
    """Empty where the source has an empty one."""
    others: Columns
    """Every other column, without pandas' row numbers; plain JSON values."""
    where: str
    """The place, for messages: ``line 3 of prompts.jsonl``."""
    number: int
    """Of the row, from 1."""


def read_prompts(
    source: str | Path,
    *,
    column: str | None = None,
    scenario: str | None = None,
    format: str | None = None,
    limit: int | None = None,
    skip_empty: bool = False,
) -> Iterator[PromptRecord]:
    """The prompts of a file or a data set, one by one; nothing is read before the first is asked for.

    The arguments that are not named below are those of ``read_rows``.

    Args:
        scenario: The column that holds the scenario; by default ``scenario``, ``category`` or ``tag``.
        limit: Prompts at most.
        skip_empty: Leave out records whose prompt is empty, which tables from the web are full of, rather than stop.

    Raises:
        SettingsError: the source cannot be read, or holds no such column; the message says where in it.
    """
    rows = read_rows(source, column=column, format=format)
    wanted = (row for row in rows if row.prompt.strip() or not skip_empty)
    yield from with_own_ids(_record(row, stem(source), scenario) for row in islice(wanted, limit))


def _record(row: PromptRow, name: str, scenario: str | None) -> PromptRecord:
    if not row.prompt.strip():
        raise SettingsError(f"{row.where} has an empty prompt")
    wanted = {"id": _ID, "scenario": (scenario,) if scenario else _SCENARIO, "subclass": _SUBCLASS}
    held = {known: column for known, names in wanted.items() if (column := _named(row.others, names)) is not None}
    said = {known: str(row.others[column]).strip() for known, column in held.items() if row.others[column] is not None}
    try:
        return PromptRecord(
            id=said.get("id") or f"{name}-{row.number:05}",
            prompt=" ".join(row.prompt.split()),
            scenario=said.get("scenario") or None,
            subclass=said.get("subclass") or None,
            extra={name: value for name, value in row.others.items() if name not in held.values()},
        )
    except ValidationError as error:
        raise SettingsError(f"{row.where}: {error.errors()[0]['msg']}") from error


def read_rows(source: str | Path, *, column: str | None = None, format: str | None = None) -> Iterator[PromptRow]:
    """The rows of a file or a data set, one by one, each with its prompt; ``SettingsError`` says where one is wrong.

    Args:
        source: A path, any URL that fsspec opens (``https://``, ``s3://``, ``hf://``, ``github://``, also
            compressed), ``-`` for standard input, or ``dataset:owner/name#split`` for the package ``datasets``.
        column: The column that holds the prompt; by default one of ``PROMPT_COLUMNS``.
        format: A key of ``FORMATS``; by default the suffix says it, and for any other suffix the first lines do.
    """
    name, number = str(source), 0
    for number, (place, columns) in enumerate(_dataset(name) if name.startswith(_HUB) else _file(name, format), 1):
        where = f"{place} of {shown(name)}"
        held = _named(columns, (column,) if column else PROMPT_COLUMNS)
        if held is None:
            wanted = column or ", ".join(PROMPT_COLUMNS)
            raise SettingsError(f"{where} has no column {wanted}, but {', '.join(columns) or 'nothing'}")
        prompt = columns[held]
        if not isinstance(prompt, str | None) or _SURROGATE.search(prompt or ""):
            raise SettingsError(f"{where} holds no text in {held}")
        others = _plain({k: v for k, v in columns.items() if k != held and not _INDEX.fullmatch(k)})
        yield PromptRow(prompt or "", others, where, number)
    if not number:
        raise SettingsError(f"there is no prompt in {shown(name)}")


def shown(source: str | Path) -> str:
    """A source as messages and files may name it: without users, passwords and queries, which can be secret."""
    return "standard input" if str(source) == STDIN else without_secrets(str(source))


def stem(source: str | Path) -> str:
    """The last part of a path or URL without suffixes, by which its prompts are named."""
    return "prompt" if str(source) == STDIN else _name(str(source)).partition(".")[0] or "prompt"


def _name(source: str) -> str:
    """The last part of a path or URL, without query and the suffix of its compression."""
    path = source.removeprefix(_HUB).partition("#")[0] if source.startswith(_HUB) else shown(source)
    path = next((part for part in path.split("::") if "://" in part), path)
    return re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", posixpath.basename(path.replace("\\", "/").rstrip("/")))


def _dataset(source: str) -> Iterator[Located]:
    """The rows of a data set that ``datasets`` loads, as a stream."""
    try:
        datasets: Any = import_module("datasets")
    except ModuleNotFoundError as error:
        raise SettingsError(f"{source} needs the package datasets: pip install datasets") from error
    name, _, split = source.removeprefix(_HUB).partition("#")
    try:
        for number, row in enumerate(datasets.load_dataset(name, split=split or "train", streaming=True), 1):
            yield f"record {number}", row
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {shown(source)}: {said_by(error, source)}") from error


def _file(source: str, format: str | None) -> Iterator[Located]:
    chosen = format or posixpath.splitext(_name(source))[1].lstrip(".").lower()
    if format is not None and format not in FORMATS:
        raise SettingsError(f"no format {format!r}: known are {', '.join(FORMATS)}")
    with _opened(source) as opened:
        file = io.BufferedReader(cast(io.RawIOBase, opened), _HEAD)
        try:
            yield from FORMATS[chosen if chosen in FORMATS else _format_of(file.peek(_HEAD))](file)
        except _Unreadable as error:
            place, what = error.args
            raise SettingsError(f"{place} of {shown(source)} {what}") from error
        finally:
            if not file.closed:  # as it may be where the interpreter ends
                file.detach()  # who opened it closes it


@contextmanager
def _opened(source: str) -> Generator[IO[bytes]]:
    """A file at a path or URL, decompressed where its suffix says so; ``SettingsError`` if it cannot be read."""
    if source == STDIN:
        yield sys.stdin.buffer
        return
    import fsspec

    try:
        with cast(Any, fsspec).open(source, "rb", compression="infer") as file:
            yield file
    except SettingsError:
        raise
    except Exception as error:  # each of its file systems raises errors of its own
        more = " (for http: pip install 'detailscribe[data]')" if isinstance(error, ImportError) else ""
        raise SettingsError(f"cannot read {shown(source)}: {said_by(error, source)}{more}") from error


class _Unreadable(Exception):
    """Where in a file something is wrong, and what."""


def _format_of(head: bytes) -> str:
    """The format of a file that begins so; ``_Unreadable`` for what is no text."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if any(byte < 9 for byte in head):
        raise _Unreadable("the start", f"is no text: name one of these formats: {', '.join(FORMATS)}")
    first = next((line for line in map(str.strip, head.decode("utf-8-sig", "replace").split("\n")) if line), "")
    if first.startswith("{") and _from_json(first) is not None:
        return "jsonl"
    if re.match(r"""[\[{]\s*(["{]|$)""", first):
        return "json"
    for format, delimiter in (("tsv", "\t"), ("csv", ","), ("csv", ";")):
        names = {name.strip(' "').casefold() for name in first.split(delimiter)}
        if len(names) > 1 and not names.isdisjoint(PROMPT_COLUMNS):
            return format
    return "txt"


def _jsonl(file: IO[bytes]) -> Iterator[Located]:
    """One JSON value a line: an object, a text that is the prompt, or either of them encoded once more."""
    for number, line in enumerate(file, 1):
        place = f"line {number}"
        if text := _text(line, place).strip():
            try:
                yield place, _columns(json.loads(text), place)
            except (ValueError, RecursionError) as error:
                raise _Unreadable(place, f"is no JSON: {error}") from error


def _json(file: IO[bytes]) -> Iterator[Located]:
    """A list of objects or texts, an object with one such list (COCO captions), one prompt, or prompts by their id."""
    data = file.read()
    try:
        found: Any = json.loads(_text(data, "the file"))
    except (ValueError, RecursionError) as error:
        if not str(error).startswith("Extra data"):
            place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "the whole"
            raise _Unreadable(place, f"is no JSON: {error}") from error
        yield from _jsonl(io.BytesIO(data))
        return
    items = _listed(cast(Columns, found)) if isinstance(found, dict) else found
    if not isinstance(items, list):
        raise _Unreadable("the whole", "is no list of prompts")
    for number, item in enumerate(cast(list[Any], items), 1):
        yield f"item {number}", _columns(item, f"item {number}")


def _listed(found: Columns) -> list[Any] | None:
    """The list of prompts that an object stands for."""
    if isinstance(found.get("annotations"), list):
        return found["annotations"]
    if _named(found, PROMPT_COLUMNS) is not None:
        return [found]
    if all(isinstance(value, str) for value in found.values()):
        return [{"id": id, "prompt": prompt} for id, prompt in found.items()]
    if len(found) > 0 and all(isinstance(value, dict) for value in found.values()):
        return [{"id": id, **value} for id, value in found.items()]
    lists = [value for value in found.values() if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else None


def _columns(value: Any, place: str) -> Columns:
    """What a JSON value says of one prompt; a text may hold an object or a text that was encoded once more."""
    while isinstance(value, str) and (inner := _from_json(value)) is not None:
        value = inner
    if isinstance(value, str | dict):
        return {"prompt": value} if isinstance(value, str) else cast(Columns, value)
    raise _Unreadable(place, "is neither an object nor a text")


def _from_json(text: str) -> Columns | str | None:
    """The object or the text that a text encodes; None where it encodes neither."""
    try:
        return json.loads(text) if text.lstrip().startswith(("{", '"')) else None
    except (ValueError, RecursionError):
        return None


def _csv(file: IO[bytes], delimiter: str = ",") -> Iterator[Located]:
    """A table with a header; its columns may also be separated by semicolons or tabs."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    number = 0
    try:
        header = next((line for line in text if line.strip()), "")
        if header.lower().startswith("sep="):  # as spreadsheets write it
            delimiter, header = header.strip()[4:5] or delimiter, next(text, "")
        elif delimiter not in header:
            delimiter = next((other for other in ";\t" if other in header), delimiter)
        rows = csv.DictReader(chain([header], text), delimiter=delimiter, strict=True)
        names = {name: name.strip() for name in rows.fieldnames or ()}
        for number, row in enumerate(rows, 1):
            if any(cast(dict[Any, Any], row).pop(None, ())):  # where csv keeps what is beyond the header's columns
                raise _Unreadable(f"row {number}", "has more cells than the first line has names")
            if any(row.values()):
                yield f"row {number}", {own: row[name] for name, own in names.items()}
    except csv.Error as error:
        raise _Unreadable(f"row {number + 1}", f"cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise _Unreadable("the text", f"is no UTF-8: {error.reason}") from error
    finally:
        text.detach()  # who opened the file closes it


def _txt(file: IO[bytes]) -> Iterator[Located]:
    """A plain list: one prompt a line; empty lines and those that begin with ``#`` are none."""
    for number, line in enumerate(file, 1):
        for part in _text(line, f"line {number}").split("\r"):
            if (prompt := part.strip()) and not prompt.startswith("#"):
                yield f"line {number}", {"prompt": prompt}


def _parquet(file: IO[bytes]) -> Iterator[Located]:
    """A parquet table, read batch by batch."""
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise SettingsError("parquet needs pyarrow: pip install 'detailscribe[data]'") from error
    rows = (row for batch in parquet.ParquetFile(file).iter_batches() for row in batch.to_pylist())
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


FORMATS: dict[str, Callable[[IO[bytes]], Iterator[Located]]] = {
    "jsonl": _jsonl,
    "ndjson": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": partial(_csv, delimiter="\t"),
    "parquet": _parquet,
    "txt": _txt,
}
"""Reader by format, which is also the suffix of such files."""


def _text(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(place, f"is no UTF-8: {error.reason}") from error


def _named(columns: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    """The first of the wanted columns that there is, under the source's name."""
    names = {name.strip().casefold(): name for name in columns}
    return next((names[name.casefold()] for name in wanted if name.casefold() in names), None)


def _plain(columns: Columns) -> Columns:
    """Values that JSON can hold; what it cannot (dates, pictures) in words, and no number for one that is none."""

    def in_words(value: Any) -> str:
        return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)

    text = json.dumps(columns, default=in_words, ensure_ascii=False).encode(errors="replace")
    return json.loads(text, parse_constant=lambda name: None)
