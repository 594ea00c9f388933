"""The record is looked at by writing; what it refuses to a message closes the gate, whatever the looks say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.engine.messages.mailbox import incoming

from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.ports.store import StoreAwayError, StoreBusyError
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.engine.upkeep.record_watch import LOOK_SECONDS, READING_PART, RECORD_PART, RecordWatch


class Record:
    """Writes and reads unless a reason is given; ``silent``: no answer at all."""

    def __init__(self) -> None:
        self.refuses = self.refuses_pages = self.refuses_reading = ""
        self.silent = False
        self.looks: list[bool] = []

    async def ping(self, *, thorough: bool = False) -> None:
        self.looks.append(thorough)
        if self.silent:
            await asyncio.Event().wait()
        if reason := self.refuses or (thorough and self.refuses_pages):
            raise StoreAwayError(str(reason))

    async def ping_reading(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.refuses_reading:
            raise StoreAwayError(self.refuses_reading)


class Watched:
    def __init__(self) -> None:
        self.record = Record()
        self.health = HealthRegistry()
        self.watch = RecordWatch(self.record, self.health)

    def detail(self, part: str = RECORD_PART) -> str:
        return next(each.detail for each in self.health.parts if each.name == part)


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    task = asyncio.create_task(made.watch.run())
    await made.watch.gate.wait_open()
    try:
        yield made
    finally:
        task.cancel()


async def seconds_until_closed(made: Watched) -> float:
    clock = asyncio.get_running_loop().time
    begun = clock()
    await made.watch.gate.wait_closed()
    return clock() - begun


async def test_a_record_that_refuses_writes_can_still_be_read() -> None:
    async with watched() as made:
        made.record.refuses = "read-only"
        assert await seconds_until_closed(made) < LOOK_SECONDS + 0.1
        await asyncio.sleep(0)
        assert (made.detail(), made.health.takes_work) == ("read-only", False)
        assert made.health.is_up(READING_PART)
        made.record.refuses = ""
        await made.watch.gate.wait_open()
        assert made.health.takes_work


async def test_a_silent_record_is_seen_within_10_seconds() -> None:
    async with watched() as made:
        made.record.silent = True
        assert await seconds_until_closed(made) < 10
        assert "no answer within 5 s" in made.detail()
        await asyncio.sleep(4)
        assert not made.health.is_up(READING_PART)


async def test_a_refused_message_is_believed_until_new_pages_can_be_written() -> None:
    """The row of a look finds room on a full disk; a message does not."""

    async def refuse(_: IncomingMessage) -> None:
        raise StoreAwayError("the disk is full")

    async with watched() as made:
        made.record.refuses_pages = "no space left"
        with pytest.raises(StoreAwayError):
            await made.watch.observed(refuse)(incoming(b"{}"))
        assert (made.watch.gate.is_open, made.detail()) == (False, "the disk is full")
        await asyncio.sleep(60)
        assert (made.watch.gate.is_open, made.detail()) == (False, "no space left")
        made.record.refuses_pages = ""
        await made.watch.gate.wait_open()
        await asyncio.sleep(2 * LOOK_SECONDS)
        assert made.record.looks[-1] is False, "pages are written in doubt only"


async def test_a_refusal_during_a_look_is_newer_than_the_look() -> None:
    async with watched() as made:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*, thorough: bool = False) -> None:
            made.record.looks.append(thorough)
            begun.set()
            await go_on.wait()

        made.record.ping = slow  # type: ignore[method-assign]
        await begun.wait()
        made.watch.refused("the disk is full")
        go_on.set()
        await asyncio.sleep(0.05)
        assert not made.watch.gate.is_open
        await made.watch.gate.wait_open()
        assert made.record.looks[-1] is True


async def test_rows_that_somebody_else_holds_stop_one_message_only() -> None:
    async def wait_in_vain(_: IncomingMessage) -> None:
        raise StoreBusyError("a lane is locked")

    async with watched() as made:
        with pytest.raises(StoreBusyError):
            await made.watch.observed(wait_in_vain)(incoming(b"{}"))
        assert made.watch.gate.is_open


async def test_fresh_waits_for_a_write_that_began_later_and_hurries_it() -> None:
    async with watched() as made:
        clock = asyncio.get_running_loop().time
        begun, looks = clock(), len(made.record.looks)
        await made.watch.fresh()
        assert len(made.record.looks) == looks + 1
        assert clock() - begun < LOOK_SECONDS / 2
        made.record.refuses = "read-only"
        waiting = asyncio.create_task(made.watch.fresh())
        await asyncio.sleep(60)
        assert not waiting.done(), "the gate was open when it was asked"
        made.record.refuses = ""
        await waiting


async def test_looks_are_not_more_than_one_a_second() -> None:
    async with watched() as made:
        looks = len(made.record.looks)
        await asyncio.sleep(100)
        assert len(made.record.looks) - looks <= 101
