"""NOTIFY and LISTEN. Hints may be lost: a poll is the truth.

NOTIFY is not part of the transactions that it tells of: PostgreSQL lets only one transaction with a NOTIFY commit at a
time, which would make every commit of every instance wait for the disk alone. It follows them, many hints in one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.errors import is_away, translated
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.engine.ports.store import StoreAwayError

_CHANNEL = "vesemir"
_LOOK_SECONDS = 10.0
"""LISTEN dies silently: after so long without a hint the connection is asked whether it still lives."""
_LAST_SECONDS = 1.0
"""For the hints of the last moment: what is handed back at a stop should be claimed at once."""
_END = ""


class Announcer:
    """Sends hints from one task: those of a moment go together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: set[str] = set()
        self._something = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, database: Database) -> AsyncIterator[Self]:
        announcer = cls(database)
        task = asyncio.create_task(announcer._send(), name="postgres hints")
        try:
            yield announcer
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(StoreAwayError, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await announcer._send_waiting()

    def tell(self, *hints: str) -> None:
        """Soon, after what they tell of was committed."""
        self._waiting.update(hints)
        self._something.set()

    async def _send(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            with suppress(StoreAwayError):
                await self._send_waiting()

    async def _send_waiting(self) -> None:
        reported, self._waiting = self._waiting, set()
        if not reported:
            return
        try:
            async with self._database.connection() as connection:
                await statements().notify.run(connection, hints=sorted(reported))
        except asyncio.CancelledError:
            self._waiting |= reported
            raise


@asynccontextmanager
async def hints(database: Database) -> AsyncIterator[AsyncIterator[str]]:
    """The iterator ends when the connection dies; then open another one."""
    async with database.own_connection() as connection:
        waiting: asyncio.Queue[str] = asyncio.Queue()

        def heard(_connection: Connection, _pid: int, _channel: str, payload: object) -> None:
            waiting.put_nowait(str(payload))

        def died(_connection: object) -> None:
            waiting.put_nowait(_END)

        with translated():
            connection.add_termination_listener(died)
            await connection.add_listener(_CHANNEL, heard)
        yield _until_dead(connection, waiting)


async def _until_dead(connection: Connection, waiting: "asyncio.Queue[str]") -> AsyncIterator[str]:
    while True:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                payload = await waiting.get()
        except TimeoutError:
            if not await _lives(connection):
                return
            continue
        if payload == _END:
            return
        yield payload


async def _lives(connection: Connection) -> bool:
    try:
        await connection.execute("SELECT 1")
    except Exception as error:
        if not is_away(error):
            raise
        return False
    return True
