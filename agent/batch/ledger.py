"""The rows of a folder: one complete line for each finished job, whatever happens between two of them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from ...tools.errors import SettingsError
from .jobs import Job
from .rows import Row
from .tally import Tally

RESULTS = "results.jsonl"


class Ledger:
    """Appends rows to ``results.jsonl`` in a folder, which it locks; each one is on the disk when ``append`` returns.

    It holds the id of every job and a hash of what it asked for, and no row. A last line that a kill left without
    its end is cut off first.

    Raises:
        SettingsError: another process writes to the folder, or a whole line of the file is no row.
    """

    def __init__(self, folder: Path, *, forget_failed: bool = False) -> None:
        """``forget_failed`` drops the rows of failed jobs, so that these are run again."""
        self.root = folder
        """Of the rows and of all they refer to."""
        self.tally = Tally()
        """Of all rows."""
        self._keys: dict[str, str] = {}
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise SettingsError(
                f"another process is at work in {folder}: wait for it, or name another --out"
            ) from error
        try:
            if forget_failed:
                _keep_done(folder)
            for row in read_rows(folder):
                self._note(row)
            self._file: BinaryIO = (folder / RESULTS).open("ab", buffering=0)
            self._file.truncate(_whole_length(folder / RESULTS))
        except BaseException:
            self._lock.release()
            raise

    def has(self, job: Job) -> bool:
        """Whether its row is there.

        Raises:
            SettingsError: it is, but what was asked for under this id was something else.
        """
        key = self._keys.get(job.id)
        if key not in (None, job.key):
            raise SettingsError(
                f"{job.id!r} has a row in {self.root} already, for another prompt, seed, policy or budget:"
                " give it another id, or name another --out"
            )
        return key is not None

    def append(self, row: Row) -> None:
        """Write one line, whole, and wait until the disk has it."""
        self._file.write(row.model_dump_json().encode() + b"\n")
        os.fsync(self._file.fileno())
        self._note(row)

    def _note(self, row: Row) -> None:
        self._keys[row.id] = row.key
        self.tally.add(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()


def read_rows(folder: Path | str) -> Iterator[Row]:
    """The rows of a folder in the order in which their jobs ended; a last line without its end is left out.

    Raises:
        SettingsError: a whole line is no row.
    """
    path = Path(folder) / RESULTS
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield _row(line, f"line {number} of {path}")


def _row(line: bytes, where: str) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise SettingsError(
            f"{where} is no row of this version: {place}: {problem['msg']}; name another --out"
        ) from error


def _keep_done(folder: Path) -> None:
    """Write the file anew without the rows of failed jobs."""
    partial = folder / f".{RESULTS}.partial"
    with partial.open("wb") as file:
        for row in read_rows(folder):
            if row.status == "done":
                file.write(row.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / RESULTS)


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line; found from the end, since the file may be long."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 2**16)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
