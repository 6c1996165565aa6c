"""The engine: one owner of a model, which takes step after step with as many images as are in flight.

Images join and leave between any two steps, from any event loop. The engine knows neither prompts nor files: ``Work``
begins with a sample and makes a result of it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from ..errors import ModelError
from .sampling import Sample

R = TypeVar("R")

TICKS = 2
"""Turns of the event loop that new work waits for more to arrive before it wakes the engine."""
BEGUN = 4
"""Images that have begun, at most, in full passes; the others wait as mere requests, so that memory is bounded."""


class Kind(NamedTuple):
    """What decides which images fit in one forward pass."""

    shape: tuple[int, ...]
    """Of the latent."""
    tokens: int
    """Of the prompt."""
    any_length: bool = False
    """Whether prompts of other lengths fit as well."""

    def fits(self, other: "Kind") -> bool:
        """Whether both fit in one pass."""
        return self.shape == other.shape and (self.tokens == other.tokens or (self.any_length and other.any_length))


def next_pass(kinds: Sequence[Kind], limit: Callable[[Kind], int]) -> list[int]:
    """Indices of the images, given by their kinds from the oldest on, that take the next step.

    The oldest one leads, and those that fit fill the pass up to ``limit``: first the nearest in length of prompt, for
    which least is padded, and of these the oldest. So images end about in the order in which they came; every pass is
    as full as it can be; and the oldest waits for no other.
    """
    if not kinds:
        return []
    leader = kinds[0]
    fitting = [i for i, kind in enumerate(kinds) if kind.fits(leader)]
    return sorted(fitting, key=lambda i: abs(kinds[i].tokens - leader.tokens))[: limit(leader)]


@dataclass(frozen=True)
class Work(Generic[R]):
    """One image to denoise. All is called in the engine's thread; an error raised there fails this image alone."""

    begin: Callable[[], Sample]
    """Makes the sample, when there is room for it."""
    finish: Callable[[Sample], R]
    """Makes the result of the sample once it is done."""
    on_step: Callable[[Sample], None] = lambda sample: None
    """Called after each step."""


@dataclass(frozen=True)
class Done(Generic[R]):
    """Finished work, and what it took."""

    result: R
    sample: Sample
    """As it was in the end."""
    seconds: float
    """Of the model: its part in each pass by its rows, and its beginning and end."""
    waited: float
    """Seconds in the engine in which the model worked for others alone."""


@dataclass(frozen=True)
class Statistics:
    """What an engine has done so far."""

    passes: int = 0
    """Forward passes."""
    steps: int = 0
    """Steps of images; ``steps / passes`` is the mean batch."""
    rows: int = 0
    """Evaluations; a guided step counts two."""
    seconds: float = 0.0
    """In forward passes."""


class Ticket(Generic[R]):
    """Work on its way; used by the engine's thread, except for ``future`` and ``abandon``."""

    sample: Sample
    """Once it has begun."""

    def __init__(self, work: Work[R]) -> None:
        self.work = work
        self.future: Future[Done[R]] = Future()
        self._abandoned, self._arrived = False, perf_counter()
        self._seconds = self._attended = 0.0

    @property
    def wanted(self) -> bool:
        """Whether someone still waits for the result."""
        return not (self._abandoned or self.future.done())

    def abandon(self) -> None:
        """Note that nobody waits; work that has begun ends at the next step."""
        self._abandoned = True
        self.future.cancel()

    def fail(self, error: BaseException) -> None:
        """Raise an error where the result is awaited, unless there is a result or an error already."""
        with suppress(InvalidStateError):
            self.future.set_exception(raisable(error))

    def begin(self) -> bool:
        """Make the sample; False if nobody waits for it, or it failed."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return False
        with self._failing_alone(), self._timed():
            self.sample = self.work.begin()
        return self.wanted

    def count_step(self, seconds: float, share: float) -> None:
        """Note a step in a pass of so many seconds, which worked for this image in that share, and report it."""
        self._seconds += seconds * share
        self._attended += seconds
        with self._failing_alone():
            self.work.on_step(self.sample)

    def finish(self) -> None:
        """Hand over the result."""
        with self._failing_alone():
            with self._timed():
                result = self.work.finish(self.sample)
            waited = perf_counter() - self._arrived - self._attended
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
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            self.fail(no_room(error) if is_out_of_memory(error) else error)


class Engine:
    """Denoises samples in one thread, which lives only as long as there is work.

    ``advance`` takes one step of samples that fit together, or raises and moves none. Out of memory halves the
    batch for images of that shape from then on; any other error reaches all in the pass, and the engine goes on.
    ``on_idle`` is called in the thread whenever no work is left; all work is done inside ``around``. With ``in_turns``
    new work begins only when no image is in flight: for a model whose text encoder and denoiser take turns on the
    device.
    """

    def __init__(
        self,
        advance: Callable[[Sequence[Sample]], None],
        max_batch: int,
        on_idle: Callable[[], None] = lambda: None,
        in_turns: bool = False,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.statistics = Statistics()
        self._advance, self._max_batch, self._on_idle, self._in_turns = advance, max_batch, on_idle, in_turns
        self._limits: dict[tuple[int, ...], int] = {}
        self._around = around
        self._lock = threading.Lock()
        self._waiting: deque[Ticket[Any]] = deque()
        self._flight: list[Ticket[Any]] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Work[R]) -> Done[R]:
        """The work's result, once it is its turn; cancelling it does not disturb other work."""
        ticket = Ticket(work)
        try:
            with self._lock:
                self._waiting.append(ticket)
            for _ in range(TICKS):
                await asyncio.sleep(0)
            with self._lock:
                self._wake()
            return await asyncio.wrap_future(ticket.future)
        finally:
            ticket.abandon()

    def close(self) -> None:
        """Fail what is in flight and whatever comes later, and wait for the pass that runs; again does nothing."""
        with self._lock:
            self._closed, thread = True, self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        """Start a thread if there is work and none; called with the lock."""
        if self._thread is None and self._waiting:
            self._thread = threading.Thread(target=self._run, name="detailscribe-diffusion")
            self._thread.start()

    def _run(self) -> None:
        with self._around():
            try:
                while self._has_work():
                    self._admit()
                    self._take_step()
                    for ticket in self._flight:
                        if ticket.wanted and ticket.sample.done:
                            ticket.finish()
                    self._flight = [ticket for ticket in self._flight if ticket.wanted]
            except BaseException as error:
                for ticket in self._flight:
                    ticket.fail(error)
                with self._lock:
                    self._flight, self._thread = [], None
                    self._wake()
                raise

    def _has_work(self) -> bool:
        """Whether there is work; if not, the thread has to end."""
        if not self._flight and not self._waiting:
            self._on_idle()
        with self._lock:
            any_left = bool(self._flight or self._waiting)
            self._thread = self._thread if any_left else None
        return any_left

    def _admit(self) -> None:
        """Let work begin, up to the bound."""
        if self._closed:
            with self._lock:
                everything = [*self._flight, *self._waiting]
            for ticket in everything:
                ticket.fail(ModelError("the model was closed: load it again"))
        self._flight = [ticket for ticket in self._flight if ticket.wanted]
        if self._in_turns and self._flight:
            return
        while self._waiting and len(self._flight) < BEGUN * self._max_batch:
            ticket = self._waiting.popleft()
            if ticket.begin():
                self._flight.append(ticket)

    def _take_step(self) -> None:
        moving = [ticket for ticket in self._flight if not ticket.sample.done]
        samples = [ticket.sample for ticket in moving]
        kinds = [Kind(tuple(one.latent.shape), len(one.prompt.tokens), one.any_length) for one in samples]
        tickets = [moving[i] for i in next_pass(kinds, lambda kind: self._limits.get(kind.shape, self._max_batch))]
        if not tickets:
            return
        began, rows = perf_counter(), [ticket.sample.rows for ticket in tickets]
        try:
            self._advance([ticket.sample for ticket in tickets])
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are awaited
            if not is_out_of_memory(error):
                for ticket in tickets:
                    ticket.fail(error)
                return
        else:
            seconds, before = perf_counter() - began, self.statistics
            self.statistics = Statistics(
                before.passes + 1, before.steps + len(tickets), before.rows + sum(rows), before.seconds + seconds
            )
            for ticket, own in zip(tickets, rows, strict=True):
                if ticket.wanted:
                    ticket.count_step(seconds, own / sum(rows))
            return
        # Only here is the traceback gone, which held the tensors of the pass that did not fit.
        torch.cuda.empty_cache()
        if len(tickets) == 1:
            tickets[0].fail(no_room())
        else:
            self._limits[kinds[0].shape] = max(1, len(tickets) // 2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch had no room, on a GPU or on the CPU, where only the message says so."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def no_room(error: BaseException | None = None) -> ModelError:
    """The error of an image that does not fit even alone."""
    refused = ModelError(
        "there is no room in memory for one image of this size: free some, load the model in a smaller type, "
        "quantized or offloaded, or take a smaller model"
    )
    refused.__cause__ = error
    return refused


def raisable(error: BaseException) -> BaseException:
    """The error, or one that asyncio takes: it refuses to raise ``StopIteration``, and whoever waits would for ever."""
    if not isinstance(error, StopIteration):
        return error
    wrapped = ModelError(f"the model ended in a StopIteration ({error}), which is a fault of the program")
    wrapped.__cause__ = error
    return wrapped
