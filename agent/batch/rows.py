"""What remains of each job: one small row."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from ...state import Budget, Frozen, Spend
from ..runs.outcome import Run
from .jobs import key_of, policy_name
from .outcomes import Ended, FailedElsewhere

Status = Literal["done", "failed"]
"""done: the run came to its end, whatever its checks say; failed: an error ended it."""


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
    """Whatever else was given with the prompt."""
    run: str | None = None
    """The run folder, relative to that of the rows, or to the store of its batch; None where nothing was left."""
    best: str | None = None
    """The best image, relative to the same."""
    passed: int | None = None
    """Checks that the best image passes."""
    checks: int | None = None
    """All checks."""
    stop: str | None = None
    """Rule that ended the best image's work."""
    spend: Spend | None = None
    seconds: float = Field(default=0.0, ge=0)
    """Wall time, among the others in flight."""
    error: str | None = None
    """Class of the exception."""
    message: str | None = None
    """Of the exception."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """Of the end."""

    @property
    def all_correct(self) -> bool:
        """Whether the best image passes every check, as the run's own critic sees it."""
        return self.status == "done" and self.passed == self.checks

    @property
    def key(self) -> str:
        """That of its job."""
        return key_of(self.prompt, self.seed, self.policy, self.budget)


def row_of(ended: Ended, root: Path) -> Row:
    """The row of a job that ended; ``root`` is the folder of the rows."""
    job, outcome = ended.job, ended.outcome
    about = Row(
        id=job.id,
        status="failed" if isinstance(outcome, BaseException) else "done",
        prompt=job.prompt,
        seed=job.seed,
        policy=policy_name(job.policy),
        budget=job.budget,
        tags=dict(job.tags),
        run=ended.folder.relative_to(root).as_posix() if isinstance(outcome, Run) or ended.folder.is_dir() else None,
        seconds=ended.seconds,
    )
    return about.model_copy(update=_failure(outcome) if isinstance(outcome, BaseException) else _success(outcome, root))


def _success(run: Run, root: Path) -> dict[str, object]:
    best = run.best
    return {
        "best": best.path.relative_to(root).as_posix(),
        "passed": best.critique.passed,
        "checks": len(best.critique.verdicts),
        "stop": run.stop,
        "spend": run.spend,
    }


def _failure(error: BaseException) -> dict[str, object]:
    message = str(error).encode(errors="replace").decode()  # it may quote what no file can hold
    kind = error.kind if isinstance(error, FailedElsewhere) else type(error).__name__
    return {"error": kind, "message": " ".join(message.split())}
