"""What comes back from a replica: values that every process can read."""

from dataclasses import dataclass

from ...state import RunResult
from ...tools.errors import ModelError
from ..batch.outcomes import FailedElsewhere


@dataclass(frozen=True)
class Failure:
    """An error, in words; one of an SDK may hold what cannot be sent."""

    kind: str
    """Name of its class."""
    message: str
    of_model: bool
    """Whether it is a ``ModelError``, which may be that of all jobs."""

    def raised(self) -> Exception:
        """What to raise for it here."""
        return ModelError(self.message) if self.of_model else FailedElsewhere(self.kind, self.message)


Answer = RunResult | Failure


def failure_of(error: Exception) -> Failure:
    """The error in words."""
    return Failure(type(error).__name__, str(error), isinstance(error, ModelError))


@dataclass(frozen=True)
class About:
    """A replica that is ready."""

    models: dict[str, str]
    """Name and content hash by role."""
    machine: str
    pid: int
