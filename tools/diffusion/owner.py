"""One owner for a model that takes one caller at a time: what arrives together is worked on together."""

import asyncio
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")

TICKS = 2
"""Turns of the event loop that a caller waits for company."""


class Abandoned(Exception):
    """Nobody waits for the result any more."""


class Ticket(Generic[J, R]):
    """A job and the one who waits for it."""

    def __init__(self, job: J) -> None:
        self.job = job
        self.future: Future[R] = Future()
        self._abandoned = False

    @property
    def wanted(self) -> bool:
        """Whether someone still waits for the result."""
        return not (self._abandoned or self.future.done())

    def abandon(self) -> None:
        """Say that nobody waits; work that has begun may end early."""
        self._abandoned = True
        self.future.cancel()

    def fail(self, error: BaseException) -> None:
        """Hand an error to the one who waits, unless there is a result or an error already."""
        if not self.future.done():
            self.future.set_exception(error)

    @contextmanager
    def failing_alone(self) -> Generator[None]:
        """What goes wrong inside goes to the one who waits for this job, and no further."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - handed on whole
            self.fail(error)


class Owner(Generic[J, R]):
    """Runs jobs in one thread that lives as long as there are any; callers may be on any event loop.

    ``work`` is given the tickets of one batch and settles each of them. What it raises goes to all that
    are not settled.
    """

    def __init__(self, work: Callable[[Sequence[Ticket[J, R]]], None], max_batch: int) -> None:
        self._work = work
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiting: list[Ticket[J, R]] = []
        self._running = False

    async def submit(self, jobs: Sequence[J]) -> list[R]:
        """Results in the order of ``jobs``; the first error if one fails. A cancelled caller leaves others alone."""
        tickets = [Ticket[J, R](job) for job in jobs]
        try:
            with self._lock:
                self._waiting += tickets
            for _ in range(TICKS):
                await asyncio.sleep(0)
            self._wake()
            return await asyncio.gather(*(asyncio.wrap_future(ticket.future) for ticket in tickets))
        finally:
            for ticket in tickets:
                ticket.abandon()

    def _wake(self) -> None:
        with self._lock:
            if self._running or not self._waiting:
                return
            self._running = True
        threading.Thread(target=self._run, name="detailscribe-diffusion").start()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._work(batch)
            except BaseException as error:  # noqa: BLE001 - handed on whole
                for ticket in batch:
                    ticket.fail(error)

    def _next_batch(self) -> list[Ticket[J, R]] | None:
        """Up to ``max_batch`` jobs in the order of arrival; None, and the thread ends, if none waits."""
        with self._lock:
            taken: list[Ticket[J, R]] = []
            while self._waiting and len(taken) < self._max_batch:
                ticket = self._waiting.pop(0)
                if ticket.future.set_running_or_notify_cancel():
                    taken.append(ticket)
            self._running = bool(taken)
            return taken or None
