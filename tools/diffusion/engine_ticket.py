"""A piece of work in the engine, and the one who waits for it."""

from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from ..errors import ModelError
from .denoise import Sample
from .engine_passes import is_out_of_memory

R = TypeVar("R")


@dataclass(frozen=True)
class Work(Generic[R]):
    """One image to denoise. All is called in the engine's thread; what it raises fails this image alone."""

    begin: Callable[[], Sample]
    """Makes the sample, when there is room for it."""
    finish: Callable[[Sample], R]
    """Makes the result of the sample once it is done."""
    on_step: Callable[[Sample], None] = lambda sample: None
    """Called after each step."""


@dataclass(frozen=True)
class Done(Generic[R]):
    """What came of a piece of work, and what it took."""

    result: R
    sample: Sample
    """As it was in the end."""
    seconds: float
    """Of the model: its part in each pass by its rows, and its beginning and end."""
    waited: float
    """Seconds in the engine in which the model worked for others alone."""


class Ticket(Generic[R]):
    """Work on its way; used by the engine's thread, except for ``future`` and ``abandon``."""

    sample: Sample
    """Once it has begun."""

    def __init__(self, work: Work[R]) -> None:
        self.work = work
        self.future: Future[Done[R]] = Future()
        self._abandoned = False
        self._came = perf_counter()
        self._seconds = 0.0
        self._attended = 0.0

    @property
    def wanted(self) -> bool:
        """Whether someone still waits for the result."""
        return not (self._abandoned or self.future.done())

    def abandon(self) -> None:
        """Say that nobody waits; work that has begun ends at the next step."""
        self._abandoned = True
        self.future.cancel()

    def fail(self, error: BaseException) -> None:
        """Hand an error to the one who waits, unless there is a result or an error already."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def begin(self) -> bool:
        """Make the sample; False if nobody waits for it, or it failed."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return False
        with self._failing_alone(), self._timed():
            self.sample = self.work.begin()
        return self.wanted

    def stepped(self, seconds: float, rows: int) -> None:
        """Note a step in a pass of so many seconds and rows, and tell of it."""
        self._seconds += seconds * self.sample.rows / rows
        self._attended += seconds
        with self._failing_alone():
            self.work.on_step(self.sample)

    def finish(self) -> None:
        """Hand over the result."""
        with self._failing_alone():
            with self._timed():
                result = self.work.finish(self.sample)
            waited = perf_counter() - self._came - self._attended
            self.future.set_result(Done(result, self.sample, self._seconds, waited))

    @contextmanager
    def _timed(self) -> Generator[None]:
        began = perf_counter()
        yield
        elapsed = perf_counter() - began
        self._seconds += elapsed
        self._attended += elapsed

    @contextmanager
    def _failing_alone(self) -> Generator[None]:
        """What goes wrong inside goes to the one who waits, and no further."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - handed on whole
            self.fail(no_room(error) if is_out_of_memory(error) else error)


def no_room(error: BaseException | None = None) -> ModelError:
    """The error of an image that does not fit even alone."""
    refused = ModelError(
        "there is no room in memory for one image of this size: free some, load the model in a smaller type, "
        "quantized or offloaded, or take a smaller model"
    )
    refused.__cause__ = error
    return refused
