"""Replicas are brought up, looked after, and replaced where Ray has given them up."""

import asyncio
from collections.abc import Callable
from typing import Any

from ...tools.errors import DetailScribeError, ModelError
from .answers import About
from .pool import Member, Pool

RESTARTS = 3
"""Times that Ray starts a lost replica again before the batch does; it counts machines that were taken away as none."""
_LOOK_AGAIN = 0.5
"""Seconds between two tries to reach a replica."""


class Tending:
    """Keeps the replicas of a pool up.

    Args:
        ray: Connected.
        pool: Its members have no handle yet.
        make: Starts a replica.
        check: Looks at a replica that is ready, and raises where it does not belong to this batch.
        news: Told, in a line, what becomes of them.
    """

    def __init__(
        self,
        ray: Any,
        pool: Pool,
        make: Callable[[], Any],
        check: Callable[[About], None],
        news: Callable[[str], object],
    ) -> None:
        self._ray, self._pool, self._make, self._check, self._news = ray, pool, make, check, news
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start all of them; runs go to each as soon as it is ready."""
        for member in self._pool.members:
            member.handle = self._make()
            self._bring_up_later(member)

    async def lost(self, member: Member, error: Exception) -> None:
        """A replica did not answer; once it does, runs go there again."""
        if member.up:
            self._news(f"replica {member.number} was lost ({_first_line(error)})")
            await self._pool.set_up(member, False)
            self._bring_up_later(member)

    async def end(self, seconds: float) -> None:
        """Let runs in flight put their folders in order for so long, then end all replicas."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        begun = [member for member in self._pool.members if member.handle is not None]
        stops = [asyncio.ensure_future(_settled(member.handle.stop.remote())) for member in begun if member.up]
        if stops:
            await asyncio.wait(stops, timeout=seconds)
        for stop in stops:
            stop.cancel()
        await asyncio.gather(*stops, return_exceptions=True)
        for member in begun:
            self._ray.kill(member.handle)

    def _bring_up_later(self, member: Member) -> None:
        task = asyncio.create_task(self._bring_up(member))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_up(self, member: Member) -> None:
        errors = self._ray.exceptions
        while True:
            try:
                about: About = await member.handle.ready.options(max_task_retries=-1).remote()
                self._check(about)
            except errors.ActorDiedError as error:
                if not member.ended:
                    await self._pool.drop(member, _no_replica(error))
                    return
                member.handle, member.ended = self._make(), 0
            except errors.RayTaskError as error:
                await self._pool.drop(member, _no_replica(error.cause))
                return
            except errors.RayError:
                await asyncio.sleep(_LOOK_AGAIN)
            except DetailScribeError as error:
                self._pool.fail(error)
                return
            else:
                self._news(f"replica {member.number} is up on {about.machine}, process {about.pid}")
                await self._pool.set_up(member, True)
                return


async def _settled(answer: Any) -> None:
    await answer


def _no_replica(error: Exception) -> Exception:
    """What to tell the user where no replica can work."""
    if isinstance(error, DetailScribeError):
        return error
    return ModelError(f"no replica of the models comes up: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
