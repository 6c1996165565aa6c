"""Runs a batch on a Ray cluster; the process that started the batch writes the rows."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...tools.cluster import joined, shared_turns
from ...tools.data.reader import shown
from ...tools.errors import DetailScribeError, ModelError, SettingsError
from ...tools.text import brief
from ..records.reader import Run
from ..records.rows import RESULTS, digest
from ..settings.loading import Loaded
from ..settings.models import Models
from ..settings.settings import Settings
from .batch import MOST_AT_ONCE, OnRow, RemoteFailure, perform_jobs
from .folder import Ledger, read_manifest
from .jobs import Job
from .replica import Replica, RunStore

TRIES = 3
"""Replicas that one prompt may crash. On the last it runs alone, so that another prompt's crash does not count."""
RESTARTS = 3
"""How often Ray restarts a crashed replica before it is given up, or replaced if any of its runs returned; Ray does not
count the loss of a machine."""
STOP_TIMEOUT = 5.0
"""Seconds for runs in flight to leave their folders resumable when the batch ends early."""

NoteModels = Callable[[Mapping[str, str]], None]
"""Called with the names of a replica's models by role; raises if they differ from those of the batch."""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster and a batch's replicas on it: processes with models of their own."""

    address: str = "auto"
    """``auto`` for the cluster that runs here, or else a new one on this machine; ``local`` for a new one on this
    machine; or ``host:port``. A cluster that is started ends with the batch."""
    replicas: int = 1
    """Number of processes; those without room join when the cluster has room."""
    gpus_per_replica: float | None = None
    """None: 1 if the cluster has GPUs, else 0."""
    cpus_per_replica: float | None = None
    """Also its number of threads. None: an equal share of the cluster's CPUs, at least 1."""
    store: str | None = None
    """URL of fsspec to which finished run folders are copied. None: they are beside the rows, in a folder that all
    machines share."""
    roles: Callable[[Settings], Models] | None = None
    """Makes the models in each replica, instead of those that the settings name."""
    news: Callable[[str], object] = lambda line: None
    """Called with a line about each change of the cluster or its replicas."""

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= MOST_AT_ONCE:
            raise SettingsError(f"{self.replicas} replicas should be between 1 and {MOST_AT_ONCE}")
        for name in ("gpus_per_replica", "cpus_per_replica"):
            share: float | None = getattr(self, name)
            if share is not None and share < 0:
                raise SettingsError(f"{name} of {share} should be at least 0")

    async def run_jobs(
        self,
        jobs: Iterable[Job],
        loaded: Loaded,
        ledger: Ledger,
        *,
        concurrency: int,
        keep_runs: bool,
        note_models: NoteModels,
        on_row: OnRow,
    ) -> None:
        """Run every job without a row, as ``perform_jobs``, with ``concurrency`` runs in flight per replica."""
        store = None
        if self.store is not None:
            if not keep_runs:
                raise SettingsError("--store keeps run folders, and --no-runs keeps none: leave out one of them")
            store = RunStore(self.store)
            store.begin(read_manifest(ledger.root))
        limited = loaded.settings.chat.requests_per_minute is not None
        # The name of the actor keeps two drivers of a cluster from using one store; the ledger locks the folder.
        name = f"batch-{uuid4().hex if self.store is None else digest(self.store)}"
        what = f"the store {shown(self.store or '')}"
        local = max(int(self.replicas * (self.cpus_per_replica or 1)), os.cpu_count() or 1)
        with joined(self.address, local, self.news) as ray:
            resources = ray.cluster_resources()
            cpus, gpus = self.share(resources.get("CPU", 0), resources.get("GPU", 0))
            with shared_turns(ray, name, what) if limited or store is not None else nullcontext():
                calls = concurrency + 2  # `ready` and `stop` must not wait for runs
                options = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": calls}
                actor = ray.remote(**options, max_restarts=RESTARTS, max_task_retries=0)(Replica)
                driver = {"loaded": loaded, "working_folder": os.getcwd(), "command": tuple(sys.argv)}
                place = {"root": ledger.root.resolve(), "store": self.store, "threads": max(1, int(cpus))}
                turns = name if limited else None
                start = partial(actor.remote, make_models=self.roles or Models, turns=turns, **driver, **place)
                workers = Workers(ray, self, start, concurrency, note_models)
                how: dict[str, Any] = {"concurrency": concurrency * self.replicas, "keep_runs": keep_runs}
                await workers.serve(perform_jobs(jobs, workers.perform, ledger, on_row=on_row, **how))
        if store is not None:
            store.put(RESULTS, (ledger.root / RESULTS).read_bytes())

    def share(self, cpus: float, gpus: float) -> tuple[float, float]:
        """The CPUs and GPUs of each replica, on a cluster with ``cpus`` and ``gpus``; ``SettingsError`` if no replica
        fits."""
        own_cpus, own_gpus = self.cpus_per_replica, self.gpus_per_replica
        own_cpus = max(1, cpus // self.replicas) if own_cpus is None else own_cpus
        own_gpus = float(gpus > 0) if own_gpus is None else own_gpus
        if own_cpus > cpus or own_gpus > gpus:
            raise SettingsError(
                f"a replica with {own_cpus:g} CPUs and {own_gpus:g} GPUs has no room in a cluster with {cpus:g} and"
                f" {gpus:g}: set --cpus-per-replica and --gpus-per-replica"
            )
        return own_cpus, own_gpus


@dataclass(eq=False)
class Worker:
    """A replica, as the driver sees it."""

    number: int
    actor: Any
    load: int = 0
    """Runs in flight."""
    is_up: bool = False
    """Whether it takes runs."""
    returned: int = 0
    """Runs that this actor returned."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it does not answer."""


class Workers:
    """The replicas of a cluster, which take up to ``places`` runs each while they are up; Ray restarts crashed ones."""

    def __init__(
        self, ray: Any, cluster: Cluster, start: Callable[[], Any], places: int, note_models: NoteModels
    ) -> None:
        self._ray, self._start, self._places = ray, start, places
        self._note_models, self._news = note_models, cluster.news
        self.workers = [Worker(number, start()) for number in range(1, cluster.replicas + 1)]
        self._usable = cluster.replicas
        self._changed = asyncio.Condition()
        self._first_in_line = asyncio.Lock()

    async def perform(self, job: Job, folder: Path) -> Run:
        """Run a job on a replica, and again on another if that crashes."""
        errors = self._ray.exceptions
        for crashes in range(TRIES):
            async with self.place(alone=crashes == TRIES - 1) as worker:
                try:
                    result = await worker.actor.run.remote(job)
                except errors.RayTaskError as error:
                    worker.returned += 1
                    raise error.cause from None
                except errors.RayError as error:
                    if worker.is_up:
                        worker.is_up = False
                        worker.lost.set()
                        self._news(f"replica {worker.number} was lost ({brief(str(error))})")
                    continue
                worker.returned += 1
                return Run(result, folder)
        raise RemoteFailure("ReplicaLost", f"{TRIES} replicas crashed while they ran it, the last with nothing else")

    @asynccontextmanager
    async def place(self, *, alone: bool = False) -> AsyncGenerator[Worker]:
        """A place on the replica with the fewest runs; with ``alone``, all places of an idle one."""
        size = self._places if alone else 1

        def free() -> list[Worker]:
            return [worker for worker in self.workers if worker.is_up and worker.load + size <= self._places]

        # One at a time: a run that needs an idle replica must not be overtaken by runs that need one place.
        async with self._first_in_line, self._changed:
            await self._changed.wait_for(free)
            worker = min(free(), key=lambda worker: worker.load)
            worker.load += size
        try:
            yield worker
        finally:
            worker.load -= size
            async with self._changed:
                self._changed.notify_all()

    async def serve(self, work: Coroutine[Any, Any, None]) -> None:
        """Keep the replicas up until ``work`` is done, then end them after runs in flight have left their folders
        resumable."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep_up(worker)) for worker in self.workers]
                await work
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            stops = [worker.actor.stop.remote() for worker in self.workers if worker.is_up]
            if stops:
                self._ray.wait(stops, num_returns=len(stops), timeout=STOP_TIMEOUT)
            for worker in self.workers:
                self._ray.kill(worker.actor)

    async def _keep_up(self, worker: Worker) -> None:
        """Let a replica take runs whenever it is ready; raises if it cannot work and is the last one."""
        errors = self._ray.exceptions
        while True:
            try:
                models, place = await worker.actor.ready.options(max_task_retries=-1).remote()
            except errors.ActorDiedError as error:
                if not worker.returned:
                    return self._give_up(error)
                worker.actor, worker.returned = self._start(), 0
            except errors.RayTaskError as error:
                return self._give_up(error.cause)
            except errors.RayError:
                await asyncio.sleep(0.5)
            else:
                self._note_models(models)
                self._news(f"replica {worker.number} is up on {place}")
                worker.lost.clear()
                async with self._changed:
                    worker.is_up = True
                    self._changed.notify_all()
                await worker.lost.wait()

    def _give_up(self, error: Exception) -> None:
        self._usable -= 1
        if not self._usable:
            if isinstance(error, DetailScribeError):
                raise error
            raise ModelError(f"no replica of the models can be started: {brief(str(error) or repr(error))}")
