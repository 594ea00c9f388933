"""Whether the record can be written, and read: looked at every second, for the gate of all that needs it.

A look writes and commits. What it writes is small, so it may succeed where a message cannot be stored (a full disk, no
connection left): a write that was refused is believed more than the look. The record then counts as away until a
thorough look, which writes new pages on the connections of the record, has succeeded.
"""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from vesemir.engine.ports.broker import Handler, IncomingMessage
from vesemir.engine.ports.store import StoreAwayError, StoreBusyError
from vesemir.engine.upkeep.health import HealthRegistry, PartState

RECORD_PART = "database"
READING_PART = "database.read"
"""The parts of the health that say whether the record can be written, and read."""

LOOK_SECONDS = 1.0
HURRIED_SECONDS = 0.2
"""Between two looks, at least; the shorter one when somebody waits for a fresh one."""

ANSWER_SECONDS = 5.0
READ_SECONDS = 3.0
"""How long a look may take: with the pause, a record that falls silent is seen well within 10 s."""


class ProbedRecord(Protocol):
    """What is looked at. Both raise ``StoreAwayError`` with the reason in words."""

    async def ping(self, *, thorough: bool = False) -> None: ...
    async def ping_reading(self) -> None: ...


class RecordWatch:
    """``run`` for ever. The gate itself is the registry's, of ``RECORD_PART``."""

    def __init__(self, record: ProbedRecord, health: HealthRegistry) -> None:
        self._record = record
        self._health = health
        self._refusals = 0
        self._doubted = False
        self._begun = 0
        self._proved = 0
        self._proof = asyncio.Event()
        self._hurry = asyncio.Event()
        self.gate = health.gate(RECORD_PART)
        health.expect(READING_PART, required=False)

    async def run(self) -> None:
        while True:
            await self._look()
            await self._pause()

    async def fresh(self) -> None:
        """Return when a write that began after this call has succeeded."""
        needed = self._begun + 1
        self._hurry.set()
        while self._proved < needed:
            await self._proof.wait()

    def observed(self, handler: Handler) -> Handler:
        """The same handler; when the record refuses what it writes, the gate closes at once."""

        async def handle(message: IncomingMessage) -> None:
            try:
                await handler(message)
            except StoreBusyError:
                raise  # one message's rows: the others go on
            except StoreAwayError as error:
                self.refused(str(error))
                raise

        return handle

    def refused(self, reason: str) -> None:
        """A write was refused, whatever the looks say."""
        self._refusals += 1
        self._doubted = True
        self._health.report(RECORD_PART, PartState.DOWN, reason)

    async def _look(self) -> None:
        self._begun += 1
        refusals = self._refusals
        try:
            await _within(ANSWER_SECONDS, self._record.ping(thorough=self._doubted))
        except StoreAwayError as error:
            self._health.report(RECORD_PART, PartState.DOWN, str(error))
            await self._look_whether_it_reads()
            return
        self._health.report(READING_PART, PartState.UP)
        if self._refusals == refusals:
            self._doubted = False
            self._proved = self._begun
            self._health.report(RECORD_PART, PartState.UP)
            self._proof.set()
            self._proof = asyncio.Event()

    async def _look_whether_it_reads(self) -> None:
        try:
            await _within(READ_SECONDS, self._record.ping_reading())
        except StoreAwayError as error:
            self._health.report(READING_PART, PartState.DOWN, str(error))
        else:
            self._health.report(READING_PART, PartState.UP)

    async def _pause(self) -> None:
        await asyncio.sleep(HURRIED_SECONDS)
        try:
            async with asyncio.timeout(LOOK_SECONDS - HURRIED_SECONDS):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._hurry.clear()


async def _within(seconds: float, look: Awaitable[None]) -> None:
    """Raises ``StoreAwayError`` when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            await look
    except TimeoutError as error:
        raise StoreAwayError(
            f"PostgreSQL: no answer within {seconds:g} s; check that it runs and is reachable"
        ) from error
