"""The engine: the only owner of a model, which denoises as many images side by side as are in flight.

Images join and leave between any two steps, from any event loop. The engine knows neither prompts nor files: ``Work``
begins with a ``Moving`` sample and turns it into a result.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

from ..errors import ModelError

TICKS = 2
"""Turns of the event loop that new work waits for more to arrive before it wakes the engine."""
BEGUN = 4
"""Full passes of images that have begun, at most; further images wait unread, which bounds the memory."""


class Kind(NamedTuple):
    """Decides which images fit in one forward pass."""

    shape: tuple[object, ...]
    """Of the latent, or whatever else all images of a pass have in common."""
    tokens: int = 0
    """Of the prompt."""
    any_length: bool = False
    """Whether prompts of other lengths fit as well."""

    def fits(self, other: "Kind") -> bool:
        """Whether both fit in one pass."""
        return self.shape == other.shape and (self.tokens == other.tokens or (self.any_length and other.any_length))


class Moving(Protocol):
    """An image being denoised."""

    @property
    def kind(self) -> Kind: ...

    @property
    def rows(self) -> int:
        """Rows of forward passes that its next step takes."""
        ...

    @property
    def done(self) -> bool: ...


S = TypeVar("S", bound=Moving)
R = TypeVar("R")


def next_pass(kinds: Sequence[Kind], most: int) -> list[int]:
    """Indices of the images that take the next step, given the kinds of all, the oldest first.

    The oldest leads. Those that fit with it fill the pass up to ``most``: first the nearest in prompt length, which
    need the least padding, and among these the oldest. So images end in about the order in which they came, and every
    pass is as full as it can be.
    """
    if not kinds:
        return []
    leader = kinds[0]
    fitting = [i for i, kind in enumerate(kinds) if kind.fits(leader)]
    return sorted(fitting, key=lambda i: abs(kinds[i].tokens - leader.tokens))[:most]


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


class Work(Generic[S, R]):
    """One image to make; everything runs in the engine's thread, and an error raised there fails this image alone."""

    sample: S
    """Once it has begun."""
    result: R
    """Once it is done."""

    def __init__(
        self, begin: Callable[[], S], finish: Callable[[S], R], on_step: Callable[[S], None] = lambda sample: None
    ) -> None:
        """``begin`` makes the sample when there is room, ``finish`` its result; ``on_step`` follows each step."""
        self._begin, self._finish, self._on_step = begin, finish, on_step
        self.future: Future[None] = Future()
        """Cancelled once nobody waits for the result."""
        self.seconds = 0.0
        """Of the model: its share of each pass by rows, and its beginning and end."""
        self.waited = 0.0
        """Seconds in the engine in which the model worked only for other images."""
        self._arrived, self._attended = perf_counter(), 0.0

    @property
    def wanted(self) -> bool:
        """Whether someone still waits for the result."""
        return not self.future.done()

    def fail(self, error: BaseException) -> None:
        """Raise an error where the result is awaited, unless there is a result or an error already."""
        clear = None
        if is_out_of_memory(error):
            clear = ModelError(
                "there is no room in memory for one image of this size: free some, load the model in a smaller type, "
                "quantized or offloaded, or take a smaller model"
            )
        elif isinstance(error, StopIteration):  # asyncio refuses to raise it, so the caller would wait for ever
            clear = ModelError(f"the model ended in a StopIteration ({error}), which is a fault of the program")
        if clear is not None:
            clear.__cause__ = error
        with suppress(InvalidStateError):
            self.future.set_exception(clear or error)

    def begin(self) -> bool:
        """Make the sample; False if nobody waits for it, or it failed."""
        if self.wanted:
            with self._alone():
                self.sample = self._begin()
        return self.wanted

    def count_step(self, seconds: float, share: float) -> None:
        """Note and report a step in a pass of so many seconds, of which this image had that share."""
        self.seconds += seconds * share
        self._attended += seconds
        with self._alone():
            self._on_step(self.sample)

    def finish(self) -> None:
        """Make the result and hand it over."""
        with self._alone():
            self.result = self._finish(self.sample)
        self.waited = perf_counter() - self._arrived - self._attended
        with suppress(InvalidStateError):  # it failed
            self.future.set_result(None)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Attribute time and errors of the block to this image alone."""
        began = perf_counter()
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            self.fail(error)
        elapsed = perf_counter() - began
        self.seconds += elapsed
        self._attended += elapsed


class Engine(Generic[S]):
    """Denoises samples in one thread, which lives only as long as there is work.

    ``advance`` takes one step of samples that fit together, or raises and moves none. Out of memory halves
    ``max_batch`` from then on; any other error reaches all images of the pass, and the engine goes on.
    ``on_idle`` is called in the thread whenever no work is left, and all work is done inside ``around``. With
    ``in_turns`` new work begins only when no image is in flight: for a model whose text encoder and denoiser take
    turns on the device.
    """

    def __init__(
        self,
        advance: Callable[[Sequence[S]], None],
        max_batch: int,
        on_idle: Callable[[], None] = lambda: None,
        in_turns: bool = False,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.statistics = Statistics()
        self._advance, self._max_batch, self._on_idle, self._in_turns = advance, max_batch, on_idle, in_turns
        self._around = around
        self._lock = threading.Lock()
        self._waiting: deque[Work[S, Any]] = deque()
        self._flight: list[Work[S, Any]] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Work[S, R]) -> Work[S, R]:
        """The work with its result; cancelling it does not disturb other work."""
        try:
            with self._lock:
                self._waiting.append(work)
            for _ in range(TICKS):
                await asyncio.sleep(0)
            with self._lock:
                self._wake()
            await asyncio.wrap_future(work.future)
            return work
        finally:
            work.future.cancel()

    def close(self) -> None:
        """Fail what is in flight and whatever comes later, and wait for the current pass; again does nothing."""
        with self._lock:
            self._closed, thread = True, self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        """Start a thread if there is work and no thread; called with the lock."""
        if self._thread is None and self._waiting:
            self._thread = threading.Thread(target=self._run, name="detailscribe-diffusion")
            self._thread.start()

    def _run(self) -> None:
        with self._around():
            try:
                while self._has_work():
                    self._admit()
                    self._take_step()
                    for work in self._flight:
                        if work.wanted and work.sample.done:
                            work.finish()
                    self._flight = [work for work in self._flight if work.wanted]
            except BaseException as error:
                for work in self._flight:
                    work.fail(error)
                with self._lock:
                    self._flight, self._thread = [], None
                    self._wake()
                raise

    def _has_work(self) -> bool:
        """Whether there is work; without any, the thread has to end."""
        if not self._flight and not self._waiting:
            self._on_idle()
        with self._lock:
            any_left = bool(self._flight or self._waiting)
            self._thread = self._thread if any_left else None
        return any_left

    def _admit(self) -> None:
        """Let work begin, up to the limit."""
        if self._closed:
            with self._lock:
                everything = [*self._flight, *self._waiting]
            for work in everything:
                work.fail(ModelError("the model was closed: load it again"))
        self._flight = [work for work in self._flight if work.wanted]
        if self._in_turns and self._flight:
            return
        while self._waiting and len(self._flight) < BEGUN * self._max_batch:
            work = self._waiting.popleft()
            if work.begin():
                self._flight.append(work)

    def _take_step(self) -> None:
        moving = [work for work in self._flight if not work.sample.done]
        taken = [moving[i] for i in next_pass([work.sample.kind for work in moving], self._max_batch)]
        if not taken:
            return
        began, rows = perf_counter(), [work.sample.rows for work in taken]
        try:
            self._advance([work.sample for work in taken])
        except BaseException as error:  # noqa: BLE001 - it is raised where the results are awaited
            if not is_out_of_memory(error):
                for work in taken:
                    work.fail(error)
                return
        else:
            seconds, before = perf_counter() - began, self.statistics
            self.statistics = Statistics(
                before.passes + 1, before.steps + len(taken), before.rows + sum(rows), before.seconds + seconds
            )
            for work, own in zip(taken, rows, strict=True):
                if work.wanted:
                    work.count_step(seconds, own / sum(rows))
            return
        # Only here is the traceback gone, which held the tensors of the pass that did not fit.
        torch.cuda.empty_cache()
        if len(taken) == 1:
            taken[0].fail(torch.OutOfMemoryError())
        else:
            self._max_batch = max(1, len(taken) // 2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU, where only the message says so."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
