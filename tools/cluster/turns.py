"""One rate for the calls of many processes: an actor that hands out turns."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from ..language.settings import ChatSettings
from .library import library


class Turns:
    """The actor: one turn after another, as far apart as the rate says, for each server and model."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    async def take(self, name: str, rate: float) -> None:
        """Return when the next turn of ``name`` has come; ``rate`` in turns a second."""
        turn = max(time.monotonic(), self._next.get(name, 0.0))
        self._next[name] = turn + 1 / rate
        await asyncio.sleep(turn - time.monotonic())


class SharedLimiter:
    """Waits for turns of the actor, as a limiter of this process would for its own."""

    def __init__(self, turns: Any, name: str, rate: float) -> None:
        self._turns, self._name, self._rate = turns, name, rate

    async def aacquire(self) -> None:
        """Return when it is our turn."""
        await self._turns.take.remote(self._name, self._rate)


def shared_limiter(actor: str, settings: ChatSettings) -> SharedLimiter | None:
    """That of a model on its server, from the actor of a name; None where no rate is set."""
    rate = settings.requests_per_minute
    return None if rate is None else SharedLimiter(library().get_actor(actor), settings.name, rate / 60)


@contextmanager
def started_turns(ray: Any) -> Generator[str]:
    """The name of the actor, by which every process of the cluster finds it; where it is lost, it is started anew."""
    name = f"turns-{uuid4().hex}"
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 10_000}
    actor = ray.remote(**options, name=name)(Turns).remote()
    try:
        yield name
    finally:
        ray.kill(actor)
