"""Sections that one deployment at a time is in, across all instances: a locked row, held by an open transaction.

Who dies in it takes the lock along: no lock is ever left behind. The transaction writes nothing, so how it ends
does not matter. Within one instance a lock in memory comes first, so that a hundred targets of one backend wait on one
connection, not on a hundred; and sections have a pool of their own, or those who wait here would keep a lease's renewal
waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from weakref import WeakValueDictionary

import asyncpg

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.statements import statements
from vesemir.engine.ports.store import StoreAwayError


class Sections:
    """The sections of one instance. ``wait_seconds`` is one wait for another instance, below the statement's limit."""

    def __init__(self, database: Database, *, wait_seconds: float) -> None:
        self._database = database
        self._wait_seconds = wait_seconds
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def section(self, name: str) -> AsyncIterator[None]:
        """Wait for the section, however long others are in it. Raises ``StoreAwayError`` if the database stays away."""
        async with self._here.setdefault(name, asyncio.Lock()):
            held = None
            while held is None:
                held = await self._database.retried(lambda _attempt: self._entered(name))
            try:
                yield
            finally:
                with suppress(StoreAwayError):
                    await held.aclose()

    async def _entered(self, name: str) -> AsyncExitStack | None:
        """What to close on leaving; None if others are still in it."""
        async with self._database.connection() as connection:
            await statements().make_section.run(connection, name=name)
        async with AsyncExitStack() as attempt:
            connection = await attempt.enter_async_context(self._database.transaction())
            wait = f"{int(self._wait_seconds * 1000)}ms"
            await statements().allow_waiting.run(connection, wait=wait)
            try:
                await statements().lock_section.run(connection, name=name)
            except asyncpg.LockNotAvailableError:
                return None
            return attempt.pop_all()
