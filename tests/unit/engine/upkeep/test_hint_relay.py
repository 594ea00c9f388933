"""Hints wake what they are for: one's own at once, another instance's a moment later and once for many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.engine.virtual_time import until

from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.hint_relay import HINT_SECONDS, HintRelay


class ScriptedHints:
    """The record's notifications, each list on one connection; after the last one nothing comes any more."""

    def __init__(self, *connections: list[str] | StoreAwayError) -> None:
        self.connections = list(connections)
        self.asked = 0

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str]]:
        self.asked += 1
        if not self.connections:
            await asyncio.Event().wait()
        notified = self.connections.pop(0)
        if isinstance(notified, StoreAwayError):
            raise notified
        yield _each(notified)


async def _each(hints: list[str]) -> AsyncIterator[str]:
    for hint in hints:
        yield hint


class Woken:
    """When what was woken, by the loop's clock."""

    def __init__(self, store: ScriptedHints) -> None:
        self.work: list[float] = []
        self.wishes: list[float] = []
        self.relay = HintRelay(
            store,  # type: ignore[arg-type] # the part of a store that is used here
            on_work=lambda: self.work.append(asyncio.get_running_loop().time()),
            on_wish=lambda: self.wishes.append(asyncio.get_running_loop().time()),
        )


async def test_many_hints_of_work_are_one_look_a_moment_later() -> None:
    store = ScriptedHints(["work", "outbox", "wish", "work"])
    woken = Woken(store)
    running = asyncio.create_task(woken.relay.run())
    await until(lambda: store.asked == 2)
    running.cancel()
    assert woken.work == [pytest.approx(HINT_SECONDS)]
    assert woken.wishes == [0.0]


async def test_a_hint_after_the_look_makes_another_look() -> None:
    store = ScriptedHints(["work"], ["work"])
    woken = Woken(store)
    running = asyncio.create_task(woken.relay.run())
    await until(lambda: store.asked == 3)
    running.cancel()
    assert len(woken.work) == 2


async def test_a_record_that_is_away_is_listened_to_again() -> None:
    store = ScriptedHints(StoreAwayError("away"), ["wish"])
    woken = Woken(store)
    running = asyncio.create_task(woken.relay.run())
    await until(lambda: woken.wishes)
    running.cancel()


async def test_what_this_instance_wrote_wakes_at_once() -> None:
    woken = Woken(ScriptedHints())
    woken.relay.wake_work()
    assert (woken.work, woken.wishes) == ([0.0], [])
    woken.relay.wake()
    assert (woken.work, woken.wishes) == ([0.0, 0.0], [0.0])
