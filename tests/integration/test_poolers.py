"""The record through PgBouncer: an instance and ``vesemir check`` find the same, whatever its mode and settings."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from tests.contract.store_suite import QUEUE, a_deployment, claim, eventually
from tests.integration.pgbouncer_server import PgBouncer, PoolMode, pooled
from tests.integration.postgres_server import (
    PostgresServer,
    database,
    finished,
    new_server,
    postgres_server,
)
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.refusing_record import site_opened
from tests.integration.ssh_server import sshd_running
from tests.integration.tcp_proxy import proxied
from tests.integration.test_cli_instances import READ, Consuming, consuming
from tests.integration.test_cli_record import Run, run
from tests.unit.engine.world import Lines

from vesemir.adapters.postgres import PostgresStore, hints, migrate
from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.timelines import timeline_of
from vesemir.adapters.secret_file import SecretFile
from vesemir.engine.ports.store import StoreAwayError
from vesemir.settings import PostgresSettings

__all__ = ["consuming", "database", "postgres_server", "rabbit_server", "run"]

MODES = pytest.mark.parametrize("mode", [PoolMode.SESSION, PoolMode.TRANSACTION])
IGNORES = "ignore_startup_parameters = statement_timeout, idle_in_transaction_session_timeout, jit, work_mem"
LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout", "jit", "work_mem")


def impatient(dsn: str) -> PostgresSettings:
    return PostgresSettings(dsn=dsn, connect_timeout_seconds=2, command_timeout_seconds=2)


async def test_deployments_through_transaction_mode_and_a_restart_of_the_pooler(
    rabbit_server: RabbitServer, postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    """Two instances whose transactions share few connections, on a real host."""
    async with AsyncExitStack() as stack:
        box = stack.enter_context(sshd_running(tmp_path / "box"))
        pooler = await stack.enter_async_context(pooled(database, PoolMode.TRANSACTION, pool_size=6))
        site = await stack.enter_async_context(
            site_opened(
                rabbit_server, postgres_server, database, tmp_path, pooled_dsn=pooler.through(database), box=box
            )
        )
        await site.healthy()
        for number in (5, 3):
            asked = await site.ask(number)
            await eventually(lambda asked=asked: succeeded(database, asked))  # type: ignore[misc]
            pooler.stop()
            await pooler.start()
            await site.healthy()


async def succeeded(dsn: str, names: list[str]) -> bool:
    """Asked past the pooler."""
    connection = await asyncpg.connect(dsn)
    try:
        states = await connection.fetch("SELECT state FROM deployment WHERE deployment_id = ANY($1)", names)
    finally:
        await connection.close()
    return [row["state"] for row in states] == ["succeeded"] * len(names)


@MODES
@pytest.mark.parametrize("settings", [(), (IGNORES,)], ids=["refuses settings", "ignores settings"])
async def test_an_instance_works_and_check_says_how(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    consuming: Consuming,
    mode: PoolMode,
    settings: tuple[str, ...],
) -> None:
    """The case check-vs-run: check was ok, and run down, or ended by DuplicatePreparedStatementError."""
    consuming(READ)
    async with pooled(database, mode, *settings) as pooler:
        dsn = pooler.through(database)
        monkeypatch.setenv("VESEMIR_POSTGRES__DSN", dsn)
        assert await migrate(dsn) == []
        async with (
            PostgresStore.connected(PostgresSettings(dsn=dsn), instance="a/1", namespace="vesemir") as store,
            PostgresStore.connected(PostgresSettings(dsn=dsn), instance="b/2", namespace="vesemir") as other,
        ):
            await asyncio.gather(*(each.ping(thorough=True) for each in (store, other) * 4))
            await store.accept(a_deployment(), QUEUE)
            assert (await claim(other, "b/2")).deployment_id == "d1"

        found = await run("check", "--json")
    assert found.exit_code == 0, found.stdout
    said = next(each["detail"] for each in json.loads(found.stdout) if each["part"] == "database")
    assert f"; through a pooler in {mode} mode" in said
    assert ("LISTEN cannot work" in said) == (mode is PoolMode.TRANSACTION)


async def test_statement_mode_is_refused_by_both_in_the_same_words(
    database: str, monkeypatch: pytest.MonkeyPatch, run: Run, consuming: Consuming
) -> None:
    consuming(READ)
    advice = "set pool_mode = transaction or session for this database in PgBouncer"
    async with pooled(database, PoolMode.STATEMENT) as pooler:
        dsn = pooler.through(database)
        monkeypatch.setenv("VESEMIR_POSTGRES__DSN", dsn)
        async with PostgresStore.connected(impatient(dsn), instance="a/1") as store:
            with pytest.raises(StoreAwayError, match=advice):
                await store.ping()
        found = await run("check")
    assert found.exit_code == 1
    assert advice in " ".join(found.stdout.split())


async def test_a_dsn_without_a_pooler_is_told_of_none(run: Run, consuming: Consuming) -> None:
    consuming(READ)
    assert "through a pooler" not in (await run("check")).stdout


@MODES
async def test_the_limits_of_a_statement_hold_in_each_mode(database: str, mode: PoolMode) -> None:
    """In a transaction and outside one; and nothing is left behind for another client of that connection."""
    async with pooled(database, mode, IGNORES, pool_size=1) as pooler:
        dsn = pooler.through(database)
        async with Database.opened(impatient(dsn), size=1) as opened:
            for begun in (opened.connection, opened.transaction):
                async with begun() as connection:
                    values = [await connection.fetchval("SELECT current_setting($1)", name) for name in LIMITS]
                assert values == ["1800ms", "5s", "off", "16MB"]
        other = await asyncpg.connect(dsn, statement_cache_size=0)
        assert await other.fetchval("SHOW jit") == "on"
        await other.close()


async def test_a_table_that_is_locked_for_a_moment_is_written_all_the_same(database: str) -> None:
    """A failed try ends its transaction: the next one is in another."""
    async with (
        pooled(database, PoolMode.TRANSACTION) as pooler,
        Database.opened(PostgresSettings(dsn=pooler.through(database)), size=1) as opened,
    ):
        await opened.ping()
        locks = await asyncpg.connect(database)
        await locks.execute("BEGIN; LOCK TABLE step IN EXCLUSIVE MODE")
        pinging = asyncio.create_task(opened.ping())
        first = await waiting(locks, but_not=None)
        await waiting(locks, but_not=first)
        await locks.execute("ROLLBACK")
        await pinging
        await locks.close()


async def waiting(connection: asyncpg.Connection, *, but_not: str | None) -> str:
    """The transaction that waits for the table."""
    question = "SELECT virtualtransaction FROM pg_locks WHERE relation = 'step'::regclass AND NOT granted"
    async with asyncio.timeout(5):
        while (found := await connection.fetchval(question)) in {None, but_not}:  # noqa: ASYNC110 - another session's
            await asyncio.sleep(0.01)
    return str(found)


@MODES
async def test_hints_come_only_where_there_is_a_session(
    database: str, monkeypatch: pytest.MonkeyPatch, mode: PoolMode
) -> None:
    """In transaction mode LISTEN would stay with a connection that is another client's by then."""
    monkeypatch.setattr(hints, "_MODE_SECONDS", 0.2)
    heard = []
    async with (
        pooled(database, mode) as pooler,
        PostgresStore.connected(PostgresSettings(dsn=pooler.through(database)), instance="a/1") as store,
        store.hints() as told,
    ):
        await store.accept(a_deployment(), None)
        async for hint in told:
            heard.append(hint)
            break
        direct = await asyncpg.connect(database)
        listening = await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await direct.close()
    assert len(heard) == (mode is PoolMode.SESSION)
    assert mode is PoolMode.SESSION or listening == 0


async def test_a_pool_that_is_used_up_is_said(database: str) -> None:
    async with pooled(database, PoolMode.SESSION, pool_size=1) as pooler:
        dsn = pooler.through(database)
        holder = await asyncpg.connect(dsn)
        await holder.execute("SELECT 1")
        async with PostgresStore.connected(impatient(dsn), instance="a/1") as store:
            with pytest.raises(StoreAwayError, match=r"though it connects; .*default_pool_size is not used up"):
                await store.ping()
            await holder.close()
            await store.ping()


@pytest.fixture
def primaries() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """The same cluster twice, both writable: the first on timeline 1, the other promoted."""
    old, new = new_server(), new_server()
    try:
        old.initialise()
        old.start()
        finished(old.execute("CREATE DATABASE record"))
        finished(migrate(old.dsn("record")))
        old.stop()
        subprocess.run(["cp", "-a", old.folder / "contents", new.folder], check=True)
        with (new.folder / "contents" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"port = {new.port}\n")
        (new.folder / "contents" / "standby.signal").touch()
        new.start()
        finished(new.execute("SELECT pg_promote()"))
        old.start()
        yield old, new
    finally:
        for each in (old, new):
            each.stop()
            shutil.rmtree(each.folder, ignore_errors=True)


@MODES
async def test_an_old_primary_behind_the_pooler_is_written_nothing(
    primaries: tuple[PostgresServer, PostgresServer], mode: PoolMode
) -> None:
    """A client of a pooler in transaction mode keeps its connection while the server behind it changes."""
    old, new = primaries
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(proxied(old.port))
        pooler = await stack.enter_async_context(pooled(f"postgresql://vesemir@127.0.0.1:{address.port}/record", mode))
        settings = impatient(pooler.dsn("record"))
        store = await stack.enter_async_context(PostgresStore.connected(settings, instance="a/1"))
        await store.accept(a_deployment("before"), None)

        address.lead_to(new.port)
        await eventually(lambda: leads_to(pooler, timeline=2))
        await eventually(lambda: taken(store, "after"))
        await store.accept(a_deployment("still"), None)  # by a connection that lasts: a promotion replaces all
        await store.ping()
        address.lead_to(old.port)
        await eventually(lambda: leads_to(pooler, timeline=1))
        for name in ("late", "later"):
            with pytest.raises(StoreAwayError):
                await store.accept(a_deployment(name), None)
            with pytest.raises(StoreAwayError) as refused:
                await store.ping()
        assert "it is an old primary, and nothing is written to it" in str(refused.value)
        address.lead_to(new.port)
        await eventually(lambda: taken(store, "again"))
    assert await names(old) == {"before"}
    assert await names(new) == {"after", "still", "again"}


async def leads_to(pooler: PgBouncer, *, timeline: int) -> bool:
    """It has seen that its connections to the other one are gone."""
    try:
        connection = await asyncpg.connect(pooler.dsn("record"), statement_cache_size=0)
    except asyncpg.PostgresError:
        return False
    try:
        found = await timeline_of(connection)
    except asyncpg.PostgresError:
        return False
    finally:
        connection.terminate()
    return found is not None and found.number == timeline


async def taken(store: PostgresStore, name: str) -> bool:
    try:
        await store.accept(a_deployment(name), None)
    except StoreAwayError:
        return False
    return True


async def names(server: PostgresServer) -> set[str]:
    connection = await asyncpg.connect(server.dsn("record"))
    try:
        return {row["deployment_id"] for row in await connection.fetch("SELECT deployment_id FROM deployment")}
    finally:
        await connection.close()


async def test_a_rotated_password_is_read_again(database: str, tmp_path: Path) -> None:
    """PgBouncer has words of its own for a login that it refuses."""

    def dsn(pooler: PgBouncer, password: str) -> str:
        return pooler.through(database).replace("vesemir@", f"vesemir:{password}@")

    async with pooled(database, PoolMode.TRANSACTION, "auth_type = scram-sha-256", password="first") as pooler:
        file, log = tmp_path / "dsn", Lines()
        secret = SecretFile("postgres.dsn", dsn(pooler, "first"), file, log=log)
        settings = impatient(dsn(pooler, "first"))
        async with Database.opened(settings, dsn=secret, retry_seconds=0) as opened:
            await opened.ping()
            pooler.stop()
            pooler.password = "second"
            await pooler.start()
            with pytest.raises(StoreAwayError):
                await opened.ping()  # the connection that was ended
            with pytest.raises(StoreAwayError, match="check user, password"):
                await opened.ping()
            await asyncio.to_thread(file.write_text, dsn(pooler, "second"))
            await opened.ping()
        assert log.of("info") == [f"postgres.dsn was read again from {file}"]
