"""The clean-up in PostgreSQL: a large record goes in short batches, beside work, and one instance at a time."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.contract.store_suite import a_deployment, event_names, eventually
from tests.integration.postgres_server import database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.engine.ports.observe import SilentLog
from vesemir.engine.ports.store import AcceptKind, Cleaned
from vesemir.engine.upkeep.retention import RecordCleanup, Retention
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

DEPLOYMENTS, STEPS = 50, 10
BATCH = 2000

FILL = """
INSERT INTO lane (name, arrivals) VALUES ('shop/production', 1000);
INSERT INTO known_request SELECT 'old-' || n, 'hash' FROM generate_series(1, DEPLOYMENTS) AS n;
INSERT INTO deployment (deployment_id, request, application, environment, version, recipe, arrival, state,
                        next_sequence, accepted_at, finished_at)
SELECT 'old-' || n, '{}', 'shop', 'production', '1', 'release', n, 'succeeded', STEPS + 2,
       clock_timestamp() - interval '3 days', clock_timestamp() - interval '2 days' - n * interval '1 minute'
FROM generate_series(1, DEPLOYMENTS) AS n;
INSERT INTO target
SELECT 'old-' || n, 'forward', 'web' || t, 'a', 22, 'u', '{}', 's', 1, t, 'succeeded', true, true
FROM generate_series(1, DEPLOYMENTS) AS n,
     generate_series(1, CASE n WHEN 1 THEN DEPLOYMENTS * TARGETS ELSE TARGETS END) AS t;
INSERT INTO step (deployment_id, direction, target, step, attempt, status, duration_seconds, output, output_bytes,
                  output_truncated, redone)
SELECT deployment_id, 'forward', name, 's' || s, 1, 'succeeded', 1, repeat('output ', 20), 140, false, false
FROM target, generate_series(1, STEPS) AS s;
INSERT INTO event
SELECT 'old-' || n, s, CASE s WHEN STEPS + 1 THEN 'deployment.finished' ELSE 'step.finished' END, 'i',
       clock_timestamp(), '{"status": "succeeded"}'
FROM generate_series(1, DEPLOYMENTS) AS n, generate_series(1, STEPS + 1) AS s;
INSERT INTO destination (deployment_id, cursor, done) SELECT 'old-' || n, STEPS + 1, true
FROM generate_series(1, DEPLOYMENTS) AS n;
ANALYZE;
"""


async def fill(direct: asyncpg.Connection, *, targets: int) -> None:
    """Deployments that ended two days ago, each of so many targets, and one that has as many as all the others."""
    numbers = {"TARGETS": targets, "DEPLOYMENTS": DEPLOYMENTS, "STEPS": STEPS}
    await direct.execute(re.sub("|".join(numbers), lambda found: str(numbers[found[0]]), FILL))


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as connected:
        yield connected


@pytest.fixture
async def direct(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def _clean(store: PostgresStore, *, rows: int = BATCH) -> Cleaned:
    cleaned = await store.clean_up(older_than_seconds=86400, rows=rows)
    assert cleaned is not None
    return cleaned


async def test_a_hundred_thousand_rows_go_in_short_batches(store: PostgresStore, direct: asyncpg.Connection) -> None:
    await fill(direct, targets=100)
    (rows,) = await direct.fetchrow("SELECT (SELECT count(*) FROM step) + (SELECT count(*) FROM target)")
    assert rows > 100_000
    batches, took = [], []
    while True:
        begun = time.perf_counter()
        cleaned = await _clean(store)
        took.append(time.perf_counter() - begun)
        if not cleaned.rows:
            break
        batches.append(cleaned)
    assert max(each.rows for each in batches) <= BATCH + DEPLOYMENTS, "no batch takes more than it may"
    assert sum(each.deployments for each in batches) == DEPLOYMENTS
    assert max(took) < 10, "the limit of a statement"
    left = await direct.fetch(
        "SELECT count(*) FROM step UNION ALL SELECT count(*) FROM target UNION ALL SELECT count(*) FROM event "
        "UNION ALL SELECT count(*) FROM destination UNION ALL SELECT count(*) FROM deployment"
    )
    assert [row[0] for row in left] == [0] * 5
    assert await direct.fetchval("SELECT count(*) FROM known_request") == DEPLOYMENTS
    assert await direct.fetchval("SELECT count(*) FROM kept_result") == DEPLOYMENTS
    median = sorted(took)[len(took) // 2]
    print(f"{rows} rows in {len(batches)} batches: median {median * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms")  # noqa: T201 -- for docs/database.md


async def test_what_is_half_cleaned_is_answered_with_its_result(
    store: PostgresStore, direct: asyncpg.Connection
) -> None:
    await fill(direct, targets=2)
    await _clean(store, rows=100)
    assert await direct.fetchval("SELECT count(*) FROM deployment") == DEPLOYMENTS, "only outputs are gone yet"
    repeat = a_deployment(f"old-{DEPLOYMENTS}", body_hash=b"hash")
    assert await store.accept(repeat, None) is AcceptKind.CLEANED
    kept = await store.kept_result(repeat.deployment_id)
    assert kept is not None
    assert (kept.sequence, kept.body["status"], kept.body["event"]) == (STEPS + 1, "succeeded", "deployment.finished")


async def test_instances_take_turns(database: str, direct: asyncpg.Connection) -> None:
    """While one is in its transaction, another turns away; together they do all of it, and once."""
    await fill(direct, targets=2)
    async with (
        PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as first,
        PostgresStore.connected(PostgresSettings(dsn=database), instance="b/1") as second,
    ):
        async with direct.transaction():
            await direct.execute("SELECT 1 FROM section WHERE name = 'clean-up' FOR UPDATE")
            assert await first.clean_up(older_than_seconds=0, rows=100) is None
        kept = Retention(seconds=86400, rows=500, every=0.01, keep_good=0)
        works = [asyncio.create_task(RecordCleanup(store, kept, log=SilentLog()).run()) for store in (first, second)]
        await eventually(lambda: direct.fetchval("SELECT true WHERE NOT EXISTS (SELECT FROM deployment)"), seconds=120)
        assert not any(work.done() for work in works)
        for work in works:
            work.cancel()
        await asyncio.wait(works)


async def test_a_row_that_somebody_holds_is_passed_over(store: PostgresStore, direct: asyncpg.Connection) -> None:
    """A repeat of the request that is being dealt with just now, for instance."""
    await fill(direct, targets=2)
    async with direct.transaction():
        await direct.execute("SELECT 1 FROM deployment FOR SHARE")
        assert await _clean(store) == Cleaned(0, 0)
    assert len(await event_names(store, "old-1")) == STEPS + 1
