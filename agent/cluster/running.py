"""The runs of a batch on a Ray cluster; rows are written here, by the one process that started the batch."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...tools.cluster.claiming import claimed_name
from ...tools.cluster.joining import joined
from ...tools.cluster.turns import started_turns
from ...tools.errors import SettingsError
from ..batch.folder import read_manifest
from ..batch.jobs import Job, digest
from ..batch.ledger import RESULTS, Ledger
from ..batch.many import perform_many
from ..batch.outcomes import FailedElsewhere
from ..batch.rows import Row
from ..batch.sources import display
from ..runs.outcome import Run
from ..settings import Loaded
from .answers import About, Answer, Failure
from .homes import Home
from .pool import Member, Pool
from .publishing import RunStore, begin_store
from .replica import Origin, Replica
from .tending import RESTARTS, Tending
from .wish import Cluster, Share, share_of

TRIES = 3
"""Replicas that one prompt may lose; the last one it has alone, so that it is not failed for what another did."""
ORDERLY = 5.0
"""Seconds in which runs in flight put their folders in order at an end that is none of theirs."""


async def run_on_cluster(
    jobs: Iterable[Job],
    cluster: Cluster,
    loaded: Loaded,
    ledger: Ledger,
    *,
    concurrency: int,
    keep_runs: bool,
    note_models: Callable[[dict[str, str]], None],
    on_row: Callable[[Row], object],
) -> None:
    """As ``run_many``, with ``concurrency`` runs in flight on each replica, and no more tasks than these.

    Args:
        jobs: See ``run_many``.
        cluster: Where, and on how many replicas.
        loaded: What each replica makes its models of.
        ledger: Written by this process alone.
        concurrency: Runs in flight on each replica.
        keep_runs: See ``run_many``.
        note_models: Called with the models of each replica that is ready; raises where they are others.
        on_row: See ``run_many``.

    Raises:
        DetailScribeError: the cluster cannot be joined, or no replica can work.
    """
    home, store = _home(cluster, ledger.root, keep_runs)
    local = int(cluster.replicas * (cluster.cpus_per_replica or 1))
    with joined(cluster.address, max(local, os.cpu_count() or 1), cluster.news) as ray:
        async with _performing(ray, cluster, loaded, home, concurrency, note_models) as perform:
            work = perform_many(
                jobs,
                perform,
                ledger,
                concurrency=concurrency * cluster.replicas,
                keep_runs=keep_runs,
                on_row=on_row,
            )
            await _unless(perform.pool.failed, work)
    if store is not None:
        store.put(RESULTS, (ledger.root / RESULTS).read_bytes())


async def _unless(failed: asyncio.Future[None], work: Coroutine[Any, Any, None]) -> None:
    """Do the work; where ``failed`` comes first, end it and raise what that has."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, failed}, return_when=asyncio.FIRST_COMPLETED)
        await (task if task.done() else failed)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _home(cluster: Cluster, root: Path, keep_runs: bool) -> tuple[Home, RunStore | None]:
    """Where runs go on, and the store that they go to, which has this batch and no other."""
    if cluster.store is None:
        return Home(root.resolve(), None), None
    if not keep_runs:
        raise SettingsError("--store is where run folders are kept, and --no-runs keeps none: leave out one of them")
    store, manifest = RunStore(cluster.store), read_manifest(root)
    if manifest is not None:
        begin_store(store, manifest)
    return Home(root.resolve(), cluster.store), store


@asynccontextmanager
async def _performing(
    ray: Any,
    cluster: Cluster,
    loaded: Loaded,
    home: Home,
    places: int,
    note_models: Callable[[dict[str, str]], None],
) -> AsyncGenerator["Performer"]:
    """What performs a job on some replica; at the end nothing of it is left on the cluster."""
    there = ray.cluster_resources()
    share = share_of(cluster, there.get("CPU", 0), there.get("GPU", 0))
    limited = loaded.settings.chat.requests_per_minute is not None
    pool = Pool([Member(number, None) for number in range(1, cluster.replicas + 1)], places)
    with _alone(ray, home), started_turns(ray) if limited else nullcontext() as turns:
        origin = Origin(loaded, cluster.roles, home, share.threads, os.getcwd(), tuple(sys.argv), turns)

        def make() -> Any:
            return _start_replica(ray, share, places, origin)

        def check(about: About) -> None:
            note_models(about.models)

        tending = Tending(ray, pool, make, check, cluster.news)
        try:
            tending.start()
            yield Performer(ray, pool, tending)
        finally:
            await tending.end(ORDERLY)


def _alone(ray: Any, home: Home) -> AbstractContextManager[None]:
    """No other batch of the cluster goes to the same store; a folder is locked by the rows."""
    if home.url is None:
        return nullcontext()
    return claimed_name(ray, f"batch-{digest(home.url)}", f"the store {display(home.url)}")


def _start_replica(ray: Any, share: Share, places: int, origin: Origin) -> Any:
    options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_restarts": RESTARTS, "max_task_retries": 0}
    beside = 2  # calls of `ready` and `stop`, which must not wait for runs
    return ray.remote(**options, max_concurrency=places + beside)(Replica).remote(origin)


@dataclass(frozen=True)
class Performer:
    """Performs jobs on replicas."""

    ray: Any
    pool: Pool
    tending: Tending

    async def __call__(self, job: Job, folder: Path) -> Run:
        """Run a job on some replica; where that is lost, on another one.

        Raises:
            Exception: what the run raised, in words.
        """
        for lost in range(TRIES):
            async with self.pool.place(alone=lost == TRIES - 1) as member:
                answer = await self._asked(member, job)
            if isinstance(answer, Failure):
                raise answer.raised()
            if answer is not None:
                return Run(answer, folder)
        raise FailedElsewhere(
            "ReplicaLost", f"{TRIES} replicas were lost while they ran it, the last with nothing else"
        )

    async def _asked(self, member: Member, job: Job) -> Answer | None:
        """What a replica answers; None if it was lost."""
        try:
            answer: Answer = await member.handle.run.remote(job)
        except self.ray.exceptions.RayTaskError as error:
            return Failure(type(error.cause).__name__, str(error.cause), of_model=False)
        except self.ray.exceptions.RayError as error:
            await self.tending.lost(member, error)
            return None
        member.ended += 1
        return answer
