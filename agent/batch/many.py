"""Many runs side by side over one set of roles, each of which leaves a row.

What is held is bounded by the runs in flight: jobs are taken from their source one by one as places become
free, and of a run that has ended nothing stays but its row on the disk.
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from ..graph.graph import build_graph
from ..runs.outcome import Run
from ..traces.events import Event
from .cast import Cast
from .doubts import Doubts
from .jobs import Job
from .ledger import Ledger
from .outcomes import Ended, Going
from .rows import Row, row_of
from .running import run_job

RUNS = "runs"
"""Folder of the run folders, beside the rows."""


async def run_many(
    jobs: Iterable[Job],
    cast: Cast,
    ledger: Ledger,
    *,
    concurrency: int = 16,
    keep_runs: bool = True,
    on_event: Callable[[Event], object] | None = None,
    on_row: Callable[[Row], object] | None = None,
) -> None:
    """Run every job whose row is not there yet; a run that fails is a row too.

    To cancel this cancels the runs in flight, which leave no row. To call it again with the same folder goes on;
    what a run that was cut off had drawn and asked is not drawn and asked again.

    Args:
        jobs: Taken one by one, as places become free; their ids and folders differ.
        cast: The roles, shared by all.
        ledger: Of the folder that rows and run folders go to.
        concurrency: Runs in flight, at least 1.
        keep_runs: Whether run folders stay; else each goes once its row is there.
        on_event: Called with each event of each run, on the loop's thread.
        on_row: Called with each row once the disk has it.

    Raises:
        ModelError: a model cannot be used, by any job as far as can be told; see ``Doubts``.
        SettingsError: a row is there under the id of another job.
    """
    graph = build_graph()

    async def perform(job: Job, folder: Path) -> Run:
        return await run_job(job, cast, graph, folder, on_event)

    await perform_many(jobs, perform, ledger, concurrency=concurrency, keep_runs=keep_runs, on_row=on_row)


async def perform_many(
    jobs: Iterable[Job],
    perform: Callable[[Job, Path], Coroutine[Any, Any, Run]],
    ledger: Ledger,
    *,
    concurrency: int,
    keep_runs: bool = True,
    on_row: Callable[[Row], object] | None = None,
) -> None:
    """As ``run_many``, wherever the jobs are run: ``perform`` is given each and its run folder."""
    waiting = (job for job in jobs if not ledger.has(job))
    running: dict[asyncio.Task[Run], Going] = {}
    ended: asyncio.Queue[asyncio.Task[Run]] = asyncio.Queue()  # to wait for all of thousands anew each time is slow
    doubts = Doubts(concurrency)
    started = 0

    def note(ended: Ended) -> None:
        row = row_of(ended, ledger.root)
        ledger.append(row)
        if not keep_runs and row.run is not None:
            shutil.rmtree(ledger.root / row.run)
        if on_row is not None:
            on_row(row)

    try:
        while True:
            for job in islice(waiting, concurrency - len(running)):
                started += 1
                folder = ledger.root / RUNS / job.folder
                task = asyncio.create_task(perform(job, folder))
                running[task] = Going(job, folder, started)
                task.add_done_callback(ended.put_nowait)
            if not running:
                break
            task = await ended.get()
            for sure in doubts.settle(running.pop(task).ended(task, started)):
                note(sure)
        for sure in doubts.rest():
            note(sure)
    finally:
        await _cancel(running)


async def _cancel(tasks: Iterable[asyncio.Task[Run]]) -> None:
    """Cancel them and wait until they have put their folders in order."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
