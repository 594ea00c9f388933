"""Who asked, in rows that an instance of the release before has written: it knows RabbitMQ's user alone."""

from dataclasses import replace

import asyncpg
from tests.contract.store_suite import QUEUE, a_deployment, claim
from tests.integration.postgres_server import database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.wish import Wish
from vesemir.engine.ports.records import KnownRequest
from vesemir.engine.ports.store import ControlCommand
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]


async def test_the_release_before_records_rabbitmqs_user_and_wishes_without_identity(database: str) -> None:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        await store.accept(a_deployment(), QUEUE)
        await store.accept(replace(a_deployment("d2"), asker=Asker(claimed="orchestrator")), QUEUE)
        direct = await asyncpg.connect(database)
        try:
            await direct.execute("INSERT INTO known_request (deployment_id, body_hash) VALUES ('d3', '1')")
            await direct.execute("UPDATE known_request SET identity = NULL")
            await direct.execute('UPDATE deployment SET asker = NULL, pause_wish = \'{"requested_by": "anna"}\'')
        finally:
            await direct.close()
        records = [await store.load("d1"), await store.load("d2")]
        assert [record and record.asker for record in records] == [
            Asker.by_amqp("bot", claimed="orchestrator"),
            Asker(claimed="orchestrator"),
        ]
        assert await store.known("d1") == KnownRequest(b"1", Identity("amqp", "bot"))
        assert await store.known("d2") == KnownRequest(b"1", None)
        assert await store.known("d3") == KnownRequest(b"1", None, certain=False), "it was cleaned up"
        _, deployment = await store.control(ControlCommand("resume", "d2", None, None))
        assert deployment is not None
        assert deployment.requester is None
        _, deployment = await store.control(ControlCommand("pause", "d1", "anna", None))
        assert deployment is not None
        assert deployment.requester == Identity("amqp", "bot")
        await claim(store)
        assert (await store.wishes("a/1"))["d1"].pause == Wish("anna")
