"""Many runs side by side over one set of roles, each of which leaves a row.

What is held is bounded by the runs in flight: jobs are taken from their source one by one as places become
free, and of a run that has ended nothing stays but its row on the disk.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..tools.roles import Asker, Critic, Decomposer, Diffusion
from .batch.doubts import Doubts
from .batch.jobs import Job
from .batch.ledger import Ledger
from .batch.outcomes import Ended, Going
from .batch.rows import Row, row_of
from .context import Context
from .doctor.require import require
from .driving import complete, emitter
from .events import Event, EventLog, RunStarted
from .graph import Graph, build_graph
from .manifest import model_name
from .outcome import Run
from .presets import preset_named
from .run_folder import claimed
from .settings import Loaded
from .validation import check_prompt
from .work import AlreadyDecomposed, write_manifest

RUNS = "runs"
"""Folder of the run folders, beside the rows."""


@dataclass(frozen=True)
class Cast:
    """The roles of all runs, made once."""

    decomposer: Decomposer
    diffusion: Diffusion
    critic: Critic
    loaded: Loaded
    """The settings that they were made from, for the manifests."""
    chat: Asker | None = None
    """For policies that ask a chat model; None where there is none."""

    @property
    def models(self) -> dict[str, str]:
        """Name and content hash by role."""
        return {role: model_name(getattr(self, role)) for role in ("decomposer", "diffusion", "critic")}


async def cast_of(
    loaded: Loaded,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
) -> Cast:
    """Look at everything as a run does, then load the models; what is given stands in for them.

    Raises:
        ModelError: a model cannot be used.
        SettingsError: a setting cannot.
    """
    models = preset_named(loaded.settings.run.preset).roles(loaded.settings)
    reader = decomposer or models.decomposer()
    await require(loaded.settings, draws=diffusion is None, looks=critic is None)
    looker = critic or await asyncio.to_thread(models.critic)  # first, since it loads faster
    drawer = diffusion or await asyncio.to_thread(models.diffusion)
    return Cast(reader, drawer, looker, loaded, models.chat())


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

    The folder that a job left half made is made anew. To cancel this cancels the runs in flight, which leave no
    row; to call it again with the same folder goes on.

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
    waiting = (job for job in jobs if not ledger.has(job))
    running: dict[asyncio.Task[Run], Going] = {}
    doubts, graph = Doubts(concurrency), build_graph()
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
                task = asyncio.create_task(_run(job, cast, graph, folder, on_event))
                running[task] = Going(job, folder, started)
            if not running:
                break
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                for sure in doubts.settle(running.pop(task).ended(task, started)):
                    note(sure)
        for sure in doubts.rest():
            note(sure)
    finally:
        await _cancel(running)


async def _run(job: Job, cast: Cast, graph: Graph, folder: Path, on_event: Callable[[Event], object] | None) -> Run:
    """One job in its own folder, over the roles of all."""
    check_prompt(job.prompt)
    _remove(folder)  # an earlier start may have left it half made: its row is missing
    with claimed(folder) as store:
        concepts = await cast.decomposer.decompose(job.prompt)
        with EventLog(store.path("events.jsonl")) as log:
            emit = emitter(log, on_event)
            emit(
                RunStarted(run=job.folder, prompt=job.prompt, seed=job.seed, policy=repr(job.policy), budget=job.budget)
            )
            context = Context(
                decomposer=AlreadyDecomposed(concepts, model_name(cast.decomposer)),
                diffusion=cast.diffusion,
                critic=cast.critic,
                policy=job.policy,
                store=store,
                budget=job.budget,
                chat=cast.chat,
            )
            write_manifest(job.folder, job.prompt, job.seed, cast.loaded, context)
            return await complete(graph, job.folder, job.prompt, job.seed, context, emit)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


async def _cancel(tasks: Iterable[asyncio.Task[Run]]) -> None:
    """Cancel them and wait until they have put their folders in order."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
