"""What can be compared: an experiment, a batch, a run, or a folder of runs, each read as rows by variant."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from ...state import RunResult
from ...tools.errors import SettingsError
from ..batch.ledger import RESULTS
from ..batch.ledger import read_rows as read_batch_rows
from ..traces.reader import EVENTS, RESULT, read_run
from .bench import JUDGED
from .leave import ROWS
from .rows import Row, read_rows, told

Side = dict[str, list[Row]]
"""Rows by variant; of a batch or runs, one variant by the folder's name."""


def read_side(folder: Path) -> Side:
    """Everything that ended in a folder; of the same variant, prompt and seed the last one.

    Raises:
        SettingsError: it is none of these folders, or nothing in it came to an end.
    """
    if (folder / ROWS).is_file():
        rows = read_rows(folder / ROWS)
    elif (folder / JUDGED).is_file():
        rows = read_rows(folder / JUDGED)
    elif (folder / RESULTS).is_file():
        rows = _batch(folder)
    else:
        rows = [_run(found.parent, folder) for found in sorted(folder.glob(f"**/{EVENTS}")) if _ended(found.parent)]
    if not any(row.error is None for row in rows):
        raise SettingsError(f"{folder} holds no experiment, batch or run that came to its end")
    side: dict[str, dict[tuple[str, int], Row]] = defaultdict(dict)
    for row in rows:
        side[row.label][row.prompt, row.seed] = row
    return {label: list(found.values()) for label, found in side.items()}


def paired_by_prompt(rows: Iterable[Row]) -> list[Row]:
    """The same rows with seeds counted from 0 within each prompt, so that runs of other seeds can be paired."""
    counts: dict[str, int] = defaultdict(int)
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: row.seed):
        found.append(row.model_copy(update={"seed": counts[row.prompt]}))
        counts[row.prompt] += 1
    return found


def share_a_run(ours: Iterable[Row], theirs: Iterable[Row]) -> bool:
    """Whether both have a run of the same prompt and seed."""
    return bool({(row.prompt, row.seed) for row in ours} & {(row.prompt, row.seed) for row in theirs})


def _ended(folder: Path) -> bool:
    return (folder / RESULT).is_file()


def _run(folder: Path, root: Path) -> Row:
    run = read_run(folder)
    row = Row(job=run.run, label=_name(root), prompt=run.prompt, seed=run.started.seed, folder=str(folder))
    return told(row, _result(folder), {})


def _batch(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for ended in read_batch_rows(folder):
        failed = ended.status == "failed" or ended.run is None or not _ended(folder / ended.run)
        row = Row(
            job=ended.id,
            label=_name(folder),
            prompt=ended.prompt,
            seed=ended.seed,
            error=ended.message or "its run folder is gone" if failed else None,
            folder=ended.run,
        )
        rows.append(row if failed or ended.run is None else told(row, _result(folder / ended.run), {}))
    return rows


def _result(folder: Path) -> RunResult:
    try:
        return RunResult.model_validate_json((folder / RESULT).read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{folder / RESULT} is of another version of DetailScribe") from error


def _name(folder: Path) -> str:
    return folder.resolve().name
