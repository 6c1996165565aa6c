"""Which replica a run goes to: never more on one than it has places, and where others fell, alone."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass
class Member:
    """A replica as the pool knows it."""

    number: int
    handle: Any
    """Of the actor."""
    load: int = 0
    """Runs in flight."""
    up: bool = False
    """Whether runs can go there."""
    reserved: bool = False
    """Whether one run waits to have it alone, or has."""
    ended: int = 0
    """Runs that came back from this actor."""
    out: bool = False
    """Whether it will not come back."""


class Pool:
    """Gives places at replicas; waits where there is none."""

    def __init__(self, members: Sequence[Member], places: int) -> None:
        """``places``: runs side by side on one replica."""
        self.members, self._places = members, places
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the error once the work cannot go on."""
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def place(self, *, alone: bool = False) -> AsyncGenerator[Member]:
        """A place at the replica that has the fewest runs; ``alone``: with no other run on it."""
        member = await (self._reserve() if alone else self._take())
        try:
            yield member
        finally:
            member.load -= 1
            if alone:
                member.reserved = False
            await self.tell()

    async def set_up(self, member: Member, up: bool) -> None:
        """Say whether runs can go to a replica."""
        member.up = up
        await self.tell()

    async def drop(self, member: Member, error: Exception) -> None:
        """Say that a replica will not come back; where it is the last, the pool has failed with the error."""
        member.out = True
        await self.set_up(member, False)
        if all(one.out for one in self.members):
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Say that the work cannot go on."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def tell(self) -> None:
        """Wake those who wait for a place."""
        async with self._changed:
            self._changed.notify_all()

    async def _take(self) -> Member:
        return await self._found(lambda member: member.load < self._places)

    async def _reserve(self) -> Member:
        """A replica that takes nothing new, once it is empty."""
        while True:
            member = await self._found(lambda member: True)
            member.load -= 1
            member.reserved = True
            try:
                await self._until(partial(_is_empty_or_down, member))
            except BaseException:
                member.reserved = False
                raise
            if member.up:
                member.load += 1
                return member
            member.reserved = False

    async def _found(self, fits: Callable[[Member], bool]) -> Member:
        def free() -> list[Member]:
            return [member for member in self.members if member.up and not member.reserved and fits(member)]

        await self._until(lambda: bool(free()))
        member = min(free(), key=lambda member: member.load)
        member.load += 1
        return member

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(holds)


def _is_empty_or_down(member: Member) -> bool:
    return member.load == 0 or not member.up
