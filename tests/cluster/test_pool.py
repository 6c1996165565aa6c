"""Which replica a run goes to."""

import asyncio

import pytest

from detailscribe.agent.cluster.pool import Member, Pool
from detailscribe.tools.errors import ModelError


def pool(replicas=2, places=2):
    """In a running loop."""
    return Pool([Member(n, None, up=True) for n in range(replicas)], places)


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


class Guests:
    """Takes places and keeps them until they are let go."""

    def __init__(self, pool):
        self.pool, self.inside, self.leaving = pool, [], {}

    async def visit(self, name, alone=False):
        async with self.pool.place(alone=alone) as member:
            self.inside.append((name, member.number))
            self.leaving[name] = asyncio.Event()
            await self.leaving[name].wait()
        self.inside.remove((name, member.number))


async def test_places_are_shared_evenly_and_the_next_waits():
    guests = Guests(pool())
    tasks = [asyncio.create_task(guests.visit(n)) for n in range(5)]
    await settle()
    assert sorted(number for _, number in guests.inside) == [0, 0, 1, 1]
    guests.leaving[0].set()
    await settle()
    assert 4 in dict(guests.inside)
    for leaving in guests.leaving.values():
        leaving.set()
    await asyncio.gather(*tasks)


async def test_one_that_is_to_be_alone_waits_until_its_replica_is_empty_and_keeps_the_others_out():
    guests = Guests(pool(replicas=1, places=3))
    first = asyncio.create_task(guests.visit("first"))
    await settle()
    alone = asyncio.create_task(guests.visit("alone", alone=True))
    await settle()
    later = asyncio.create_task(guests.visit("later"))
    await settle()
    assert [name for name, _ in guests.inside] == ["first"]
    guests.leaving["first"].set()
    await settle()
    assert [name for name, _ in guests.inside] == ["alone"]
    guests.leaving["alone"].set()
    await settle()
    assert [name for name, _ in guests.inside] == ["later"]
    guests.leaving["later"].set()
    await asyncio.gather(first, alone, later)


async def test_one_that_waits_in_vain_gives_its_reservation_back():
    room = pool(replicas=1, places=2)
    guests = Guests(room)
    first = asyncio.create_task(guests.visit("first"))
    await settle()
    alone = asyncio.create_task(guests.visit("alone", alone=True))
    await settle()
    alone.cancel()
    await settle()
    second = asyncio.create_task(guests.visit("second"))
    await settle()
    assert [name for name, _ in guests.inside] == ["first", "second"]
    for leaving in guests.leaving.values():
        leaving.set()
    await asyncio.gather(first, second)
    assert room.members[0].load == 0


async def test_when_no_replica_will_come_back_the_pool_has_failed():
    room = pool()
    for member in room.members:
        await room.set_up(member, False)
    waiting = asyncio.create_task(Guests(room).visit("one"))
    await room.drop(room.members[0], ModelError("the first"))
    await settle()
    assert not waiting.done()
    assert not room.failed.done()
    await room.drop(room.members[1], ModelError("the second"))
    with pytest.raises(ModelError, match="the second"):
        await room.failed
    waiting.cancel()
