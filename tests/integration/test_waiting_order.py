"""However many deployments wait, and however they are spread: the claim goes by indexes, and takes about as long."""

import time
from collections.abc import Mapping

import asyncpg
import pytest
from tests.bigrecord.questions import recorded, scans, without_index
from tests.integration.postgres_server import PostgresServer, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.settings import PostgresSettings

__all__ = ["postgres_server"]

MANY, FEW = 100_000, 100
TRIES = 15
ROOM = 10
"""So many times as long may it take with a thousand times as many: what is measured is a few milliseconds."""

SHAPES: Mapping[str, tuple[int, int]] = {
    "one lane of one requester": (1, 1),
    "300 lanes of 20 requesters": (20, 300),
    "a lane for each deployment": (20, MANY),
}
"""Requesters, and lanes."""

# A tenth waits for its not_before. Foreign keys are checked at the end, when the rows of the other tables are there.
_FILL = """
    WITH waiting AS (
        SELECT number, 'd' || number AS id, 'app' || number % {lanes} AS application,
               'amqp:u' || number % {requesters} AS requester
        FROM generate_series(1, {count}) AS number
    ), known AS (
        INSERT INTO known_request (deployment_id, body_hash) SELECT id, '' FROM waiting
    ), lanes AS (
        INSERT INTO lane (name, arrivals)
        SELECT application || '/production', max(number) FROM waiting GROUP BY application
    )
    INSERT INTO deployment (deployment_id, request, application, environment, version, recipe, arrival, requester,
                            not_before, not_after, due)
    SELECT id, jsonb_build_object('deployment_id', id), application, 'production', '1', 'release', number, requester,
           CASE WHEN number % 10 = 0 THEN now() + interval '1 day' END, now() + interval '2 days', number % 10 <> 0
    FROM waiting
"""


async def filled(server: PostgresServer, count: int, requesters: int, lanes: int) -> str:
    """The DSN of a record in which so many wait."""
    dsn = server.dsn(await server.make_database("template_vesemir"))
    connection = await asyncpg.connect(dsn, timeout=30)
    await connection.execute(_FILL.format(count=count, requesters=requesters, lanes=lanes))
    await connection.execute("ANALYZE")
    await connection.close(timeout=10)
    return dsn


async def claim_seconds(dsn: str) -> float:
    """The best of some, which is what it takes where nobody else works; what was claimed stays active."""
    seconds = []
    async with PostgresStore.connected(PostgresSettings(dsn=dsn), instance="a/1") as store:
        await store.claim("a/1", lease_seconds=600, max_expiries=5)
        for _ in range(TRIES):
            begun = time.perf_counter()
            await store.claim("a/1", lease_seconds=600, max_expiries=5)
            seconds.append(time.perf_counter() - begun)
    return min(seconds)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_claim_of_100_000_waiting_takes_about_as_long_as_one_of_100(
    postgres_server: PostgresServer, shape: str
) -> None:
    """And neither it nor the look for what is due reads the table from one end to the other: by the plans for these
    very values, and nothing is forbidden to the planner."""
    requesters, lanes = SHAPES[shape]
    few = await claim_seconds(await filled(postgres_server, FEW, requesters, min(lanes, FEW)))
    big = await filled(postgres_server, MANY, requesters, lanes)
    many = await claim_seconds(big)

    async with PostgresStore.connected(PostgresSettings(dsn=big), instance="a/1") as store:
        with recorded() as asked:
            await store.claim("a/1", lease_seconds=600, max_expiries=5)
            await store.keep_appointments()
    connection = await asyncpg.connect(big, timeout=30)
    read_whole = {each.name: without_index(await scans(connection, each)) for each in asked}
    await connection.close(timeout=10)
    await postgres_server.drop_database(big.rpartition("/")[2])
    assert {"find_work", "become_due", "lock_expired"} <= read_whole.keys()
    assert not any(read_whole.values()), read_whole
    assert many < ROOM * few, f"{few * 1e3:.1f} ms with {FEW} waiting, {many * 1e3:.1f} ms with {MANY}"
