"""A job on its way, and what became of it."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..runs.outcome import Run
from .jobs import Job


class FailedElsewhere(Exception):
    """What ended a job in another process, whose own error may hold what cannot be sent."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """Name of the class of that error."""


@dataclass(frozen=True)
class Ended:
    """A job that is no longer in flight."""

    job: Job
    folder: Path
    """Of its run."""
    number: int
    """How many jobs had begun with it."""
    until: int
    """How many jobs had begun when it ended."""
    seconds: float
    """Wall time."""
    outcome: Run | BaseException


@dataclass(frozen=True)
class Going:
    """A job in flight."""

    job: Job
    folder: Path
    """Of its run."""
    number: int
    """How many jobs had begun with it."""
    began: float = field(default_factory=time.monotonic)

    def ended(self, task: asyncio.Task[Run], until: int) -> Ended:
        """What became of it, now that its task is done."""
        return Ended(self.job, self.folder, self.number, until, time.monotonic() - self.began, outcome_of(task))


def outcome_of(task: asyncio.Task[Run]) -> Run | BaseException:
    """Its run, or what it raised."""
    if task.cancelled():
        return asyncio.CancelledError("it was cancelled from within")
    return task.exception() or task.result()
