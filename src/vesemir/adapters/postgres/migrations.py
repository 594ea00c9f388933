"""Brings the database's schema up to this version: ``sql/migrations/NNNN_name.sql``, each once, all in one transaction.

Several instances may do it at once: the first locks the list of migrations, the others wait and find nothing to do. No
advisory lock: one of those would be lost behind a pooler that switches connections.

Instances work on while it happens. A change of a table waits for who reads it, and everybody else then waits behind
the change: so each waits for a short time only, and all is rolled back and tried again.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from vesemir.adapters.postgres.errors import translated
from vesemir.adapters.postgres.servers import Servers
from vesemir.adapters.postgres.statements import statements
from vesemir.adapters.postgres.timelines import Timelines
from vesemir.domain.failure import VesemirError
from vesemir.shipped import sql_folder

_CONNECT_SECONDS = 10.0
_MIGRATE_SECONDS = 300.0
"""One statement may rewrite a large table, and another instance's migration is waited for."""

LOCK_SECONDS = 2.0
"""How long a change may wait for a table, and so the longest pause that instances see."""
TRIES = 30
PAUSE_SECONDS = 1.0

_CREATE_LIST = """
CREATE TABLE IF NOT EXISTS vesemir_migration (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(VesemirError):
    """The schema is not one that this version can bring up to date by itself."""


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped_migrations(folder: Path | None = None) -> list[Migration]:
    """All of them, in order."""
    files = sorted((folder or sql_folder() / "migrations").glob("*.sql"))
    if not files:
        raise MigrationError("no migrations came with this installation; install the vesemir package again")
    return [Migration(file.stem, file.read_text(encoding="utf-8")) for file in files]


async def migrate(dsn: str) -> list[str]:
    """Names of the migrations applied now, in order. Raises ``StoreAwayError`` and ``MigrationError``."""
    migrations = shipped_migrations()
    with translated():
        connection = await _connected(dsn, timeout=_CONNECT_SECONDS, command_timeout=_MIGRATE_SECONDS)
        try:
            await _create_list(connection)
            return await _patiently(connection, migrations)
        finally:
            connection.terminate()


async def _patiently(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    """All or nothing, as often as a table is in use. Another instance's migration is waited for without a limit."""
    for _ in range(TRIES):
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE vesemir_migration IN EXCLUSIVE MODE")
                await connection.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
                return await _apply(connection, migrations)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(PAUSE_SECONDS)
    raise MigrationError(
        f"a table that is to be changed was in use all the time, {TRIES} tries of {LOCK_SECONDS:g} s; nothing was "
        "changed: see in pg_stat_activity who holds a transaction open, and run this again"
    )


async def pending(dsn: str) -> list[str]:
    """Names of the migrations that ``migrate`` would apply; changes nothing. Raises as ``migrate`` does."""
    migrations = shipped_migrations()
    with translated():
        connection = await _connected(dsn, timeout=_CONNECT_SECONDS, command_timeout=_CONNECT_SECONDS)
        try:
            if await connection.fetchval("SELECT to_regclass('vesemir_migration')") is None:
                return [migration.name for migration in migrations]
            applied = await _applied(connection)
        finally:
            connection.terminate()
    return [migration.name for migration in migrations if not _is_there(migration, applied)]


async def installation(dsn: str) -> str | None:
    """The ``amqp.namespace`` whose record it is; None if no instance has worked on it. Raises as ``migrate`` does."""
    with translated():
        connection = await _connected(dsn, timeout=_CONNECT_SECONDS, command_timeout=_CONNECT_SECONDS)
        try:
            found: str | None = await statements().namespace_of_installation.value(connection)
        finally:
            connection.terminate()
    return found


async def _connected(dsn: str, *, timeout: float, command_timeout: float) -> asyncpg.Connection:
    """At the server that is the primary now, if the DSN names several."""
    return await Servers(dsn, Timelines()).connect(timeout=timeout, command_timeout=command_timeout)


async def _create_list(connection: asyncpg.Connection) -> None:
    """IF NOT EXISTS is no protection against another session that creates it in the same moment."""
    try:
        await connection.execute(_CREATE_LIST)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
        await connection.execute(_CREATE_LIST)


async def _apply(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    """Run what is missing. A database that knows more than this version is left as it is (a rolling upgrade)."""
    applied = await _applied(connection)
    names = []
    for migration in migrations:
        if _is_there(migration, applied):
            continue
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO vesemir_migration (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
        )
        names.append(migration.name)
    return names


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    """The hash of each migration's text, by name."""
    rows = await connection.fetch("SELECT name, sha256 FROM vesemir_migration")
    return {row["name"]: row["sha256"] for row in rows}


def _is_there(migration: Migration, applied: dict[str, str]) -> bool:
    """Raises ``MigrationError`` when it was applied with another text."""
    if migration.name not in applied:
        return False
    if applied[migration.name] != migration.sha256:
        raise MigrationError(
            f"migration {migration.name} was applied with another text than this version ships; "
            "a released migration must not be edited: compare the installed versions of vesemir"
        )
    return True
