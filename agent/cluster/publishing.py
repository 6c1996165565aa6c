"""Run folders on any store of fsspec: one that holds ``result.json`` is complete, and any other does not count."""

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ...tools.errors import SettingsError
from ...tools.store import PARTIAL, Store
from ..batch.folder import MANIFEST as BATCH
from ..batch.folder import BatchManifest, refuse_difference
from ..batch.sources import display
from ..runs.locking import LOCK
from ..traces.reader import EVENTS, MANIFEST, RESULT

T = TypeVar("T")
ATTEMPTS = 5
"""Of one file, where the store fails."""
TOLD = (MANIFEST, EVENTS, RESULT)
"""Files by which a finished run is known again."""


class RunStore:
    """A folder of run folders under a URL.

    Raises:
        SettingsError: nothing can be stored there.
    """

    def __init__(self, url: str) -> None:
        import fsspec  # pyright: ignore[reportMissingTypeStubs]

        self.name = display(url)
        try:
            self._files, self._root = _resolved(fsspec, url)
        except (ImportError, ValueError, OSError) as error:
            raise SettingsError(f"cannot store runs at {self.name}: {error}") from error

    def publish(self, folder: Path, name: str) -> None:
        """Put a finished run there under a name; what lay there before goes first, and ``result.json`` comes last.

        Raises:
            SettingsError: the store does not take it.
        """
        self._tried(lambda: self._remove(name))
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_passing(path)]
        for path in sorted(paths, key=lambda path: path == folder / RESULT):
            self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def fetch(self, name: str, folder: Path) -> bytes | None:
        """Bring what a finished run tells of itself into a folder; its ``result.json``, or None if none is finished.

        Raises:
            SettingsError: the store cannot be read.
        """
        result = self.read(f"{name}/{RESULT}")
        if result is None:
            return None
        store = Store(folder)
        for told in TOLD:
            if (data := self.read(f"{name}/{told}")) is not None:
                store.write(told, data)
        return result

    def put(self, reference: str, data: bytes) -> None:
        """Write one file; ``SettingsError`` if that cannot be."""
        path = self._path(reference)

        def put() -> None:
            self._files.makedirs(posixpath.dirname(path), exist_ok=True)
            self._files.pipe_file(path, data)

        self._tried(put)

    def read(self, reference: str) -> bytes | None:
        """The bytes of a file; None if there is none; ``SettingsError`` if that cannot be told."""

        def read() -> bytes | None:
            try:
                return self._files.cat_file(self._path(reference))
            except FileNotFoundError:
                return None

        return self._tried(read)

    def _remove(self, name: str) -> None:
        path = self._path(name)
        if self._files.exists(path):
            if self._files.exists(f"{path}/{RESULT}"):  # first of all, as it makes the folder count
                self._files.rm_file(f"{path}/{RESULT}")
            self._files.rm(path, recursive=True)

    def _path(self, reference: str) -> str:
        return f"{self._root}/{reference}"

    def _tried(self, work: Callable[[], T]) -> T:
        again = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            retry=retry_if_exception_type(OSError),
            reraise=True,
        )
        try:
            return again(work)
        except Exception as error:  # each of its file systems raises errors of its own
            raise SettingsError(f"cannot use the store {self.name}: {error}") from error


def begin_store(store: RunStore, manifest: BatchManifest) -> None:
    """Leave in the store what the batch is made with, unless it is there.

    Raises:
        SettingsError: the store holds another batch, or cannot be used.
    """
    there = store.read(BATCH)
    if there is None:
        store.put(BATCH, manifest.model_dump_json(indent=2).encode())
        return
    try:
        before = BatchManifest.model_validate_json(there)
    except ValueError as error:
        raise SettingsError(f"the {BATCH} in {store.name} is of another version: name another --store") from error
    refuse_difference(store.name, before.facts(), manifest.facts())


def _resolved(fsspec: Any, url: str) -> tuple[Any, str]:
    files, root = fsspec.core.url_to_fs(url)
    return files, str(root).rstrip("/")


def _is_passing(path: Path) -> bool:
    return path.name == LOCK or path.match(PARTIAL)
