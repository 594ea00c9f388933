"""NOTIFY and LISTEN. Hints may be lost: a poll is the truth.

NOTIFY is not part of the transactions that it tells of: PostgreSQL lets only one transaction with a NOTIFY commit at a
time, which would make every commit of every instance wait for the disk alone. It follows them, many hints in one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import asyncpg

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.errors import is_away, translated
from vesemir.adapters.postgres.poolers import PoolMode, server_process
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.engine.ports.store import StoreAwayError

_CHANNEL = "vesemir"
_LOOK_SECONDS = 10.0
"""LISTEN dies silently: after so long without a hint the connection is asked whether it still lives."""
_MODE_SECONDS = 60.0
"""After so long it is asked again whether there is a session to LISTEN in: a pooler's mode can be changed."""
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
    """The iterator ends when the connection dies; then open another one.

    Behind a pooler in transaction mode it gives no hint: LISTEN would be another client's by the next transaction.
    """
    async with database.own_connection() as connection:
        if await database.pool_mode(connection) is PoolMode.TRANSACTION:
            connection.terminate()
            yield _silence()
            return
        waiting: asyncio.Queue[str] = asyncio.Queue()

        def heard(_connection: Connection, _pid: int, _channel: str, payload: object) -> None:
            waiting.put_nowait(str(payload))

        def died(_connection: object) -> None:
            waiting.put_nowait(_END)

        with translated():
            connection.add_termination_listener(died)
            await connection.add_listener(_CHANNEL, heard)
            process = await server_process(connection)
        yield _until_dead(connection, waiting, process)


async def _silence() -> AsyncIterator[str]:
    await asyncio.sleep(_MODE_SECONDS)
    none: tuple[str, ...] = ()
    for hint in none:
        yield hint


async def _until_dead(
    connection: asyncpg.Connection, waiting: "asyncio.Queue[str]", process: int
) -> AsyncIterator[str]:
    while True:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                payload = await waiting.get()
        except TimeoutError:
            if not await _lives(connection, process):
                return
            continue
        if payload == _END:
            return
        yield payload


async def _lives(connection: asyncpg.Connection, process: int) -> bool:
    """And is still at the process of the server that LISTEN was said to."""
    try:
        return await server_process(connection) == process
    except Exception as error:
        if not is_away(error):
            raise
        return False
