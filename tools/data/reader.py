"""Reads prompts from files, URLs and data sets in any format: ``read_rows`` as rows with all columns of the source,
``read_prompts`` as records."""

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
"""Names of the prompt column, in the order of preference; case and surrounding spaces do not matter."""
_SCENARIO = ("scenario", "category", "tag")
_SUBCLASS = ("subclass", "subcategory", "challenge")
_ID = ("id", "prompt_id", "key")
_INDEX = re.compile(r"|Unnamed: \d.*|__index_level_\d+__")
"""Names of the column in which pandas writes row numbers."""
_HUB = "dataset:"
"""Prefix of a data set that the package ``datasets`` loads: ``dataset:owner/name``, ``...#split``."""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can express but no file can hold."""
_HEAD = 1 << 16
"""Bytes of a file that are read to detect its format."""

Columns = dict[str, Any]
"""One prompt with the columns of its source."""
Located = tuple[str, Columns]
"""The place in the source, such as ``line 3``, and the columns there."""


@dataclass(frozen=True)
class PromptRow:
    """One prompt of a source, with its other columns."""

    prompt: str
    """Empty where the source has an empty one."""
    others: Columns
    """Every other column, without pandas' row numbers, as JSON values."""
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
    """The prompts of a file or a data set, read one by one; other arguments are those of ``read_rows``.

    Args:
        scenario: The column that holds the scenario; by default ``scenario``, ``category`` or ``tag``.
        limit: Prompts at most.
        skip_empty: Skip empty prompts, which are common in tables from the web, instead of raising.

    Raises:
        SettingsError: the source cannot be read, or has no such column; the message names the place in it.
    """
    rows = read_rows(source, column=column, format=format)
    wanted = (row for row in rows if row.prompt.strip() or not skip_empty)
    yield from with_own_ids(_record(row, stem(source), scenario) for row in islice(wanted, limit))


def _record(row: PromptRow, name: str, scenario: str | None) -> PromptRecord:
    if not row.prompt.strip():
        raise SettingsError(f"{row.where} has an empty prompt")
    wanted = {"id": _ID, "scenario": (scenario,) if scenario else _SCENARIO, "subclass": _SUBCLASS}
    columns = {field: column for field, names in wanted.items() if (column := _named(row.others, names)) is not None}
    cells = {field: str(value).strip() for field, name in columns.items() if (value := row.others[name]) is not None}
    try:
        return PromptRecord(
            id=cells.get("id") or f"{name}-{row.number:05}",
            prompt=" ".join(row.prompt.split()),
            scenario=cells.get("scenario") or None,
            subclass=cells.get("subclass") or None,
            extra={name: value for name, value in row.others.items() if name not in columns.values()},
        )
    except ValidationError as error:
        raise SettingsError(f"{row.where}: {error.errors()[0]['msg']}") from error


def read_rows(source: str | Path, *, column: str | None = None, format: str | None = None) -> Iterator[PromptRow]:
    """The rows of a file or a data set, read one by one; ``SettingsError`` names the place of a wrong one.

    Args:
        source: A path, any URL that fsspec opens (``https://``, ``s3://``, ``hf://``, ``github://``, also
            compressed), ``-`` for standard input, or ``dataset:owner/name#split`` for the package ``datasets``.
        column: The column of prompts; by default one of ``PROMPT_COLUMNS``.
        format: A key of ``FORMATS``; by default the suffix or, if that is none of them, detected from the content.
    """
    name, number = str(source), 0
    for number, (place, columns) in enumerate(_dataset(name) if name.startswith(_HUB) else _file(name, format), 1):
        where = f"{place} of {shown(name)}"
        key = _named(columns, (column,) if column else PROMPT_COLUMNS)
        if key is None:
            wanted = column or ", ".join(PROMPT_COLUMNS)
            raise SettingsError(f"{where} has no column {wanted}, but {', '.join(columns) or 'nothing'}")
        prompt = columns[key]
        if not isinstance(prompt, str | None) or _SURROGATE.search(prompt or ""):
            raise SettingsError(f"{where} holds no text in {key}")
        others = _json_values({k: v for k, v in columns.items() if k != key and not _INDEX.fullmatch(k)})
        yield PromptRow(prompt or "", others, where, number)
    if not number:
        raise SettingsError(f"there is no prompt in {shown(name)}")


def shown(source: str | Path) -> str:
    """A source for messages and files: without user, password and query, which can be secret."""
    return "standard input" if str(source) == STDIN else without_secrets(str(source))


def stem(source: str | Path) -> str:
    """The last part of a path or URL without suffixes, which starts the ids of its prompts."""
    return "prompt" if str(source) == STDIN else _name(str(source)).partition(".")[0] or "prompt"


def _name(source: str) -> str:
    """The last part of a path or URL, without query and suffix of compression."""
    path = source.removeprefix(_HUB).partition("#")[0] if source.startswith(_HUB) else shown(source)
    path = next((part for part in path.split("::") if "://" in part), path)
    return re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", posixpath.basename(path.replace("\\", "/").rstrip("/")))


def _dataset(source: str) -> Iterator[Located]:
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
            if not file.closed:  # it may be, at the end of the interpreter
                file.detach()  # is closed by its opener


@contextmanager
def _opened(source: str) -> Generator[IO[bytes]]:
    """A file at a path or URL, decompressed after its suffix; ``SettingsError`` if it cannot be read."""
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
    """Detects the format from the first bytes; ``_Unreadable`` if they are no text."""
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
    """A JSON value on each line: an object, or a string that is the prompt; it may be encoded as a string again."""
    for number, line in enumerate(file, 1):
        place = f"line {number}"
        if text := _text(line, place).strip():
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise _Unreadable(place, f"is no JSON: {error}") from error
            yield place, _columns(value, place)


def _json(file: IO[bytes]) -> Iterator[Located]:
    """A list of objects or strings, an object with one such list (COCO captions), one prompt, or prompts by id."""
    data = file.read()
    try:
        value: Any = json.loads(_text(data, "the file"))
    except (ValueError, RecursionError) as error:
        if not str(error).startswith("Extra data"):
            place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "the whole"
            raise _Unreadable(place, f"is no JSON: {error}") from error
        yield from _jsonl(io.BytesIO(data))
        return
    items = _items(cast(Columns, value)) if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise _Unreadable("the whole", "is no list of prompts")
    for number, item in enumerate(cast(list[Any], items), 1):
        yield f"item {number}", _columns(item, f"item {number}")


def _items(value: Columns) -> list[Any] | None:
    """The list of prompts in a JSON object."""
    if isinstance(value.get("annotations"), list):
        return value["annotations"]
    if _named(value, PROMPT_COLUMNS) is not None:
        return [value]
    if all(isinstance(item, str) for item in value.values()):
        return [{"id": id, "prompt": prompt} for id, prompt in value.items()]
    if all(isinstance(item, dict) for item in value.values()):
        return [{"id": id, **item} for id, item in value.items()]
    lists = [item for item in value.values() if isinstance(item, list)]
    return lists[0] if len(lists) == 1 else None


def _columns(value: Any, place: str) -> Columns:
    """The columns of a JSON object, or of a string with the prompt or with JSON in it."""
    while isinstance(value, str) and (inner := _from_json(value)) is not None:
        value = inner
    if isinstance(value, str | dict):
        return {"prompt": value} if isinstance(value, str) else cast(Columns, value)
    raise _Unreadable(place, "is neither an object nor a text")


def _from_json(text: str) -> Columns | str | None:
    """The object or string that a text encodes; None if it encodes neither."""
    try:
        return json.loads(text) if text.lstrip().startswith(("{", '"')) else None
    except (ValueError, RecursionError):
        return None


def _csv(file: IO[bytes], delimiter: str = ",") -> Iterator[Located]:
    """A table with a header, separated by commas, semicolons or tabs."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    number = 0
    try:
        header = next((line for line in text if line.strip()), "")
        if header.lower().startswith("sep="):  # written by spreadsheets
            delimiter, header = header.strip()[4:5] or delimiter, next(text, "")
        elif delimiter not in header:
            delimiter = next((other for other in ";\t" if other in header), delimiter)
        rows = csv.DictReader(chain([header], text), delimiter=delimiter, strict=True)
        names = {name: name.strip() for name in rows.fieldnames or ()}
        for number, row in enumerate(rows, 1):
            if any(cast(dict[Any, Any], row).pop(None, ())):  # cells beyond the header's columns
                raise _Unreadable(f"row {number}", "has more cells than the first line has names")
            if any(row.values()):
                yield f"row {number}", {own: row[name] for name, own in names.items()}
    except csv.Error as error:
        raise _Unreadable(f"row {number + 1}", f"cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise _Unreadable("the text", f"is no UTF-8: {error.reason}") from error
    finally:
        text.detach()  # the file is closed by its opener


def _txt(file: IO[bytes]) -> Iterator[Located]:
    """A prompt on each line, except empty lines and comments, which start with ``#``."""
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
"""Reader by format, which is also the suffix of the file."""


def _text(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(place, f"is no UTF-8: {error.reason}") from error


def _named(columns: Mapping[str, Any], wanted: Sequence[str]) -> str | None:
    """The first of the wanted columns that exists, as the source spells it."""
    names = {name.strip().casefold(): name for name in columns}
    return next((names[name.casefold()] for name in wanted if name.casefold() in names), None)


def _json_values(columns: Columns) -> Columns:
    """The columns as JSON values: other types, such as dates, as strings, bytes as their number, and NaN as None."""

    def as_text(value: Any) -> str:
        return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)

    text = json.dumps(columns, default=as_text, ensure_ascii=False).encode(errors="replace")
    return json.loads(text, parse_constant=lambda name: None)
