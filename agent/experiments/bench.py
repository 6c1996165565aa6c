"""Where runs are judged as they end, and their rows written down."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from ...state import RunResult
from ...tools.roles import Critic
from ...tools.store import Store
from ..batch import rows as batch
from ..traces.manifest import model_name
from .judges import judged
from .plan import Planned
from .rows import Row, read_rows, told

JUDGED = "judged.jsonl"
"""The rows of an experiment as they come, beside those of its runs; older ones of the folder among them."""
OnRow = Callable[[Row], object]


class Bench:
    """Judges every run once; variants that come to the same run share it.

    Args:
        folder: Of the results, which no other process writes to.
        planned: All that the experiment consists of.
        judge: None where the critic's word is taken.
        keep_all: Whether latents, report and answers of a run stay once it is judged.
        on_row: Called with each new row.
    """

    def __init__(
        self,
        folder: Path,
        planned: Iterable[Planned],
        judge: Critic | None,
        keep_all: bool = False,
        on_row: OnRow | None = None,
    ) -> None:
        self._folder = folder
        self._judge = judge
        self._judge_name = None if judge is None else model_name(judge)
        self._keep_all = keep_all
        self._on_row = on_row
        self._room = asyncio.Semaphore(4)
        self._tasks: set[asyncio.Task[None]] = set()
        self._planned: dict[str, list[Planned]] = defaultdict(list)
        for one in planned:
            self._planned[one.job.id].append(one)
        _cut_torn_line(folder / JUDGED)
        self._found = {row.job: row for row in read_rows(folder / JUDGED) if row.judge == self._judge_name}

    def rows(self) -> list[Row]:
        """Those of the experiment, in its order and under the labels that its variants have now."""
        wanted = (one for group in self._planned.values() for one in group)
        return [_row_of(one, self._found[one.job.id]) for one in wanted if one.job.id in self._found]

    def take(self, ended: batch.Row) -> None:
        """Set to work on a run that ended, unless that was done before."""
        if ended.id in self._planned and ended.id not in self._found:
            self._tasks.add(asyncio.create_task(self._settle(ended)))

    async def close(self) -> None:
        """Wait until everything taken is judged; the first error is raised."""
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _settle(self, ended: batch.Row) -> None:
        planned = self._planned[ended.id]
        row = Row(
            job=ended.id,
            label=planned[0].variant.label,
            prompt=ended.prompt,
            seed=planned[0].seed,
            error=f"{ended.error}: {ended.message}" if ended.status == "failed" else None,
            judge=self._judge_name,
            folder=ended.run,
        )
        if row.error is None:
            async with self._room:
                row = await self._looked_at(row)
        self._found[row.job] = row
        with (self._folder / JUDGED).open("ab", buffering=0) as file:
            file.write(row.model_dump_json().encode() + b"\n")
        if self._on_row is not None:
            for one in planned:
                self._on_row(_row_of(one, row))

    async def _looked_at(self, row: Row) -> Row:
        store = Store(self._folder / (row.folder or ""))
        result = RunResult.model_validate_json(store.read("result.json"))
        seen = {} if self._judge is None else await judged(self._judge, result, store)
        if not self._keep_all:
            shutil.rmtree(store.path("latents"), ignore_errors=True)
            for name in ("report.html", "answers.jsonl"):
                store.path(name).unlink(missing_ok=True)
        return told(row, result, seen)


def _row_of(one: Planned, row: Row) -> Row:
    """The row of a run for one of the variants that come to it."""
    return row.model_copy(update={"label": one.variant.label, "scenario": one.prompt.scenario, "seed": one.seed})


def _cut_torn_line(path: Path) -> None:
    """Take away a last line that a kill left without its end."""
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        with path.open("ab") as file:
            file.truncate(whole)
