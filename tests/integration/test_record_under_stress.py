"""Somebody else stands in the record's way: 503 with the reason within 10 s, nothing lost, recovery by itself.

A whole instance on a real RabbitMQ and PostgreSQL. Writes refused are in ``test_record_refuses``, a full disk in fault
43 of ``tests.chaos``.
"""

import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from tests.integration.postgres_server import PostgresServer, database, new_server, postgres_server
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.refusing_record import Site, site_opened
from tests.integration.test_postgres_probe import somebody_else

__all__ = ["database", "postgres_server", "rabbit_server"]

EVENTS = 5


@pytest.fixture
async def role(postgres_server: PostgresServer, database: str) -> AsyncIterator[str]:
    """The DSN of one that may do everything in the database and has none of the superuser's connections."""
    name = f"ordinary_{database.rpartition('/')[2]}"
    await postgres_server.execute(f"CREATE ROLE {name} LOGIN; GRANT vesemir TO {name}")
    yield database.replace("vesemir@", f"{name}@")
    await postgres_server.execute(f"DROP ROLE {name}")


@asynccontextmanager
async def no_connection_left(site: Site) -> AsyncIterator[str]:
    """max_connections is reached, and the instance has none: what it had is taken as soon as it is ended."""
    ours = "application_name LIKE 'vesemir%'"
    administrator = await asyncpg.connect(site.server.dsn("postgres"))
    async with AsyncExitStack() as taken:
        taken.push_async_callback(administrator.close)
        while await administrator.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"):  # noqa: S608
            await administrator.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")  # noqa: S608
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    connection = await asyncpg.connect(site.dsn)
                    taken.push_async_callback(connection.close)
        yield "raise max_connections"


@asynccontextmanager
async def table_locked_by_a_migration(site: Site) -> AsyncIterator[str]:
    async with somebody_else(site.dsn, "ALTER TABLE deployment ADD COLUMN made_by_somebody_else text"):
        yield "somebody else holds a lock"


Cause = Callable[[Site], AbstractAsyncContextManager[str]]


@pytest.mark.parametrize("cause", [no_connection_left, table_locked_by_a_migration])
async def test_nothing_is_lost_and_it_recovers_by_itself(
    rabbit_server: RabbitServer, postgres_server: PostgresServer, role: str, tmp_path: Path, cause: Cause
) -> None:
    async with site_opened(rabbit_server, postgres_server, role, tmp_path, instances=1) as site:
        await site.healthy()
        async with cause(site) as reason:
            asked = await site.ask(EVENTS)
            await site.unhealthy_because(reason)
        await site.healthy(seconds=10)
        assert await site.accepted(asked) == EVENTS
        assert max(site.returns.values()) <= 1


@pytest.fixture
def standby(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A hot standby of the server, which can be read."""
    server = new_server()
    try:
        server.copy_of(postgres_server)
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(server.folder)


async def test_a_standby_is_not_written_to_until_it_is_promoted(
    rabbit_server: RabbitServer, database: str, standby: PostgresServer, tmp_path: Path
) -> None:
    """``database`` was made before the copy, so it is there."""
    dsn = standby.dsn(database.rpartition("/")[2])
    async with site_opened(rabbit_server, standby, dsn, tmp_path, instances=1) as site:
        await site.unhealthy_because("standby")
        asked = await site.ask(EVENTS)
        await standby.execute("SELECT pg_promote()")
        await site.healthy(seconds=10)
        assert await site.accepted(asked) == EVENTS
        assert max(site.returns.values()) == 0


async def test_a_long_transaction_that_holds_rows_stops_their_lane_only(
    rabbit_server: RabbitServer, postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    """The instance takes work: what waits is held by it, and not returned."""
    short = {"command_timeout_seconds": 1}  # how long those wait that are accepted together with what is stuck
    async with site_opened(rabbit_server, postgres_server, database, tmp_path, instances=1, **short) as site:
        await site.healthy()
        first = await site.ask(1, application="stuck")
        assert await site.accepted(first) == 1
        rows = ("lane WHERE name LIKE 'stuck/%'", "deployment WHERE application = 'stuck'")
        async with somebody_else(database, *(f"SELECT FROM {each} FOR UPDATE" for each in rows)):
            stuck = await site.ask(1, application="stuck")
            others = await site.ask(EVENTS)
            assert await site.accepted(others) == EVENTS
            assert await site.accepted(stuck, seconds=0) == 0
            assert await site.instances[0].reason() == ""
        assert await site.accepted(stuck) == 1
        assert max(site.returns.values()) == 0
