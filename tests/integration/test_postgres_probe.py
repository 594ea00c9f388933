"""What keeps the record from being written is seen by a write, in words, and a lock of somebody else stops one lane."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.contract.store_suite import a_deployment
from tests.integration.postgres_server import PostgresServer, database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.engine.ports.store import AcceptKind, StoreAwayError, StoreBusyError
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]


@asynccontextmanager
async def somebody_else(dsn: str, *statements: str) -> AsyncIterator[None]:
    """Has a transaction open in which these were done."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("BEGIN")
        for statement in statements:
            await connection.execute(statement)
        yield
    finally:
        await connection.close()


async def refused(store: PostgresStore, *, thorough: bool = False) -> str:
    begun = time.monotonic()
    with pytest.raises(StoreAwayError) as caught:
        await store.ping(thorough=thorough)
    assert time.monotonic() - begun < 5
    return str(caught.value)


async def test_a_table_that_somebody_else_locks(database: str) -> None:
    """As a migration does, or an index that is made in the usual way."""
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        await store.ping(thorough=True)
        async with somebody_else(database, "LOCK TABLE event IN SHARE MODE"):
            assert "somebody else holds a lock" in await refused(store)
            await store.ping_reading()
        await store.ping(thorough=True)
        rows = await store._for_ping._pool.fetchval("SELECT count(*) FROM write_probe_filler")
        assert rows == 0


async def test_a_table_that_is_locked_for_a_moment_is_no_outage(database: str) -> None:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        async with somebody_else(database, "LOCK TABLE deployment"):
            look = asyncio.create_task(store.ping())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(look), 1)
        await look


async def test_a_database_that_refuses_writes(postgres_server: PostgresServer, database: str) -> None:
    name = urlsplit(database).path.removeprefix("/")
    await postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        assert "the database refuses writes" in await refused(store)
        await store.ping_reading()
        await postgres_server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        with suppress(StoreAwayError):
            await store.ping()  # on the connection of just now, which does not know it yet, and is given up
        await store.ping()


async def test_no_connection_is_left(postgres_server: PostgresServer, database: str) -> None:
    """The ping has its own, so only the thorough one sees it: a refused message asks for that."""
    name = urlsplit(database).path.removeprefix("/")
    role = f"few_{name}"
    await postgres_server.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT vesemir TO {role}")
    dsn = database.replace("vesemir@", f"{role}@")
    async with PostgresStore.connected(PostgresSettings(dsn=dsn), instance="a/1") as store:
        await store.ping()
        assert "too many connections" in await refused(store, thorough=True)
        await postgres_server.execute(f"ALTER ROLE {role} CONNECTION LIMIT 5")
        await store.ping(thorough=True)
    await postgres_server.execute(f"DROP ROLE {role}")


async def test_a_lane_that_somebody_else_locks_stops_its_own_events_only(database: str) -> None:
    """Although events that come together are accepted in one transaction."""
    settings = PostgresSettings(dsn=database, command_timeout_seconds=0.5)
    stuck = replace(a_deployment("d1"), application="stuck")
    others = [replace(a_deployment(f"e{number}"), application=f"free{number}") for number in range(3)]
    async with PostgresStore.connected(settings, instance="a/1") as store:
        await store.accept(replace(stuck, deployment_id="d0"), None)
        async with somebody_else(database, "SELECT FROM lane WHERE name LIKE 'stuck/%' FOR UPDATE"):
            asked = (store.accept(each, None) for each in (stuck, *others))
            first, *rest = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, StoreBusyError)
        assert rest == [AcceptKind.ACCEPTED] * 3
        assert await store.accept(stuck, None) is AcceptKind.ACCEPTED
