"""A record that was restored from a backup: what happened since the backup, it does not know.

Hosts remember the epochs that they saw, so new claims must have higher ones; an event that comes again may have run.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from vesemir.adapters.postgres.errors import translated
from vesemir.adapters.postgres.servers import Servers
from vesemir.adapters.postgres.statements import statements
from vesemir.adapters.postgres.timelines import Timelines

EPOCHS = 10**9
"""More claims than any installation makes between a backup and its restore."""
_SECONDS = 10.0


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    with translated():
        connection = await Servers(dsn, Timelines()).connect(timeout=_SECONDS, command_timeout=_SECONDS)
        try:
            yield connection
        finally:
            connection.terminate()


async def mark_restored(dsn: str) -> int:
    """Raise the epochs and mark the record, both or none; the epoch reached. Raises ``StoreAwayError``."""
    async with _connection(dsn) as connection, connection.transaction():
        await statements().mark_restored.run(connection)
        return int(await statements().raise_epochs.value(connection, epochs=EPOCHS))


async def accept_repeats(dsn: str) -> list[datetime]:
    """Take older events again; the restores that this was about. Raises ``StoreAwayError``."""
    async with _connection(dsn) as connection:
        return [row["restored_at"] for row in await statements().accept_repeats.rows(connection)]


async def restored_since(dsn: str) -> datetime | None:
    """Of what time on unknown ids are taken; None if there was no restore, or repeats are accepted."""
    async with _connection(dsn) as connection:
        found: datetime | None = await statements().restored_since.value(connection)
    return found
