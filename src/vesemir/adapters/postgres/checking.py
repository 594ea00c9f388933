"""What ``vesemir check`` asks of the record, in the way in which an instance does: what works here works there."""

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.poolers import PoolMode
from vesemir.adapters.postgres.statements import statements
from vesemir.adapters.postgres.timelines import Timelines
from vesemir.settings import PostgresSettings


async def check_writes(settings: PostgresSettings) -> PoolMode | None:
    """Write and commit, new pages too; how a pooler between them works, if there is one.

    Raises ``StoreAwayError`` with the reason.
    """
    async with Database.opened(settings, size=1, timelines=Timelines()) as database:
        await database.ping()
        await database.ping_pages()
        async with database.own_connection() as connection:
            return await database.pool_mode(connection)


async def may_change_audit(settings: PostgresSettings) -> bool:
    """Whether the role of ``postgres.dsn`` may change or delete rows of the audit. Raises ``StoreAwayError``."""
    async with (
        Database.opened(settings, size=1, timelines=Timelines()) as database,
        database.connection() as connection,
    ):
        return bool(await statements().may_delete_audit.value(connection))
