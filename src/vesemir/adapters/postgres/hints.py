"""LISTEN, on a connection of its own. Hints may be lost: a poll is the truth."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.errors import is_away, translated
from vesemir.adapters.postgres.statements import Connection

_CHANNEL = "vesemir"
_LOOK_SECONDS = 10.0
"""LISTEN dies silently: after so long without a hint the connection is asked whether it still lives."""
_END = ""


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
