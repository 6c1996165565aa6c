"""Measurements as a file that other tools read, one row an image and metric."""

import csv
import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...tools.errors import SettingsError
from ...tools.store import Store
from .measure import Measurement

SUFFIXES = (".parquet", ".csv", ".jsonl")


def require_writable(path: Path) -> None:
    """End before anything is measured where the file could not be written; ``SettingsError`` says why."""
    if path.suffix not in SUFFIXES:
        raise SettingsError(f"{path} should end in {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        _pyarrow()


def write_measurements(measurements: Sequence[Measurement], path: Path) -> None:
    """Write them in the format that the suffix names, whole or not at all.

    Raises:
        SettingsError: the suffix is unknown, the file cannot be written, or pyarrow is not there for parquet.
    """
    require_writable(path)
    write = {".parquet": _parquet, ".csv": _csv, ".jsonl": _lines}[path.suffix]
    try:
        Store(path.parent).write(path.name, write(measurements))
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def _lines(measurements: Sequence[Measurement]) -> bytes:
    return "".join(f"{one.model_dump_json()}\n" for one in measurements).encode()


def _csv(measurements: Sequence[Measurement]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(Measurement.model_fields))
    writer.writeheader()
    writer.writerows(one.model_dump() for one in measurements)
    return text.getvalue().encode()


def _parquet(measurements: Sequence[Measurement]) -> bytes:
    pyarrow, parquet = _pyarrow()
    types = {"value": pyarrow.float64(), "seed": pyarrow.int64()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in Measurement.model_fields])
    rows = [one.model_dump() for one in measurements]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), sink)
    return sink.getvalue()


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise SettingsError("parquet needs pyarrow: pip install 'detailscribe[parquet]', or name a .csv") from error
