"""Where run folders lie while their runs go on, and afterwards."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...state import RunResult
from ..batch.jobs import Job, digest
from ..batch.many import RUNS
from ..runs.outcome import Run
from .publishing import RunStore


@dataclass(frozen=True)
class Home:
    """Of the run folders of a batch."""

    root: Path
    """Of the batch; absolute."""
    url: str | None
    """Of the store that finished runs go to; None: they stay beside the rows."""

    def folder(self, job: Job) -> Path:
        """Where the job's run goes on, on this machine; the same after a restart."""
        return (self.root / RUNS if self.url is None else self._scratch(self.url)) / job.folder

    def _scratch(self, url: str) -> Path:
        return Path(tempfile.gettempdir()) / f"detailscribe-{_user()}" / digest(url)


async def published(store: RunStore, job: Job, folder: Path, run: Callable[[], Awaitable[Run]]) -> RunResult:
    """The result of a run whose folder is in the store when this returns; one that is there is not run again.

    ``folder`` is gone then, unless the run was cancelled; in it, it goes on.
    """
    name = f"{RUNS}/{job.folder}"
    there = await asyncio.to_thread(store.fetch, name, folder)
    try:
        result = (await run()).result
        if there is None or RunResult.model_validate_json(there) != result:
            await asyncio.to_thread(store.publish, folder, name)
    except Exception:
        _remove(folder)
        raise
    _remove(folder)
    return result


def _user() -> int:
    """By number, since in containers it may have no name."""
    return getattr(os, "getuid", lambda: 0)()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # another run is in it
        folder.parent.rmdir()
