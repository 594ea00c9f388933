"""Room for output: never more than there is, first come, first served, and nothing of it is ever lost."""

import asyncio

import pytest

from vesemir.adapters.ssh.room import OutputRoom


async def test_who_has_no_room_waits_for_it_in_turn() -> None:
    room, order = OutputRoom(100), list[str]()

    async def enter(name: str, amount: int) -> None:
        assert await room.take(amount) == amount
        order.append(name)

    await enter("first", 60)
    waiting = [asyncio.create_task(enter(name, amount)) for name, amount in (("large", 80), ("small", 10))]
    await asyncio.sleep(0)
    assert order == ["first"], "the small one would fit, and does not overtake"
    room.give_back(60)
    await asyncio.gather(*waiting)
    assert order == ["first", "large", "small"]
    assert room.free == 10


async def test_one_who_needs_more_than_all_gets_all() -> None:
    room = OutputRoom(100)
    assert await room.take(1000) == 100
    room.give_back(100)
    assert room.free == 100


@pytest.mark.parametrize("served", [False, True])
async def test_who_stops_waiting_leaves_the_room_to_the_next(*, served: bool) -> None:
    room = OutputRoom(100)
    assert await room.take(100) == 100
    first, second = (asyncio.create_task(room.take(70)) for _ in range(2))
    await asyncio.sleep(0)
    if served:
        room.give_back(100)  # it has got its room, and is cancelled before it can know
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    if not served:
        room.give_back(100)
    assert await second == 70
    assert room.free == 30
