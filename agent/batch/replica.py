"""A replica, the process of a Ray cluster that runs jobs side by side over one set of models, and the store of finished
runs on any file system of fsspec."""

import asyncio
import os
import platform
import posixpath
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
    wait_random_exponential,
)

from ...state import RunResult
from ...tools.cluster import shared_limiter
from ...tools.data.reader import shown
from ...tools.errors import ModelError, SettingsError
from ...tools.files import PARTIAL, Store
from ...tools.language.wire import limited_by
from ...tools.roles import ready
from ...tools.text import said_by
from ..graph.checkpoints import CACHE
from ..records.manifest import MANIFEST
from ..records.reader import EVENTS, RESULT
from ..records.rows import digest
from ..runs.folder import LOCK, FolderInUse
from ..settings.loading import Loaded
from ..settings.models import Models
from ..settings.settings import Settings
from .batch import RUNS, RemoteFailure, run_job
from .folder import MANIFEST as BATCH
from .folder import BatchManifest
from .jobs import Job

T = TypeVar("T")
ATTEMPTS = 5
"""Tries to read or write one file of a store."""
PATIENCE = 600.0
"""Seconds to wait for a run folder in which a replica still works that is believed lost."""


class RunStore:
    """Run folders under a URL; a folder without ``result.json`` is incomplete and ignored."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.name, self._url = shown(url), url
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise SettingsError(f"cannot store runs at {self.name}: {said_by(error, url)}") from error
        self._root = str(root).rstrip("/")

    def begin(self, manifest: BatchManifest) -> None:
        """Write the manifest of the batch if the store is new; refuse a store that holds another batch."""
        if (stored := self.read(BATCH)) is None:
            return self.put(BATCH, manifest.model_dump_json(indent=2).encode())
        try:
            before = BatchManifest.model_validate_json(stored)
        except ValueError as error:
            raise SettingsError(f"the {BATCH} in {self.name} is of another version: name another --store") from error
        before.refuse_other(self.name, manifest)

    def publish(self, folder: Path, name: str) -> None:
        """Store a finished run under a name, in place of an earlier one; ``result.json`` is written last."""
        self._retried(lambda: self._remove(name))
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in sorted(paths, key=lambda path: path == folder / RESULT):
            if path.name != LOCK and not path.match(PARTIAL):
                self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def fetch(self, name: str, folder: Path) -> RunResult | None:
        """Copy the records of a finished run into ``folder``, and its images and cache if a check had no answer; its
        result, or None if there is no such run."""
        if (data := self.read(f"{name}/{RESULT}")) is None:
            return None
        result, files = RunResult.model_validate_json(data), [MANIFEST, EVENTS, RESULT]
        if not result.is_heard and not (folder / CACHE).exists():  # one that is there is of a later, unfinished retry
            files += [*(file for image in result.images for file in image.files), CACHE]
        for file in files:
            if (data := self.read(f"{name}/{file}")) is not None:
                Store(folder).write(file, data)
        return result

    def put(self, reference: str, data: bytes) -> None:
        """Write one file."""
        path = f"{self._root}/{reference}"

        def put() -> None:
            self._files.makedirs(posixpath.dirname(path), exist_ok=True)
            self._files.pipe_file(path, data)

        self._retried(put)

    def read(self, reference: str) -> bytes | None:
        """The bytes of a file; None if there is none."""

        def read() -> bytes | None:
            with suppress(FileNotFoundError):
                return self._files.cat_file(f"{self._root}/{reference}")

        return self._retried(read)

    def _remove(self, name: str) -> None:
        for path in (f"{self._root}/{name}/{RESULT}", f"{self._root}/{name}"):  # without the result it is ignored
            if self._files.exists(path):
                self._files.rm(path, recursive=True)

    def _retried(self, work: Callable[[], T]) -> T:
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            retry=retry_if_exception_type(OSError),
            reraise=True,
        )
        try:
            return retrying(work)
        except Exception as error:  # each file system of fsspec has errors of its own
            raise SettingsError(f"cannot use the store {self.name}: {said_by(error, self._url)}") from error


def private_folder(name: str) -> Path:
    """A temporary folder that no other user can read, write, or have made; the same one for the same name."""
    folder = Path(tempfile.gettempdir()) / name
    with suppress(FileExistsError):
        folder.mkdir(mode=stat.S_IRWXU)
    status = folder.lstat()  # does not follow a link, which another user may have made
    owner: int = getattr(os, "getuid", lambda: -1)()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == owner and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return folder
    return Path(tempfile.mkdtemp(prefix="detailscribe-"))


@dataclass(eq=False, repr=False)
class Replica:
    """The actor. Its first call loads the models, so that the caller gets the error if that fails."""

    loaded: Loaded
    """The settings, with secrets."""
    make_models: Callable[[Settings], Models]
    root: Path
    """Absolute path of the batch's folder."""
    store: str | None
    """URL of the store for finished runs; None: run folders are in ``root``."""
    threads: int
    """OpenMP threads."""
    turns: str | None
    """Name of the ``Turns`` actor for calls of chat models; None if no rate is set."""
    working_folder: str
    """That of the driver, to which paths of models and policies may be relative."""
    command: tuple[str, ...]
    """The driver's arguments, for the manifests."""

    def __post_init__(self) -> None:
        if Path(self.working_folder).is_dir():
            os.chdir(self.working_folder)
            sys.path.append(self.working_folder)
        sys.argv = list(self.command)
        os.environ["OMP_NUM_THREADS"] = str(self.threads)  # read once torch is imported
        self._loading = asyncio.Lock()
        self._models: Models | None = None
        self._runs: set[asyncio.Task[RunResult]] = set()

    async def ready(self) -> tuple[dict[str, str], str]:
        """Load the models; return their names by role, and where this process runs."""
        if self.store is None and not (self.root / BATCH).is_file():
            raise SettingsError(
                f"{platform.node()} does not see the folder {self.root}: name one that all machines share, or --store"
            )
        models = await self._loaded()
        return models.names, f"{platform.node()}, process {os.getpid()}"

    async def run(self, job: Job) -> RunResult:
        """Run a job to its end; raises ``ModelError``, or ``RemoteFailure`` for any other error."""
        task = asyncio.create_task(self._run(job))
        self._runs.add(task)
        try:
            return await task
        except ModelError as error:
            raise ModelError(str(error)) from None
        except Exception as error:  # noqa: BLE001 - the driver may not have its class
            raise RemoteFailure(type(error).__name__, str(error), getattr(error, "no_reply", False)) from None
        finally:
            self._runs.discard(task)

    async def stop(self) -> None:
        """Cancel the runs in flight and wait until their folders can be resumed."""
        for task in self._runs:
            task.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        if self.store is not None:
            with suppress(OSError):  # another replica works in it, or a run in it can be resumed
                self._scratch.rmdir()

    async def _run(self, job: Job) -> RunResult:
        models = await self._loaded()
        if self.store is None:
            return await self._run_in(self.root / RUNS / job.folder, job, models)
        store = await asyncio.to_thread(RunStore, self.store)
        folder, name = self._scratch / job.folder, f"{RUNS}/{job.folder}"
        try:
            stored = await asyncio.to_thread(store.fetch, name, folder)
            result = await self._run_in(folder, job, models)
            if stored != result:
                await asyncio.to_thread(store.publish, folder, name)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)  # a cancelled run keeps its folder, to be resumed
        return result

    async def _run_in(self, folder: Path, job: Job, models: Models) -> RunResult:
        """Run a job in a folder, when no other process uses it. Its cache is in the folder as well, so that any replica
        can resume the run, or retry it if a check had no answer."""
        waiting = AsyncRetrying(
            retry=retry_if_exception_type(FolderInUse),
            stop=stop_after_delay(PATIENCE),
            wait=wait_fixed(0.5),
            reraise=True,
        )
        run = await waiting(run_job, job, folder, self.loaded, models)
        if run.result.is_heard:
            (folder / CACHE).unlink(missing_ok=True)
        return run.result

    @cached_property
    def _scratch(self) -> Path:
        """Where runs work until they are stored; the same after a restart."""
        return private_folder(f"detailscribe-{digest(f'{self.store} {self.root}')}")

    async def _loaded(self) -> Models:
        """The models, all of them loaded."""
        turns = self.turns
        async with self._loading:
            if self._models is None:
                with nullcontext() if turns is None else limited_by(partial(shared_limiter, turns)):
                    models = await asyncio.to_thread(self.make_models, self.loaded.settings)
                    _ = models.language, models.vision  # made here, so that they get this limiter
                    await models.check()
                    await asyncio.gather(ready(models.decomposer), ready(models.diffusion), ready(models.critic))
                self._models = models
            return self._models
