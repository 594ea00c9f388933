"""``user_id`` on what is published: RabbitMQ lets nobody say another, so a requester can tell a forged event."""

import asyncio
import uuid

import aio_pika
import pytest
from aio_pika.exceptions import ChannelPreconditionFailed
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.unit.engine.world import Lines

from vesemir.adapters.amqp import AmqpBroker
from vesemir.engine.ports.broker import BrokerAwayError, OutgoingMessage, PublishOutcome
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.settings import AmqpSettings

__all__ = ["rabbit_server"]


def finished(queue: str) -> OutgoingMessage:
    return OutgoingMessage("", queue, b"{}", "id-1", "deployment.finished", "c-1", mandatory=True)


async def arrived(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    async with asyncio.timeout(10), queue.iterator(no_ack=True) as messages:
        return await anext(messages)


def settings_of(server: RabbitServer, *, url: str = "", user_id: str | None = None) -> AmqpSettings:
    namespace = f"t{uuid.uuid4().hex[:8]}"
    return AmqpSettings(url=url or server.url, namespace=namespace, user_id=user_id, publish_timeout_seconds=5)


@pytest.mark.parametrize(("named", "user_id"), [(True, None), (False, "guest"), (False, None)])
async def test_events_say_who_published_them_where_that_is_known(
    rabbit_server: RabbitServer,
    named: bool,  # noqa: FBT001
    user_id: str | None,
) -> None:
    url = rabbit_server.url if named else f"amqp://127.0.0.1:{rabbit_server.port}/"
    broker = AmqpBroker(
        settings_of(rabbit_server, url=url, user_id=user_id), health=HealthRegistry(), instance="a/1", log=Lines()
    )
    async with await aio_pika.connect(rabbit_server.url) as connection, asyncio.TaskGroup() as tasks:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        tasks.create_task(broker.run())
        assert await broker.publish(finished(queue.name)) is PublishOutcome.CONFIRMED
        assert (await arrived(queue)).user_id == ("guest" if named or user_id else None)
        broker.close()


async def test_a_wrong_user_is_refused_and_the_log_says_why(rabbit_server: RabbitServer) -> None:
    log = Lines()
    url = f"amqp://127.0.0.1:{rabbit_server.port}/"  # aiormq logs in as guest
    settings = settings_of(rabbit_server, url=url, user_id="vesemir_daemon")
    broker = AmqpBroker(settings, health=HealthRegistry(), instance="a/1", log=log)
    async with await aio_pika.connect(rabbit_server.url) as connection, asyncio.TaskGroup() as tasks:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        tasks.create_task(broker.run())
        with pytest.raises(BrokerAwayError, match="user_id"):
            await broker.publish(finished(queue.name))
        assert await queue.get(fail=False) is None
        broker.close()


async def test_who_forges_an_event_cannot_say_that_vesemir_sent_it(rabbit_server: RabbitServer) -> None:
    """guest is somebody else here; the daemon would be vesemir_daemon."""
    async with await aio_pika.connect(rabbit_server.url) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        forging = await connection.channel()
        with pytest.raises(ChannelPreconditionFailed):
            await forging.default_exchange.publish(
                aio_pika.Message(b"{}", type="deployment.finished", app_id="vesemir", user_id="vesemir_daemon"),
                queue.name,
            )
        honest = await connection.channel()
        await honest.default_exchange.publish(aio_pika.Message(b"{}", app_id="vesemir"), queue.name)
        assert (await arrived(queue)).user_id is None
