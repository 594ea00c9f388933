"""Migrations against a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tests.integration.postgres_server import PostgresServer, postgres_server

from vesemir.adapters.postgres import MigrationError, migrate, migrations
from vesemir.adapters.postgres.migrations import pending, shipped_migrations
from vesemir.engine.ports.store import StoreAwayError

__all__ = ["postgres_server"]


@pytest.fixture
async def empty_database(postgres_server: PostgresServer) -> AsyncIterator[str]:
    name = await postgres_server.make_database("template0")
    yield postgres_server.dsn(name)
    await postgres_server.drop_database(name)


async def test_all_are_applied_once_and_in_order(empty_database: str) -> None:
    """A second run finds nothing to do."""
    names = [migration.name for migration in shipped_migrations()]

    assert await migrate(empty_database) == names
    assert await migrate(empty_database) == []


async def test_ten_at_once_apply_each_once(empty_database: str) -> None:
    """Instances that start together do not get into each other's way."""
    answers = await asyncio.gather(*(migrate(empty_database) for _ in range(10)))

    assert max(answers, key=len) == [migration.name for migration in shipped_migrations()]
    assert sum(map(len, answers)) == len(shipped_migrations())


@pytest.fixture
async def older_database(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the first migration only, as an early version left it."""
    first = shipped_migrations()[:1]
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "shipped_migrations", lambda: first)
        await migrate(empty_database)
    return empty_database


async def test_a_table_in_use_is_waited_for_and_holds_up_nobody(
    older_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that waits makes everybody else wait behind it: it gives way, and comes again."""
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.3)
    reader, other = await asyncpg.connect(older_database), await asyncpg.connect(older_database)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM deployment")
            migrating = asyncio.create_task(migrate(older_database))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            for _ in range(2):  # it comes again after it gave way
                while not await other.fetchval(waiting):  # noqa: ASYNC110 - another session's state
                    await asyncio.sleep(0.01)
                await asyncio.wait_for(other.fetch("SELECT * FROM deployment"), 5)
            assert not migrating.done()
        assert await migrating == [migration.name for migration in shipped_migrations()[1:]]
    finally:
        await reader.close()
        await other.close()


async def test_a_table_that_is_never_free_is_an_error_and_changes_nothing(
    older_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(migrations, "TRIES", 3)
    reader = await asyncpg.connect(older_database)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM deployment")
            with pytest.raises(MigrationError, match="pg_stat_activity"):
                await migrate(older_database)
    finally:
        await reader.close()
    assert len(await pending(older_database)) == len(shipped_migrations()) - 1


async def test_an_edited_migration_is_refused(empty_database: str) -> None:
    """Its text is remembered: silently skipping an edited one would leave a schema that no version has."""
    await migrate(empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("UPDATE vesemir_migration SET sha256 = 'other' WHERE name = '0001_record'")
    await connection.close()

    with pytest.raises(MigrationError, match="0001_record was applied with another text"):
        await migrate(empty_database)


async def test_a_newer_database_is_left_alone(empty_database: str) -> None:
    """In a rolling upgrade the old version meets a schema that knows more."""
    await migrate(empty_database)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("INSERT INTO vesemir_migration (name, sha256) VALUES ('9999_later', '')")
    await connection.close()

    assert await migrate(empty_database) == []


async def test_no_server_says_so(unused_tcp_port: int) -> None:
    with pytest.raises(StoreAwayError, match="check that it runs"):
        await migrate(f"postgresql://vesemir@127.0.0.1:{unused_tcp_port}/vesemir")


async def test_a_missing_database_says_what_to_do(postgres_server: PostgresServer) -> None:
    with pytest.raises(StoreAwayError, match="create the database"):
        await migrate(postgres_server.dsn("nowhere"))


def test_a_folder_without_migrations_is_a_broken_installation(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="install the vesemir package again"):
        shipped_migrations(tmp_path)
