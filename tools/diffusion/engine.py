"""The engine: one owner of a model, which takes step after step with as many images as are in flight.

Images come in and leave between any two steps, from any event loop. The engine knows neither prompts nor
files: ``Work`` begins with a sample and makes a result of it (``engine_ticket``); which images share a
pass is said in ``engine_passes``.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from ..errors import ModelError
from .denoise import Sample
from .engine_passes import Limits, is_out_of_memory, next_pass
from .engine_ticket import Done, R, Ticket, Work, no_room

TICKS = 2
"""Turns of the event loop that work waits for company before it wakes the engine."""
BEGUN = 4
"""Images that have begun, at most, in full passes; the others wait as mere requests, so that memory is bounded."""


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


class Engine:
    """Denoises samples in one thread, which lives only as long as there is work.

    ``advance`` takes one step of samples that fit together, or raises and moves none. Out of memory halves the
    batch for images of that shape from then on; any other error reaches all in the pass, and the engine goes on.
    ``on_idle`` is called in the thread whenever no work is left.
    """

    def __init__(
        self, advance: Callable[[Sequence[Sample]], None], max_batch: int, on_idle: Callable[[], None] = lambda: None
    ) -> None:
        self.statistics = Statistics()
        self._advance, self._on_idle = advance, on_idle
        self._limits = Limits(max_batch)
        self._begun = BEGUN * max_batch
        self._lock = threading.Lock()
        self._waiting: deque[Ticket[Any]] = deque()
        self._flight: list[Ticket[Any]] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Work[R]) -> Done[R]:
        """The work's result, once it is its turn; to cancel it leaves all other work alone."""
        ticket = Ticket(work)
        try:
            with self._lock:
                self._waiting.append(ticket)
            for _ in range(TICKS):
                await asyncio.sleep(0)
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
        with self._lock:
            if self._thread is None and self._waiting:
                self._thread = threading.Thread(target=self._run, name="detailscribe-diffusion")
                self._thread.start()

    def _run(self) -> None:
        while self._any_left():
            self._let_in()
            self._take_step()
            self._let_out()

    def _any_left(self) -> bool:
        """Whether there is work; if not, the thread has to end."""
        try:
            if not self._flight and not self._waiting:
                self._on_idle()
        finally:
            with self._lock:
                left = bool(self._flight or self._waiting)
                self._thread = self._thread if left else None
        return left

    def _let_in(self) -> None:
        if self._closed:
            with self._lock:
                all_of_them = [*self._flight, *self._waiting]
            self._fail(all_of_them, ModelError("the model was closed: load it again"))
        self._flight = [ticket for ticket in self._flight if ticket.wanted]
        while self._waiting and len(self._flight) < self._begun:
            ticket = self._waiting.popleft()
            if ticket.begin():
                self._flight.append(ticket)

    def _take_step(self) -> None:
        moving = [ticket for ticket in self._flight if not ticket.sample.done]
        tickets = [moving[i] for i in next_pass([ticket.sample.kind for ticket in moving], self._limits)]
        if not tickets:
            return
        began = perf_counter()
        try:
            self._advance([ticket.sample for ticket in tickets])
        except BaseException as error:  # noqa: BLE001 - handed on whole
            if not is_out_of_memory(error):
                self._fail(tickets, error)
                return
        else:
            self._note(tickets, perf_counter() - began)
            return
        self._make_room(tickets)

    def _make_room(self, tickets: Sequence[Ticket[Any]]) -> None:
        """After a pass that did not fit, and after the traceback that held its tensors."""
        torch.cuda.empty_cache()
        if len(tickets) == 1:
            self._fail(tickets, no_room())
        else:
            self._limits.halve(tickets[0].sample.kind, len(tickets))

    def _note(self, tickets: Sequence[Ticket[Any]], seconds: float) -> None:
        rows, past = sum(ticket.sample.rows for ticket in tickets), self.statistics
        self.statistics = Statistics(
            past.passes + 1, past.steps + len(tickets), past.rows + rows, past.seconds + seconds
        )
        for ticket in tickets:
            if ticket.wanted:
                ticket.stepped(seconds, rows)

    def _let_out(self) -> None:
        for ticket in self._flight:
            if ticket.wanted and ticket.sample.done:
                ticket.finish()
        self._flight = [ticket for ticket in self._flight if ticket.wanted]

    def _fail(self, tickets: Sequence[Ticket[Any]], error: BaseException) -> None:
        for ticket in tickets:
            ticket.fail(error)
