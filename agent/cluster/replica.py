"""One replica: a process with one set of models and the graph, in which runs go side by side."""

import asyncio
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...tools.cluster.turns import shared_limiter
from ...tools.errors import SettingsError
from ...tools.language.limits import limited_by
from ..batch.cast import Cast, cast_of
from ..batch.folder import MANIFEST
from ..batch.jobs import Job
from ..batch.running import run_job
from ..graph.graph import build_graph
from ..roles import Roles
from ..runs.locking import FolderInUse
from ..settings import Loaded, Settings
from .answers import About, Answer, failure_of
from .homes import Home, published
from .publishing import RunStore

_LOOK_AGAIN = 0.5
"""Seconds between two looks whether a run folder has become free."""
PATIENCE = 600.0
"""Seconds to wait for a run folder that a replica believed lost is still at work in."""


@dataclass(frozen=True)
class Origin:
    """What a replica takes from the process that started the batch."""

    loaded: Loaded
    roles: Callable[[Settings], Roles] | None
    home: Home
    threads: int
    folder: str
    """The working directory, where models and policies may be named relative to it."""
    command: tuple[str, ...]
    """Arguments of that process, for the manifests."""
    turns: str | None
    """Name of the actor that hands out turns to call a chat model; None where no rate is set."""


class Replica:
    """The actor. Models are loaded by the first call that needs them, so that what goes wrong is told as it is."""

    def __init__(self, origin: Origin) -> None:
        if Path(origin.folder).is_dir():
            os.chdir(origin.folder)
            sys.path.append(origin.folder)
        sys.argv = list(origin.command)
        os.environ["OMP_NUM_THREADS"] = str(origin.threads)  # read once torch is imported
        self._origin = origin
        self._graph = build_graph()
        self._cast: asyncio.Task[Cast] | None = None
        self._runs: set[asyncio.Task[Any]] = set()

    async def ready(self) -> About:
        """Load the models, if they are not there.

        Raises:
            DetailScribeError: they cannot be used, or the folder of the batch is not there.
        """
        home = self._origin.home
        if home.url is None and not (home.root / MANIFEST).is_file():
            raise SettingsError(
                f"{platform.node()} does not see the folder {home.root}: name one that all machines share, or --store"
            )
        cast = await self._loaded()
        return About(cast.models, platform.node(), os.getpid())

    async def run(self, job: Job) -> Answer:
        """Run a job to its end; what it raises is an answer, too."""
        task = asyncio.create_task(self._run(job))
        self._runs.add(task)
        try:
            return await task
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            return failure_of(error)
        finally:
            self._runs.discard(task)

    async def stop(self) -> None:
        """Cancel the runs in flight and wait until they have put their folders in order."""
        for task in self._runs:
            task.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)

    async def _run(self, job: Job) -> Answer:
        cast, home = await self._loaded(), self._origin.home
        folder, began = home.folder(job), time.monotonic()
        while True:
            try:
                return await self._run_in(folder, job, cast, home)
            except FolderInUse:
                if time.monotonic() - began > PATIENCE:
                    raise
                await asyncio.sleep(_LOOK_AGAIN)

    async def _run_in(self, folder: Path, job: Job, cast: Cast, home: Home) -> Answer:
        if home.url is None:
            return (await run_job(job, cast, self._graph, folder)).result
        store = await asyncio.to_thread(RunStore, home.url)
        return await published(store, job, folder, lambda: run_job(job, cast, self._graph, folder))

    def _loaded(self) -> "asyncio.Task[Cast]":
        if self._cast is None or (self._cast.done() and self._cast.exception()):
            self._cast = asyncio.create_task(self._load())
        return self._cast

    async def _load(self) -> Cast:
        origin = self._origin
        turns = origin.turns
        with nullcontext() if turns is None else limited_by(lambda settings: shared_limiter(turns, settings)):
            if origin.roles is None:
                return await cast_of(origin.loaded)
            roles = origin.roles(origin.loaded.settings)
            cast = await cast_of(origin.loaded, roles.decomposer(), roles.diffusion(), roles.critic())
            return replace(cast, chat=roles.chat())
