"""One process at a time on a run folder."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...tools.errors import SettingsError

LOCK = ".lock"
"""Held by who works on the folder; a kill gives it back."""


class FolderInUse(SettingsError):
    """Another process works on the run folder."""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """The folder, which is there, to ourselves.

    Raises:
        FolderInUse: somebody else works on it.
        OSError: it cannot be written to.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FolderInUse(
            f"another process is working on the run folder {folder}: wait until it ends, or stop it first"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # whoever waits for it sees that it is gone, and makes a new one
            (folder / LOCK).unlink()
        lock.release()
