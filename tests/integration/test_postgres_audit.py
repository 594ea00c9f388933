"""The audit in PostgreSQL: what is done to its rows is found, and the daemon's role may only add to it."""

import asyncio
import json
import shutil
import subprocess
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.contract.store_suite import QUEUE, a_deployment, accepted_and_claimed, finish
from tests.integration.postgres_server import PostgresServer, database, postgres_server

from vesemir.adapters.postgres import PostgresStore, audit_reading
from vesemir.adapters.postgres.audit_pruning import prune
from vesemir.adapters.postgres.checking import may_change_audit
from vesemir.domain.audit import AuditEntry, AuditHead, AuditRow, row_after, verify
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
        audit = await store.verified_audit(known)
        assert list(audit.problems) == verify(await store.audit_rows(), known)
        return [(problem.chain[:3], problem.number) for problem in audit.problems]


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


async def copied(connection: asyncpg.Connection, *chains: str, rows: int) -> None:
    """Written as fast as the database takes them, not by the store."""
    for chain in chains:
        made: list[AuditRow] = []
        for number in range(rows):
            written = AuditEntry("control", "accepted", reason=f"{number:0500}").as_json()
            entry = {"at": "2026-11-28T03:00:00.000000Z", **written, **({} if made else {"heads": {}})}
            made.append(row_after(chain, made[-1].head if made else None, entry))
        await connection.execute(
            "INSERT INTO audit (chain, number, previous, hash, entry) SELECT $1, * FROM"
            " unnest($2::bigint[], $3::text[], $4::text[], $5::jsonb[])",
            chain,
            [row.number for row in made],
            [row.previous for row in made],
            [row.hash for row in made],
            [json.dumps(row.entry) for row in made],
        )


@pytest.mark.parametrize("page", [1, 7, 20, 1000])
async def test_pages_leave_no_row_out(
    database: str, direct: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(audit_reading, "PAGE_ROWS", page)
    await copied(direct, "a/1", "a/10", "B/1", rows=20)
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="reader") as store:
        found = [(row.chain, row.number) for row in await store.audit_rows()]
        assert found == [(chain, number) for chain in ("B/1", "a/1", "a/10") for number in range(1, 21)]
        audit = await store.verified_audit()
        assert (audit.rows, audit.found, len(audit.heads)) == (60, 0, 3)


async def test_memory_does_not_grow_with_the_audit(database: str, direct: asyncpg.Connection) -> None:
    """Held all at once, so many rows are more than 20 MiB of objects."""
    await copied(direct, "a/1", "b/1", rows=5000)
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="reader") as store:
        tracemalloc.start()
        try:
            audit = await store.verified_audit()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (audit.rows, audit.found) == (10_000, 0)
    assert most < 10 * 1024 * 1024, f"{most / 1024 / 1024:.1f} MiB"


async def test_of_an_audit_that_was_written_anew_not_every_row_is_told(
    database: str, direct: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_reading, "SHOWN_PROBLEMS", 5)
    await copied(direct, "a/1", rows=20)
    await direct.execute("UPDATE audit SET hash = 'x'")
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="reader") as store:
        audit = await store.verified_audit([AuditHead("a/1", 20, "y")])
        assert (len(audit.problems), audit.found) == (5, 40)


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
