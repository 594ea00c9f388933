"""A long transaction of somebody else that holds row locks: its lane waits, and nothing else does."""

import asyncio
import time

from tests.contract.store_suite import a_deployment, claim, started
from tests.integration.postgres_server import database, postgres_server
from tests.integration.test_postgres_probe import somebody_else

from vesemir.adapters.postgres import PostgresStore
from vesemir.engine.ports.records import Wishes
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

LOCKED = "SELECT FROM deployment WHERE deployment_id = 'd1' FOR UPDATE"


async def test_a_deployment_that_somebody_else_locks_costs_the_others_no_lease(database: str) -> None:
    """All of an instance's leases are renewed together: one locked row had all of them run out."""
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        first = await started(store)
        await store.accept(a_deployment("d2", application="blog"), None)
        second = await claim(store)
        epochs = {"d1": first.epoch, "d2": second.epoch, "gone": 7}
        async with somebody_else(database, LOCKED):
            begun = time.monotonic()
            renewed = await store.renew("a/1", epochs, lease_seconds=15)
            assert time.monotonic() - begun < 15 / 6
        assert renewed == {"d1": None, "gone": None, "d2": Wishes()}
        assert await store.renew("a/1", epochs, lease_seconds=15) == {"d1": Wishes(), "d2": Wishes()}


async def test_a_lock_of_a_moment_is_waited_for(database: str) -> None:
    """As a deployment's own commits have it."""
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        held = await started(store)
        async with somebody_else(database, LOCKED):
            renewing = asyncio.create_task(store.renew("a/1", {"d1": held.epoch}, lease_seconds=60))
            await asyncio.wait([renewing], timeout=0.3)
            assert not renewing.done()
        assert await renewing == {"d1": Wishes()}
