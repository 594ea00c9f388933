"""One record belongs to one installation, and a role that only reads can do nothing else."""

import asyncio
import os
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import asyncssh
import pytest
from tests.contract.store_suite import a_deployment
from tests.integration.postgres_server import PostgresServer, database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.engine.ports.store import WrongRecordError
from vesemir.settings import PostgresSettings
from vesemir.shipped import sql_folder

__all__ = ["database", "postgres_server"]

ROLE = sql_folder() / "roles" / "read_only.sql"


def connected(dsn: str, namespace: str | None) -> AbstractAsyncContextManager[PostgresStore]:
    return PostgresStore.connected(PostgresSettings(dsn=dsn), instance="a/1", namespace=namespace)


async def test_the_first_installation_has_the_record_and_another_is_refused(database: str) -> None:
    """Two namespaces on one database took each other's deployments."""
    async with connected(database, "vesemir") as first:
        await asyncio.gather(*(first.ping() for _ in range(10)))
        await first.accept(a_deployment("d1"), None)
        async with connected(database, "other") as second:
            for ask in (
                second.ping(),
                second.claim("b/2", lease_seconds=60, max_expiries=3),
                second.accept(a_deployment("d2"), None),
            ):
                with pytest.raises(WrongRecordError, match="'vesemir', and this one has 'other'"):
                    await ask
        async with connected(database, "vesemir") as again:
            assert await again.known("d1") is not None
            assert await again.known("d2") is None


async def test_those_that_begin_at_the_same_time_agree(database: str) -> None:
    async def begin(namespace: str) -> str | None:
        async with connected(database, namespace) as store:
            try:
                await store.ping()
            except WrongRecordError:
                return None
        return namespace

    ended = await asyncio.gather(*(begin(name) for name in ("a", "b") * 4))
    assert len(set(ended) - {None}) == 1


async def test_the_daemon_says_so_and_ends(database: str, tmp_path: Path) -> None:
    settings = tmp_path / "vesemir.toml"
    settings.touch()
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "key")
    (tmp_path / "known_hosts").touch()
    async with connected(database, "vesemir") as first:
        await first.ping()
    env = {**os.environ, "VESEMIR_POSTGRES__DSN": database, "VESEMIR_AMQP__NAMESPACE": "other"}
    env |= {"VESEMIR_SSH__CLIENT_KEY": str(tmp_path / "key"), "VESEMIR_SSH__KNOWN_HOSTS": str(tmp_path / "known_hosts")}
    env |= {"VESEMIR_HTTP__PORT": "0", "VESEMIR_CONFIG": str(settings)}
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from vesemir.cli import main; main()", "run", env=env, stderr=subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(daemon.communicate(), 20)
    assert daemon.returncode == 1
    assert b"give each installation a database of its own" in errors
    assert b"Traceback" not in errors


async def test_who_only_reads_can_change_nothing(postgres_server: PostgresServer, database: str) -> None:
    async with connected(database, None) as store:
        await store.accept(a_deployment("d1"), None)
    psql = [
        str(postgres_server.binaries / "psql"),
        "--quiet",
        "--set",
        "reader=only_reads",
        "--file",
        str(ROLE),
        database,
    ]
    for _ in range(2):  # after an upgrade it is run again
        subprocess.run(psql, check=True, timeout=30)  # noqa: ASYNC221 - a short program
    connection = await asyncpg.connect(database.replace("//vesemir@", "//only_reads@"))
    try:
        assert await connection.fetchval("SELECT version FROM deployment")
        for change in ("DELETE FROM deployment", "UPDATE deployment SET version = ''", "CREATE TABLE mine (x int)"):
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
                await connection.execute(change)
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM deployment")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT sealed FROM deployment")
    finally:
        await connection.close()
