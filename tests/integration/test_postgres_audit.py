"""The audit in PostgreSQL: what is done to its rows is found, and the daemon's role may only add to it."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.contract.store_suite import QUEUE, a_deployment, accepted_and_claimed, finish
from tests.integration.postgres_server import PostgresServer, database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.adapters.postgres.audit_pruning import prune
from vesemir.adapters.postgres.checking import may_change_audit
from vesemir.domain.audit import AuditEntry, AuditHead, verify
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.store import ControlCommand
from vesemir.settings import PostgresSettings
from vesemir.shipped import sql_folder

__all__ = ["database", "postgres_server"]

DAEMON = "vesemir_daemon"


@pytest.fixture
async def direct(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def written(database: str, *names: str, rows: int = 5) -> list[AuditHead]:
    """A chain for each name, one after the other; the heads."""
    heads: list[AuditHead] = []
    for name in names:
        async with PostgresStore.connected(PostgresSettings(dsn=database), instance=name) as store:
            await asyncio.gather(
                *(store.audit(AuditEntry("refusal", "request.invalid", version=str(each))) for each in range(rows))
            )
            heads = list(await store.audit_heads())
    return heads


async def problems(database: str, known: list[AuditHead]) -> list[tuple[str, int]]:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="reader") as store:
        return [(problem.chain[:3], problem.number) for problem in verify(await store.audit_rows(), known)]


TAMPERING = {
    "changed": (
        """UPDATE audit SET entry = entry || '{"outcome": "accepted"}' WHERE chain LIKE 'a/1%' AND number = 3""",
        ("a/1", 3),
    ),
    "removed": ("DELETE FROM audit WHERE chain LIKE 'a/1%' AND number = 3", ("a/1", 4)),
    "first removed": ("DELETE FROM audit WHERE chain LIKE 'a/1%' AND number = 1", ("a/1", 2)),
    "inserted": (
        """INSERT INTO audit (chain, number, previous, hash, entry)
        SELECT chain, 6, hash, repeat('0', 64), entry FROM audit WHERE chain LIKE 'a/1%' AND number = 5""",
        ("a/1", 6),
    ),
    "cut tail": ("DELETE FROM audit WHERE chain LIKE 'b/2%' AND number > 3", ("b/2", 5)),
    "dropped chain": ("DELETE FROM audit WHERE chain LIKE 'b/2%'", ("b/2", 5)),
    "dropped chain that a later one has seen": ("DELETE FROM audit WHERE chain LIKE 'a/1%'", ("a/1", 5)),
}


@pytest.mark.parametrize("how", TAMPERING)
async def test_what_was_done_to_rows_is_found_given_the_last_heads(
    database: str, direct: asyncpg.Connection, how: str
) -> None:
    known = await written(database, "a/1", "b/2")
    assert await problems(database, known) == []
    statement, place = TAMPERING[how]
    await direct.execute(statement)
    assert place in await problems(database, known)


async def test_ten_thousand_rows_are_verified_in_seconds(database: str) -> None:
    known = await written(database, "a/1", "b/2", rows=5000)
    began = time.perf_counter()
    assert await problems(database, known) == []
    assert time.perf_counter() - began < 10


async def test_a_process_that_lost_its_place_finds_it_again(database: str) -> None:
    """As after a commit whose answer was lost: the end of the chain is read again."""
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        await store.audit(AuditEntry("refusal", "request.invalid"))
        store.audit_chain.forget()
        await store.accept(a_deployment(), QUEUE)
        assert [row.number for row in await store.audit_rows()] == [1, 2]
        assert verify(await store.audit_rows()) == []


async def test_retention_leaves_a_row_that_says_so_and_an_audit_that_verifies(
    database: str, direct: asyncpg.Connection
) -> None:
    known = await written(database, "a/1", "b/2")
    settings = PostgresSettings(dsn=database)
    for _ in range(2):
        await prune(settings, before=datetime.now(UTC) + timedelta(days=1), who="anna")
    assert await problems(database, known) == []
    assert await direct.fetchval("SELECT count(*) FROM audit WHERE chain LIKE 'a/1%'") == 1
    assert await prune(settings, before=datetime.now(UTC) - timedelta(days=1), who="anna") == 0
    await direct.execute("DELETE FROM audit WHERE chain LIKE 'a/1%'")
    assert ("a/1", 5) in await problems(database, [])


async def test_what_was_tampered_with_is_not_pruned(database: str, direct: asyncpg.Connection) -> None:
    await written(database, "a/1")
    await direct.execute("DELETE FROM audit WHERE number = 2")
    with pytest.raises(VesemirError, match="nothing was pruned"):
        await prune(PostgresSettings(dsn=database), before=datetime.now(UTC), who="anna")


async def test_the_daemons_role_works_and_can_only_add_to_the_audit(
    database: str, postgres_server: PostgresServer
) -> None:
    name = urlsplit(database).path.lstrip("/")
    role_file, psql = sql_folder() / "roles" / "daemon.sql", shutil.which("psql")
    assert psql is not None
    for _ in range(2):
        arguments = [psql, "--dbname", database, "--set", f"daemon={DAEMON}", "--file", str(role_file)]
        done = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    dsn = database.replace("//vesemir@", f"//{DAEMON}@")
    try:
        async with PostgresStore.connected(PostgresSettings(dsn=dsn), instance="a/1", namespace="vesemir") as store:
            await store.ping(thorough=True)
            claim = await accepted_and_claimed(store)
            await store.control(ControlCommand("pause", "d1", "me", None))
            await finish(store, claim)
            assert len(await store.audit_rows()) == 2
        connection = await asyncpg.connect(dsn)
        for statement in ("UPDATE audit SET hash = ''", "DELETE FROM audit", "TRUNCATE audit", "DROP TABLE audit"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()
        assert not await may_change_audit(PostgresSettings(dsn=dsn))
        assert await may_change_audit(PostgresSettings(dsn=database))
    finally:
        await postgres_server.execute(f"DROP OWNED BY {DAEMON}", name)
        await postgres_server.execute(f"DROP ROLE {DAEMON}")
