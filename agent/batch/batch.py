"""Runs a batch of prompts side by side over one set of models, and writes a row for each."""

import asyncio
import shutil
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol, runtime_checkable

from ...state import Budget
from ...tools.blocking import blocking
from ...tools.data.reader import STDIN, shown, stem
from ...tools.errors import ModelError, NoAnswerError, SettingsError, disk_is_full, typed
from ...tools.files import Store
from ...tools.roles import Critic, Decomposer, Diffusion, ready
from ...tools.text import check_prompt
from ..graph.checkpoints import CACHE, TaskCache
from ..policies import PolicySpec, policy_name
from ..records.events import Event, read_events
from ..records.manifest import Manifest, read_manifest
from ..records.reader import EVENTS, Run
from ..records.rows import RESULTS, Progress, Row, Tally, read_rows
from ..runs.folder import finished_run, manifest_of, new_folder, new_run_id, old_folder
from ..runs.run import policy_of, resolve_settings
from ..runs.session import Session
from ..settings.loading import Given, Loaded
from ..settings.models import Models
from .folder import BatchManifest, Ledger, batch_folder, note_models, require_models
from .jobs import Job, Prompts, Spool, folder_name, read_requests

MOST_AT_ONCE = 10_000
"""Runs in flight, at most."""
RUNS = "runs"
"""Folder of the run folders, beside ``results.jsonl``."""

OnRow = Callable[[Row], object]
"""Called with each row once it is on disk."""


@dataclass(frozen=True)
class Batch:
    """A batch of which every prompt has a row."""

    folder: Path
    tally: Tally
    """Of all rows."""

    @property
    def results(self) -> Path:
        """The file of rows, one JSON object a line."""
        return self.folder / RESULTS

    def rows(self) -> Iterator[Row]:
        """The rows, read from disk, in the order in which their runs ended."""
        return read_rows(self.folder)


@runtime_checkable
class JobRunner(Protocol):
    """Runs jobs on other processes or machines, such as ``Cluster``."""

    async def run_jobs(self, *args: Any, **options: Any) -> None: ...


@typed
async def arun_batch(
    prompts: Prompts,
    *,
    settings: Given | None = None,
    # how each run decides, unless its prompt says otherwise
    policy: PolicySpec | None = None,
    policy_args: Mapping[str, object] | None = None,
    seed: int | None = None,
    budget: Budget | Mapping[str, object] | None = None,
    # what they work with
    preset: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    concurrency: int = 16,
    cluster: JobRunner | None = None,
    # where its files go
    out: Path | str | None = None,
    keep_runs: bool = True,
    retry_failed: bool = False,
    on_event: Callable[[Event], object] | None = None,
    on_progress: Callable[[Progress, Row | None], object] | None = None,
) -> Batch:
    """Run many prompts side by side over one set of models; each gets a row and a run folder.

    All prompts are read and checked before anything is spent. Started again with the same folder and settings, the
    batch continues: prompts that have a row are skipped. Per prompt, only the name of its folder is kept in memory.
    Equal images are drawn once, and equal questions to a model are asked once.

    Arguments that are not listed are those of ``arun``.

    Args:
        prompts: A file, a URL or ``-``; or the prompts themselves.
        concurrency: Runs in flight; on a cluster, per replica.
        cluster: Where to run, if not in this process. ``Cluster.roles`` then makes the roles, and ``on_event`` is not
            called.
        out: The folder; by default ``runs/`` and the name of the file.
        keep_runs: Whether to keep run folders, or only rows.
        retry_failed: Run prompts again that failed in an earlier start, or had checks without an answer. Images that
            exist are not drawn again.
        on_progress: Called once without a row before the first run, then with each row.

    Raises:
        DetailScribeError: the user can mend it. A prompt that fails by itself becomes a failed row instead.
    """
    check_concurrency(concurrency)
    if cluster is not None and (decomposer, diffusion, critic) != (None, None, None):
        raise SettingsError("roles that are here cannot be on a cluster: name what makes them, with Cluster(roles=...)")
    given = {"seed": seed, "preset": preset, "steps": steps, "guidance": guidance, "out": out}
    loaded = resolve_settings(settings, policy, policy_args, budget, diffusion, **given)
    chosen = loaded.settings.run
    judge = policy_of(policy, chosen)
    source = str(prompts) if isinstance(prompts, (str, Path)) else None
    manifest = BatchManifest(source=source and shown(source), settings=loaded.settings, policy=policy_name(judge))
    with TemporaryFile() as file:
        jobs, folder = Spool(file, read_requests(prompts), judge, loaded.settings), chosen.out or default_folder(source)
        with batch_folder(folder, manifest, forget_failed=retry_failed) as ledger:
            progress = Progress(folder, len(jobs), sum(not ledger.has(job) for job in jobs), ledger.tally)
            models = None

            def report(row: Row | None) -> None:
                if models is not None and row is not None and row.status == "done":
                    note_models(folder, models.names)
                if on_progress is not None:
                    on_progress(progress, row)

            report(None)
            how: dict[str, Any] = {"concurrency": concurrency, "keep_runs": keep_runs, "on_row": report}
            if progress.left and cluster is not None:
                ledger.plan(jobs)
                await cluster.run_jobs(jobs, loaded, ledger, note_models=partial(note_models, folder), **how)
            elif progress.left:
                models = Models(loaded.settings, decomposer=decomposer, diffusion=diffusion, critic=critic)
                await models.check()
                await require_models(folder, models)
                ledger.plan(jobs)
                with closing(TaskCache(folder / CACHE)) as cache:
                    own: dict[str, Any] = {"cache": cache, "shared": folder / RUNS, "on_event": on_event}
                    perform = partial(run_job, loaded=loaded, models=models, **own)
                    await perform_jobs(jobs, perform, ledger, **how)
    return Batch(folder, ledger.tally)


run_batch = blocking(arun_batch)


def check_concurrency(concurrency: int) -> None:
    """Refuse an impossible number of runs in flight."""
    if not 1 <= concurrency <= MOST_AT_ONCE:
        raise SettingsError(f"the concurrency of {concurrency} should be between 1 and {MOST_AT_ONCE}")


def default_folder(source: str | None) -> Path:
    """``runs/`` and the name of the file, or a new name for prompts without a file."""
    return Path("runs") / (new_run_id("batch") if source in (None, STDIN) else folder_name(stem(source)))


async def run_job(
    job: Job,
    folder: Path,
    loaded: Loaded,
    models: Models,
    *,
    cache: TaskCache | None = None,
    shared: Path | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> Run:
    """Run a job to its end, and reuse what an earlier start of the same job wrote into the folder. The cache, which
    holds the results of all runs of the batch, replaces checkpoints."""
    check_prompt(job.prompt)
    own = loaded.settings.run.model_copy(update={"seed": job.seed, "budget": job.budget, "checkpoints": "off"})
    settings = loaded.settings.model_copy(update={"run": own})
    manifest = manifest_of(job.folder, job.prompt, job.seed, job.policy, loaded, settings=settings)
    with await _job_folder(folder, manifest, models) as store:
        finished = finished_run(folder)
        if finished is not None and finished.result.is_heard:
            return finished
        return await Session(store, manifest, models, job.policy, cache=cache, shared=shared, on_event=on_event).run()


async def _job_folder(folder: Path, manifest: Manifest, models: Models) -> AbstractContextManager[Store]:
    """The run folder, with what the same job wrote there with the same models; anything else in it is removed."""
    before = None
    with suppress(SettingsError):  # its files cannot be read
        if (folder / EVENTS).exists():
            read_events(folder / EVENTS)
        before = read_manifest(folder)
    if before is not None:
        for role in before.models:
            await ready(getattr(models, role))
        if _identity(before) == _identity(manifest) and before.models.items() <= models.names.items():
            return old_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return new_folder(folder)


def _identity(manifest: Manifest) -> tuple[object, ...]:
    settings = manifest.settings.run
    return manifest.prompt, manifest.seed, manifest.policy, settings.budget, manifest.state_version


@dataclass(eq=False)
class RemoteFailure(Exception):
    """The error of a job in another process, as far as it can be pickled."""

    kind: str
    """Name of the class of the original error."""
    message: str
    no_reply: bool = False
    """As in the original error."""

    def __str__(self) -> str:
        return self.message


def row_of(job: Job, folder: Path, root: Path, seconds: float, outcome: Run | BaseException) -> Row:
    """The row of a job whose run in ``folder`` has ended; ``root`` is the folder of the rows."""
    fields: dict[str, Any] = {name: getattr(job, name) for name in ("id", "prompt", "seed", "budget")}
    fields |= {"policy": policy_name(job.policy), "tags": dict(job.tags), "seconds": seconds}
    fields["run"] = folder.relative_to(root).as_posix() if isinstance(outcome, Run) or folder.is_dir() else None
    if isinstance(outcome, BaseException):
        message = str(outcome).encode(errors="replace").decode()  # it may quote characters that no file can hold
        kind = outcome.kind if isinstance(outcome, RemoteFailure) else type(outcome).__name__
        if isinstance(outcome, NoAnswerError):
            fields |= {"unheard": outcome.unheard, "unknown_because": outcome.reason}
        return Row(status="failed", error=kind, message=" ".join(message.split()), **fields)
    best = outcome.best
    unknown = [v for v in best.critique.verdicts if v.answer == "unknown"]
    unheard = [v for critique in outcome.result.critiques for v in critique.unheard]
    reasons = dict.fromkeys(" ".join((v.reason or "").split()) for v in (*unknown, *unheard))
    return Row(
        status="done",
        best=best.path.relative_to(root).as_posix(),
        passed=best.critique.passed,
        checks=len(best.critique.verdicts),
        unknown=len(unknown),
        unheard=len(unheard),
        unknown_because="; ".join(reasons) or None,
        stop=outcome.stop,
        spend=outcome.spend,
        **fields,
    )


class Suspects:
    """Holds back the rows of failed jobs whose errors may concern all jobs.

    A ``ModelError`` means that a model cannot be used, and some other errors that a server did not reply; but a single
    prompt may cause the same error. If a job that began later succeeds, the model works, and the error was the job's
    own. If more rows are held than jobs run side by side, or no job at all succeeds, the first of the errors is
    raised; held jobs get no row then, so that they run again once the model works.
    """

    def __init__(self, concurrency: int) -> None:
        self._limit = concurrency
        self._held: list[tuple[Row, BaseException, int]] = []
        """The last is how many jobs had begun when it ended."""
        self._any_done = False

    def cleared(self, row: Row, outcome: Run | BaseException, number: int, begun: int) -> list[Row]:
        """The rows that are certain now that the ``number``-th job has ended, when ``begun`` had begun; raises its
        error if no job can go on."""
        if not isinstance(outcome, BaseException):
            self._any_done = True
            certain = [held for held, _, until in self._held if until < number]
            self._held = [held for held in self._held if held[2] >= number]
            return [*certain, row]
        if disk_is_full(outcome):
            raise outcome
        if not isinstance(outcome, ModelError) and not getattr(outcome, "no_reply", False):
            return [row]
        self._held.append((row, outcome, begun))
        if len(self._held) > self._limit:
            raise outcome
        return []

    def rest(self) -> list[Row]:
        """The rows still held when all jobs have ended; raises the first error if no job succeeded."""
        if self._held and not self._any_done:
            raise self._held[0][1]
        return [row for row, _, _ in self._held]


async def perform_jobs(
    jobs: Iterable[Job],
    perform: Callable[[Job, Path], Coroutine[Any, Any, Run]],
    ledger: Ledger,
    *,
    concurrency: int,
    keep_runs: bool = True,
    on_row: OnRow | None = None,
) -> None:
    """Run every job without a row by ``perform``, in its folder; a failed run gets a row, too. Jobs, whose ids and
    folders differ, are taken from ``jobs`` when there is room. Cancelling this cancels the runs in flight, which get no
    row; another call continues them. Raises a ``ModelError`` if no job can use a model; see ``Suspects``."""
    waiting = (job for job in jobs if not ledger.has(job))
    running: dict[asyncio.Task[Run], tuple[Job, Path, int, float]] = {}
    done: asyncio.Queue[asyncio.Task[Run]] = asyncio.Queue()  # asyncio.wait would be slow for thousands of tasks
    suspects, begun = Suspects(concurrency), 0

    def note(row: Row) -> None:
        ledger.append(row)
        if not keep_runs and row.run is not None:
            shutil.rmtree(ledger.root / row.run)
        if on_row is not None:
            on_row(row)

    try:
        while True:
            for job in islice(waiting, concurrency - len(running)):
                begun += 1
                folder = Store(ledger.root).path(f"{RUNS}/{job.folder}")
                task = asyncio.create_task(perform(job, folder))
                running[task] = job, folder, begun, time.monotonic()
                task.add_done_callback(done.put_nowait)
            if not running:
                break
            task = await done.get()
            job, folder, number, began = running.pop(task)
            if task.cancelled():
                outcome: Run | BaseException = asyncio.CancelledError("it was cancelled from within")
            else:
                outcome = task.exception() or task.result()
            row = row_of(job, folder, ledger.root, time.monotonic() - began, outcome)
            for certain in suspects.cleared(row, outcome, number, begun):
                note(certain)
        for certain in suspects.rest():
            note(certain)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
