"""No more calls at once, and no more in a minute, than were allowed."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from detailscribe.tools.language.question import Question

from .scripted import Colour, Said


def question(number: int) -> Question:
    return Question("colour", "", f"Which colour is number {number}?")


class Crowd:
    """Counts the calls that are in flight, and keeps them there until they may go."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self._came = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._now = self.peak = 0

    def visit(self) -> None:
        with self._lock:
            self._now += 1
            self.peak = max(self.peak, self._now)
        self._came.release()
        self.may_go.wait(5)
        with self._lock:
            self._now -= 1

    async def gathers(self, size: int) -> None:
        """Wait until that many are here, and a little longer, in case that more come."""
        for _ in range(size):
            await asyncio.to_thread(self._came.acquire, timeout=5)
        await asyncio.sleep(0.1)


async def ask_all(model, count: int) -> None:
    await asyncio.gather(*(model.ask(question(n), Colour) for n in range(count)))


@pytest.mark.parametrize("allowed", [1, 3])
def test_calls_in_flight_are_as_many_as_allowed_in_every_loop(server, chat, allowed):
    model = chat(concurrency=allowed)

    async def crowd_up() -> int:
        crowd = Crowd()
        server.always = Said(before=crowd.visit)
        asked = asyncio.create_task(ask_all(model, 2 * allowed))
        await crowd.gathers(allowed)
        crowd.may_go.set()
        await asked
        return crowd.peak

    assert [asyncio.run(crowd_up()) for _ in range(2)] == [allowed, allowed]


async def test_a_place_is_free_again_after_a_failure(server, chat):
    server.says(Said("busy", status=503))
    model = chat(concurrency=1)
    await asyncio.gather(model.ask(question(0), Colour), return_exceptions=True)
    assert (await model.ask(question(1), Colour)).value.colour == "red"


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """The limiter's own clock, which runs while it sleeps."""
    clock = SimpleNamespace(now=0.0)

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr("langchain_core.rate_limiters.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("langchain_core.rate_limiters.asyncio", SimpleNamespace(sleep=sleep))
    return clock


async def test_calls_in_a_minute_are_as_many_as_allowed(server, chat, clock):
    model = chat(requests_per_minute=30)
    await model.ask(question(0), Colour)
    assert clock.now == 0, "the first need not wait"
    for n in range(1, 4):
        await model.ask(question(n), Colour)
    assert clock.now == pytest.approx(6, abs=0.5)


async def test_what_is_asked_again_waits_its_turn_too(server, chat, clock):
    server.says("red")
    await chat(requests_per_minute=30).ask(question(0), Colour)
    assert clock.now == pytest.approx(2, abs=0.5)


async def test_nothing_waits_where_no_limit_is_set(server, chat, clock):
    await ask_all(chat(), 3)
    assert clock.now == 0
