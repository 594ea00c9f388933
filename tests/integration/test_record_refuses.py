"""The record refuses writes while events arrive and connections flap: nothing is lost, nothing is returned in vain.

Whole instances on a real RabbitMQ and PostgreSQL. RabbitMQ 4 drops what was returned more often than 20 times; here a
policy of the test says so, on quorum queues as the instances declare them.
"""

import asyncio
from pathlib import Path

from tests.integration.postgres_server import PostgresServer, database, postgres_server
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.refusing_record import refused, site_opened

__all__ = ["database", "postgres_server", "rabbit_server"]

EVENTS = 30
FLAPS = 22
"""More than the delivery limit: were each of them a return, every event would be dropped."""


async def test_an_outage_costs_a_message_one_return_for_each_instance_however_often_connections_flap(
    rabbit_server: RabbitServer, postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    async with site_opened(rabbit_server, postgres_server, database, tmp_path) as site:
        await site.limit_deliveries(20)
        await site.healthy()
        async with refused(site):
            asked = await site.ask(EVENTS)
            await site.unhealthy()
            await site.unhealthy_because("read-only")  # the connections that the refusal ended are told of first
            for instance in site.instances:
                assert (await instance.get("/health/api"))[0] == 200
            for _ in range(FLAPS):
                await asyncio.gather(*(instance.flap() for instance in site.instances))
        await site.healthy()
        assert await site.accepted(asked) == EVENTS
        assert max(site.returns.values()) <= len(site.instances)
