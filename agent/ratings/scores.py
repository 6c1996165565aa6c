"""Numbers of automatic metrics for the pictures of a page: what the critic said, and what `evaluate --out` measured."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

from pydantic import ValidationError

from ...tools.errors import SettingsError
from ..evaluation import Measurement
from .key import Key

Scores = dict[str, dict[str, float]]
"""Value by item, by metric."""


def critic_scores(key: Key) -> Scores:
    """What the runs' own critics said: share of checks passed, and mean certainty."""
    told = {
        "critic": {id: [s.score for s in item.sources if s.score is not None] for id, item in key.items.items()},
        "critic confidence": {
            id: [s.confidence for s in item.sources if s.confidence is not None] for id, item in key.items.items()
        },
    }
    return {name: _means(values) for name, values in told.items()}


def metric_scores(measurements: Iterable[Measurement], key: Key) -> Scores:
    """What metrics said of the page's pictures; other images and missing values are passed over."""
    items = {(s.method, s.run, s.image): id for id, item in key.items.items() for s in item.sources}
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in measurements:
        item = items.get((one.method, one.run, one.image))
        if item is not None and one.value is not None:
            found[one.metric][item].append(one.value)
    return {metric: _means(values) for metric, values in found.items()}


def read_measurements(path: Path) -> list[Measurement]:
    """The file that ``detailscribe evaluate --out`` left: .jsonl, .csv or .parquet.

    Raises:
        SettingsError: it cannot be read, or holds something else.
    """
    readers = {".jsonl": _lines, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise SettingsError(f"{path} should be a file of `detailscribe evaluate --out`: {', '.join(readers)}")
    try:
        return [Measurement.model_validate(row) for row in readers[path.suffix](path)]
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValidationError, ValueError) as error:
        raise SettingsError(f"{path} is no file of `detailscribe evaluate --out`") from error


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _csv(path: Path) -> list[Any]:
    optional = ("seed", "value", "reason")
    with path.open(encoding="utf-8", newline="") as file:
        return [row | {name: row.get(name) or None for name in optional} for row in csv.DictReader(file)]


def _parquet(path: Path) -> list[Any]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise SettingsError("parquet needs pyarrow: pip install 'detailscribe[parquet]', or name a .csv") from error
    return parquet.read_table(path).to_pylist()


def _means(values: Mapping[str, list[float]]) -> dict[str, float]:
    return {item: mean(given) for item, given in values.items() if given}
