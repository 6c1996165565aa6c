"""The judge of an experiment: it takes no part in any run, and measures every image of each run once."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...state import Budget, Critique, RunResult
from ...tools.files import JsonLines, Store, content_hash, mend_lines
from ...tools.roles import Critic, model_name
from ..batch.jobs import Job
from ..graph.checkpoints import TaskCache
from ..graph.tasks import about
from ..records import rows as batch
from ..records.reader import RESULT
from ..settings.models import Models, make_critic
from ..settings.settings import Settings
from .rows import JUDGED, Row, read_rows, with_result
from .spec import JudgeSettings

if TYPE_CHECKING:
    from ...tools.metrics.local import Lpips

AT_ONCE = 4
"""Runs whose images are judged side by side."""


def make_judge(chosen: JudgeSettings, settings: Settings) -> Critic | None:
    """The judge; None where the critic's word is taken.

    Raises:
        ModelError: it cannot be loaded, or lacks a key.
    """
    if chosen.kind == "critic":
        return None
    if chosen.kind == "embedded":
        from ...tools.world.critic import EmbeddedJudge

        return EmbeddedJudge()
    # A critic over the named model, with the limits of ``chat``; the settings' key goes only to their own server.
    server: dict[str, object] = {"model": chosen.model}
    if chosen.url is not None:
        server |= {"url": chosen.url, "key": settings.vision.key if chosen.url == settings.vision.url else None}
    vision = settings.vision.model_copy(update=server)
    chat = settings.chat.model_copy(update={"model": settings.chat.model or chosen.model})
    settings = settings.model_copy(update={"chat": chat, "vision": vision})
    return make_critic(settings, Models(settings).vision)


class Judging:
    """Judges the runs of an experiment as they end, and writes their rows; variants that plan one run share it.

    A run that failed in an earlier start has no row here, since it is run again.

    Args:
        folder: Of the results, which no other process writes to.
        planned: All runs of the experiment, with label, scenario and seed as tags.
        budgets: Of the variants, by label.
        judge: None where the critic's word is taken.
        cache: Keeps what it answered, so that after a kill it is not asked again.
        keep_all: Whether latents and reports stay; else they are removed when all runs of a prompt and seed are
            judged, since until then these may take images from each other.
        on_row: Called with each new row.
        network: Measures LPIPS of each refinement to its source; rows without it are made again.
    """

    def __init__(
        self,
        folder: Path,
        planned: Iterable[Job],
        budgets: Mapping[str, Budget],
        judge: Critic | None,
        cache: TaskCache,
        keep_all: bool = False,
        on_row: Callable[[Row], object] | None = None,
        network: "Lpips | None" = None,
    ) -> None:
        self._store, self._budgets, self._judge, self._cache = Store(folder), budgets, judge, cache
        self._judge_name = None if judge is None else model_name(judge)
        self._keep_all, self._on_row, self._network = keep_all, on_row, network
        self._places, self._tasks = asyncio.Semaphore(AT_ONCE), list[asyncio.Task[None]]()
        self._planned: dict[str, list[Job]] = defaultdict(list)
        self._groups: dict[tuple[str, int], set[str]] = defaultdict(set)
        for job in planned:
            self._planned[job.id].append(job)
            self._groups[job.prompt, job.seed].add(job.id)
        mend_lines(folder / JUDGED, Row)
        self._lines = JsonLines(folder / JUDGED)
        ended = {row.id for row in batch.read_rows(folder)}  # others are run again
        kept = (row for row in read_rows(folder / JUDGED) if row.judge == self._judge_name and row.error is None)
        measured = (row for row in kept if network is None or row.lpips == network.model)
        self._rows = {row.job: row for row in measured if row.job in self._planned and row.job in ended}

    def rows(self) -> list[Row]:
        """Those of the experiment, in its order and under the labels that its variants have now."""
        return [row for id in self._planned if id in self._rows for row in self._shared(self._rows[id])]

    def take(self, ended: batch.Row) -> None:
        """Begin to judge a run that ended, unless that was done before."""
        if ended.id in self._planned and ended.id not in self._rows:
            self._tasks.append(asyncio.create_task(self._finish(ended)))

    async def end(self) -> None:
        """Wait until everything taken is judged; the first error is raised."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lines.close()
        for task in self._tasks:
            task.result()

    def _shared(self, row: Row) -> list[Row]:
        """The row of a run under the label of each variant that comes to it."""
        return [row.model_copy(update=dict(job.tags)) for job in self._planned[row.job]]

    async def _finish(self, ended: batch.Row) -> None:
        job, *_ = self._planned[ended.id]
        known = {"job": ended.id, "prompt": ended.prompt, "judge": self._judge_name, "folder": ended.run}
        known |= {"error": f"{ended.error}: {ended.message}" if ended.status == "failed" else None}
        row = Row.model_validate(known | dict(job.tags) | {"budget": self._budgets[str(job.tags["label"])]})
        if row.error is None:
            async with self._places:
                row = await self._judged(row)
        self._rows[row.job] = row
        self._clean(self._groups[job.prompt, job.seed])  # before the row, which says that nothing is left to do
        self._lines.append(row.model_dump_json())
        if self._on_row is not None:
            for shared in self._shared(row):
                self._on_row(shared)

    async def _judged(self, row: Row) -> Row:
        store, judge, judged = Store(self._store.path(row.folder or "")), self._judge, dict[str, Critique]()
        result = RunResult.model_validate_json(store.read(RESULT))
        if judge is not None:
            for image in [i for i in result.images if i.is_whole] or result.images:
                key = content_hash("judge", *about(image, result.concepts, judge, store))
                judged[image.id] = await self._cache.once(key, partial(judge.critique, image, result.concepts, store))
        return await asyncio.to_thread(with_result, row, result, judged, store, self._network)

    def _clean(self, ids: set[str]) -> None:
        """Remove what is not kept of the runs of a prompt and seed, if this was the last of them."""
        if self._keep_all or not ids <= self._rows.keys():
            return
        for folder in (self._rows[id].folder for id in ids):
            if folder is not None:
                shutil.rmtree(self._store.path(f"{folder}/latents"), ignore_errors=True)
                self._store.path(f"{folder}/report.html").unlink(missing_ok=True)
