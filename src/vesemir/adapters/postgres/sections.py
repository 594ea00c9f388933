"""Sections that one deployment at a time is in, across all instances: a locked row, held by an open transaction.

Whoever dies in it takes the lock along: no lock is ever left behind. The transaction writes nothing, so how it ends
does not matter.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.statements import statements
from vesemir.engine.store import StoreAwayError

_PAUSE_SECONDS = 0.1
_TRY_SECONDS = 20.0
"""How long a database that is away is tried again, as for any write."""


@asynccontextmanager
async def section(database: Database, name: str) -> AsyncIterator[None]:
    """Wait for the section and be in it. Raises ``StoreAwayError`` when the database stays away."""
    async with AsyncExitStack() as stack:
        give_up = asyncio.get_running_loop().time() + _TRY_SECONDS
        while True:
            attempt = AsyncExitStack()
            try:
                if await _entered(attempt, database, name):
                    stack.push_async_callback(_leave, attempt)
                    break
            except StoreAwayError:
                if asyncio.get_running_loop().time() >= give_up:
                    raise
            await _leave(attempt)
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, not a secret)
        yield


async def _leave(attempt: AsyncExitStack) -> None:
    with suppress(StoreAwayError):
        await attempt.aclose()


async def _entered(stack: AsyncExitStack, database: Database, name: str) -> bool:
    connection = await stack.enter_async_context(database.transaction())
    await statements().allow_idle.run(connection)
    await statements().make_section.run(connection, name=name)
    return await statements().lock_section.row(connection, name=name) is not None
