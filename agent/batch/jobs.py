"""The jobs of a batch, and the file that their rows are written to, one whole line for each job that ended."""

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from ...state import Budget
from ...tools.errors import SettingsError
from ...tools.files import JsonLines, mend_lines, write_whole
from ..policies import Policy, policy_name
from ..records.rows import PLAN, RESULTS, Plan, Row, Tally, digest, key_of, read_rows
from ..runs.folder import locked, slug

_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?")
"""Names that every file system takes as they are and keeps apart."""


@dataclass(frozen=True)
class Job:
    """One prompt under one policy."""

    id: str
    """Unique among the jobs of a folder; any text."""
    prompt: str
    seed: int
    """In [0, 2**32)."""
    policy: Policy
    budget: Budget = field(default_factory=Budget)
    tags: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Whatever else is known of it; handed on to its row."""

    @cached_property
    def folder(self) -> str:
        """Name of its run folder."""
        return folder_name(self.id)

    @cached_property
    def key(self) -> str:
        """Hash of all that decides about its outcome, but for the models."""
        return key_of(self.prompt, self.seed, policy_name(self.policy), self.budget)


def folder_name(id: str) -> str:
    """The id itself where every file system can hold it; else what is readable of it, and a hash."""
    return id if _PLAIN.fullmatch(id) else f"{slug(id) or 'run'}-{digest(id)}"


class Ledger:
    """Appends rows to ``results.jsonl`` in a folder, which it locks; each one is on the disk when ``append`` returns.

    It holds the id of every job and a hash of what it asked for, and no row.

    Args:
        folder: Of the rows and of all they refer to.
        forget_failed: Drops the rows of jobs that failed or whose critic was not heard, so that these are run again.

    Raises:
        SettingsError: another process writes to the folder, or a whole line of the file is no row.
    """

    def __init__(self, folder: Path, *, forget_failed: bool = False) -> None:
        self.root = folder
        """Of the rows and of all they refer to."""
        self.tally = Tally()
        """Of all rows."""
        self._keys: dict[str, str] = {}
        with ExitStack() as held:
            held.enter_context(locked(folder))
            mend_lines(folder / RESULTS, Row)
            if forget_failed:
                kept = [row.model_dump_json() for row in read_rows(folder) if row.status == "done" and not row.unheard]
                write_whole(folder / RESULTS, "".join(f"{line}\n" for line in kept).encode())
            for row in read_rows(folder):
                self._note(row)
            self._lines = held.enter_context(JsonLines(folder / RESULTS, sync=True))
            self._held = held.pop_all()

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

    def plan(self, jobs: Iterable[Job]) -> None:
        """Write down how many rows there are to be, for whoever watches."""
        left, rows = sum(not self.has(job) for job in jobs), self.tally.rows
        write_whole(self.root / PLAN, Plan(jobs=rows + left, rows=rows).model_dump_json().encode())

    def append(self, row: Row) -> None:
        """Write one line, whole, and wait until the disk has it."""
        self._lines.append(row.model_dump_json())
        self._note(row)

    def _note(self, row: Row) -> None:
        self._keys[row.id] = row.key
        self.tally.add(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
