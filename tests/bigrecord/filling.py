"""Fills a migrated, empty database with deployments that ended within the last year, as one would find them.

Made inside PostgreSQL (``generate_series``), with foreign keys unchecked meanwhile: what is written is consistent by
construction. 40 applications, the first much busier than the last; three environments; ten teams; fewer failures
towards today; per deployment 1 to 5 targets, five steps on each, and as many events as these make. Twenty more run or
wait.
"""

from pathlib import Path

import asyncpg

from vesemir.adapters.postgres.migrations import shipped_migrations

_SQL = Path(__file__).with_name("fill.sql")
_TUNED = """
SET session_replication_role = replica; SET synchronous_commit = off; SET jit = off;
SET work_mem = '128MB'; SET maintenance_work_mem = '256MB'; SELECT setseed(0.5)
"""


A_DAY = 300
"""Deployments: what the field reports."""


async def fill(dsn: str, deployments: int, *, a_day: int = A_DAY) -> None:
    """Needs a superuser, for the foreign keys. Ends with what autovacuum does in time: VACUUM ANALYZE."""
    connection = await asyncpg.connect(dsn, timeout=30, command_timeout=600)
    try:
        await connection.execute(_TUNED)
        text = _SQL.read_text(encoding="utf-8")
        await connection.execute(text.replace("{deployments}", str(deployments)).replace("{a_day}", str(a_day)))
        await connection.execute(_outcomes())
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close(timeout=30)


def _outcomes() -> str:
    """The migration's own statement, which fills the table for what had ended before it."""
    (migration,) = (each for each in shipped_migrations() if each.name.endswith("_outcome"))
    (statement,) = (part for part in migration.sql.split(";\n") if "INSERT INTO outcome" in part)
    return statement
