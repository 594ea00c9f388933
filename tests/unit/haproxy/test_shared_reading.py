"""One reading for all who ask at the same time, and never one that began before the question."""

import asyncio

import pytest

from vesemir.adapters.haproxy.sharing import SharedAnswer


class Source:
    """Counts readings; each waits until it is let go, and returns what ``value`` was when it began."""

    def __init__(self) -> None:
        self.value = 0
        self.readings = 0
        self.began = asyncio.Event()
        self.go = asyncio.Event()

    async def read(self) -> int:
        self.readings += 1
        value = self.value
        self.began.set()
        await self.go.wait()
        if value < 0:
            raise ConnectionError("away")
        return value


async def test_all_who_ask_at_the_same_time_share_one_reading() -> None:
    source = Source()
    shared = SharedAnswer(source.read)
    source.go.set()
    assert await asyncio.gather(*(shared.get() for _ in range(50))) == [0] * 50
    assert source.readings == 1


async def test_who_asks_during_a_reading_gets_the_next_one() -> None:
    """What was set before the question is seen: the reading under way may have begun before it was set."""
    source = Source()
    shared = SharedAnswer(source.read)
    first = asyncio.create_task(shared.get())
    await source.began.wait()
    source.value = 1
    later = [asyncio.create_task(shared.get()) for _ in range(20)]
    source.go.set()
    assert await first == 0
    assert await asyncio.gather(*later) == [1] * 20
    assert source.readings == 2


async def test_a_failure_is_everybodys_and_the_next_question_reads_again() -> None:
    source = Source()
    shared = SharedAnswer(source.read)
    source.value = -1
    source.go.set()
    results = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]
    source.value = 7
    assert await shared.get() == 7


async def test_one_who_is_cancelled_leaves_the_others_undisturbed() -> None:
    source = Source()
    shared = SharedAnswer(source.read)
    gone, stays = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await source.began.wait()
    gone.cancel()
    source.go.set()
    assert await stays == 0
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_closing_ends_what_is_still_being_read() -> None:
    source = Source()
    shared = SharedAnswer(source.read)
    waiting = asyncio.create_task(shared.get())
    await source.began.wait()
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
