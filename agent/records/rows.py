"""The rows of a batch, one for each job, and their sums."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from ...state import Budget, Frozen, Spend
from .events import records_in

RESULTS = "results.jsonl"
PLAN = "plan.json"

Status = Literal["done", "failed"]
"""done: the run finished, whatever its checks say; failed: an error ended it."""


class Row(Frozen):
    """One line of ``results.jsonl``."""

    id: str
    """Of the job."""
    status: Status
    prompt: str
    seed: int
    policy: str
    """Its class with parameters, as Python writes it."""
    budget: Budget
    tags: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """All other columns that came with the prompt."""
    run: str | None = None
    """The run folder, relative to that of the rows, or to the store of its batch; None where it was removed."""
    best: str | None = None
    """The best image, relative to the same."""
    passed: int | None = None
    """Checks that the best image passes."""
    checks: int | None = None
    """All checks."""
    unknown: int | None = None
    """Checks that are unknown on the best image."""
    unheard: int = 0
    """Checks, over all images, to which no usable answer came; ``retry_failed`` asks them again."""
    unknown_because: str | None = None
    """Why checks are unknown or had no answer, each reason once."""
    stop: str | None = None
    """Rule that ended the best image's work."""
    spend: Spend | None = None
    seconds: float = Field(default=0.0, ge=0)
    """Wall time, while other runs were in flight."""
    error: str | None = None
    """Class of the exception."""
    message: str | None = None
    """Of the exception."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it ended."""

    @property
    def all_correct(self) -> bool:
        """Whether the best image passes every check of the run's own critic."""
        return self.status == "done" and self.passed == self.checks

    @property
    def key(self) -> str:
        """That of its job."""
        return key_of(self.prompt, self.seed, self.policy, self.budget)


class Plan(Frozen):
    """The size of a batch or experiment when it was started, written as ``plan.json`` for ``detailscribe view``."""

    jobs: int
    """Rows that the folder will have."""
    rows: int
    """Rows that it had already."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """Of the start."""

    def remaining(self, rows: int, now: datetime) -> float | None:
        """Seconds until the last row, at the pace since the start; None before the first new row."""
        new = rows - self.rows
        return (now - self.time).total_seconds() / new * max(self.jobs - rows, 0) if new > 0 else None


@dataclass
class Tally:
    """Sums over rows."""

    done: int = 0
    """Runs that finished."""
    failed: int = 0
    """Runs that an error ended."""
    correct: int = 0
    """Runs whose best image passes every check of their own critic."""
    unheard: int = 0
    """Finished runs with checks that had no usable answer."""
    spend: Spend = field(default_factory=Spend)
    """What all of them cost."""

    def add(self, row: Row) -> None:
        """Count one more."""
        self.done += row.status == "done"
        self.failed += row.status == "failed"
        self.correct += row.all_correct
        self.unheard += row.status == "done" and row.unheard > 0
        self.spend += row.spend or Spend()

    @property
    def rows(self) -> int:
        """All of them."""
        return self.done + self.failed


@dataclass(frozen=True)
class Progress:
    """Progress of a batch."""

    folder: Path
    prompts: int
    """All of them."""
    left: int
    """Those without a row when the batch was started."""
    tally: Tally
    """Of all rows so far."""


def key_of(prompt: str, seed: int, policy: str, budget: Budget) -> str:
    """As ``Job.key``."""
    return digest("\0".join((prompt, str(seed), policy, budget.model_dump_json())))


def digest(text: str) -> str:
    """Eight hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def read_rows(folder: Path | str) -> Iterator[Row]:
    """The rows of a folder in the order in which their jobs ended; ``SettingsError`` if a line is no row."""
    return records_in(Path(folder) / RESULTS, Row.model_validate_json, "row")
