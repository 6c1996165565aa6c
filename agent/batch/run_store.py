"""Run folders on any store of fsspec: one that holds ``result.json`` is complete, and any other does not count."""

import os
import posixpath
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from ...tools.data.reader import shown
from ...tools.errors import SettingsError
from ...tools.files import PARTIAL, Store
from ...tools.text import said_by
from ..records.manifest import MANIFEST
from ..records.reader import EVENTS, RESULT
from ..runs.folder import LOCK
from .folder import MANIFEST as BATCH
from .folder import BatchManifest, refuse_difference

T = TypeVar("T")
ATTEMPTS = 5
"""To read or write one file, where the store fails."""


class RunStore:
    """A folder of run folders under a URL.

    Raises:
        SettingsError: nothing can be stored there.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.name, self._url = shown(url), url
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise SettingsError(f"cannot store runs at {self.name}: {said_by(error, url)}") from error
        self._root = str(root).rstrip("/")

    def begin(self, manifest: BatchManifest) -> None:
        """Write what the batch is made with, unless it is there.

        Raises:
            SettingsError: the store holds another batch, or cannot be used.
        """
        there = self.read(BATCH)
        if there is None:
            self.put(BATCH, manifest.model_dump_json(indent=2).encode())
            return
        try:
            before = BatchManifest.model_validate_json(there)
        except ValueError as error:
            raise SettingsError(f"the {BATCH} in {self.name} is of another version: name another --store") from error
        refuse_difference(self.name, before.facts(), manifest.facts())

    def publish(self, folder: Path, name: str) -> None:
        """Store a finished run under a name; an earlier one there is removed first, and ``result.json`` comes last.

        Raises:
            SettingsError: the store does not take it.
        """
        self._tried(lambda: self._remove(name))
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in sorted(paths, key=lambda path: path == folder / RESULT):
            if path.name != LOCK and not path.match(PARTIAL):
                self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def fetch(self, name: str, folder: Path) -> bytes | None:
        """The ``result.json`` of a finished run, whose records are copied into ``folder``; None if none is finished.

        Raises:
            SettingsError: the store cannot be read.
        """
        result = self.read(f"{name}/{RESULT}")
        if result is not None:
            for record in (MANIFEST, EVENTS, RESULT):
                if (data := self.read(f"{name}/{record}")) is not None:
                    Store(folder).write(record, data)
        return result

    def put(self, reference: str, data: bytes) -> None:
        """Write one file; ``SettingsError`` if that is not possible."""
        path = f"{self._root}/{reference}"

        def put() -> None:
            self._files.makedirs(posixpath.dirname(path), exist_ok=True)
            self._files.pipe_file(path, data)

        self._tried(put)

    def read(self, reference: str) -> bytes | None:
        """The bytes of a file; None if there is none; ``SettingsError`` if the store cannot be read."""

        def read() -> bytes | None:
            with suppress(FileNotFoundError):
                return self._files.cat_file(f"{self._root}/{reference}")

        return self._tried(read)

    def _remove(self, name: str) -> None:
        for path in (f"{self._root}/{name}/{RESULT}", f"{self._root}/{name}"):  # without the first, none of it counts
            if self._files.exists(path):
                self._files.rm(path, recursive=True)

    def _tried(self, work: Callable[[], T]) -> T:
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
    """A folder for temporary files that no other user of this machine can read, write, or have made.

    It is the same for the same name, unless another user has taken the name; then it is a new one.
    """
    folder = Path(tempfile.gettempdir()) / name
    with suppress(FileExistsError):
        folder.mkdir(mode=stat.S_IRWXU)
    found = folder.lstat()  # of a link itself, which another user may have made
    owner: int = getattr(os, "getuid", lambda: -1)()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return folder
    return Path(tempfile.mkdtemp(prefix="detailscribe-"))
