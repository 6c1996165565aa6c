"""The formats that prompts come in; each reader turns a file into plain tables, one a prompt."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import IO, Any, cast

from ..errors import SettingsError

Row = dict[str, Any]
"""One prompt under the source's own names."""

_NESTED = 4
"""Times that a value may be encoded as JSON within JSON."""


class FormatError(ValueError):
    """What is wrong with a file, and where in it."""


def jsonl_rows(file: IO[bytes]) -> Iterator[Row]:
    """One JSON value a line: an object, a text that is the prompt, or either of them encoded once more."""
    for number, line in enumerate(file, 1):
        text = _text(line, number)
        if text.strip():
            yield _row(_decoded(text, f"line {number}"), f"line {number}")


def json_rows(file: IO[bytes]) -> Iterator[Row]:
    """A list of objects or texts; COCO captions; or an object with one such list."""
    found = _decoded(_text(file.read(), 1), "the file")
    if isinstance(found, dict):
        found = _list_in(cast("Row", found))
    if not isinstance(found, list):
        raise FormatError("the file holds no list of prompts")
    for number, item in enumerate(cast("list[Any]", found), 1):
        yield _row(item, f"item {number}")


def csv_rows(file: IO[bytes], delimiter: str = ",") -> Iterator[Row]:
    """A table with a header."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = csv.DictReader(text, delimiter=delimiter)
    try:
        for row in rows:
            # What stands beyond the header's columns is kept by csv under None.
            yield {name: value for name, value in row.items() if isinstance(name, str)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"line {rows.line_num}: {error}") from error
    finally:
        # The file is not ours to close.
        text.detach()


def tsv_rows(file: IO[bytes]) -> Iterator[Row]:
    """A table with a header, its columns parted by tabs."""
    return csv_rows(file, "\t")


def text_rows(file: IO[bytes]) -> Iterator[Row]:
    """A plain list: one prompt a line; empty lines and those that begin with ``#`` are none."""
    for number, line in enumerate(file, 1):
        text = _text(line, number).strip()
        if text and not text.startswith("#"):
            yield {"prompt": text}


def parquet_rows(file: IO[bytes]) -> Iterator[Row]:
    """A parquet table, read batch by batch; ``SettingsError`` where pyarrow is not installed."""
    try:
        parquet: Any = import_module("pyarrow.parquet")
        problem: Any = import_module("pyarrow").ArrowException
    except ModuleNotFoundError as error:
        raise SettingsError("parquet needs pyarrow: pip install 'detailscribe[data]'") from error
    try:
        for batch in parquet.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except problem as error:
        raise FormatError(" ".join(str(error).split())) from error


FORMATS: dict[str, Callable[[IO[bytes]], Iterator[Row]]] = {
    "jsonl": jsonl_rows,
    "ndjson": jsonl_rows,
    "json": json_rows,
    "csv": csv_rows,
    "tsv": tsv_rows,
    "parquet": parquet_rows,
    "txt": text_rows,
}
"""By name, which is also the suffix of such files."""


def _text(data: bytes, number: int) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"line {number} is no UTF-8: {error.reason}") from error


def _decoded(text: str, where: str) -> Any:
    """The value of a text; ``FormatError`` if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error


def _row(value: Any, where: str) -> Row:
    for _ in range(_NESTED):
        value = _unwrapped(value)
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, dict):
        return cast("Row", value)
    raise FormatError(f"{where} is neither an object nor a text")


def _unwrapped(value: Any) -> Any:
    """What a text encodes, where that is an object or a text; else the value itself."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", '"')):
        return value
    try:
        inner = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return inner if isinstance(inner, dict | str) else value  # pyright: ignore[reportUnknownVariableType]


def _list_in(found: Row) -> Any:
    """``annotations`` of a COCO file; else the only list there is."""
    if isinstance(found.get("annotations"), list):
        return found["annotations"]
    lists = [value for value in found.values() if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else None
