"""The requester's side against a real broker: what it sends, what it gets back, and what it says when that fails."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest
from aiormq.exceptions import ChannelLockedResource
from pydantic import SecretStr
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.tcp_proxy import proxied

from vesemir.adapters.amqp.requester import Reply, Requester, UnroutableError, depths
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.settings import AmqpSettings

__all__ = ["rabbit_server"]


def amqp(url: str, namespace: str | None = None) -> AmqpSettings:
    """A namespace of its own keeps each test apart."""
    return AmqpSettings(
        url=SecretStr(url), namespace=namespace or f"requester-{secrets.token_hex(4)}", heartbeat_seconds=2
    )


@asynccontextmanager
async def instance(
    server: RabbitServer, namespace: str, **arguments: object
) -> AsyncIterator[tuple[aio_pika.abc.AbstractChannel, aio_pika.abc.AbstractQueue]]:
    """What an instance has: a channel, and the queue of deployments."""
    connection = await aio_pika.connect(server.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(f"{namespace}.deployments", durable=True, arguments=dict(arguments))
        yield channel, queue


async def taken(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    async with asyncio.timeout(10):
        async with queue.iterator(no_ack=True) as messages:
            async for message in messages:
                return message
    raise AssertionError("the queue ended")


async def first(requester: Requester, number: int) -> list[Reply]:
    found: list[Reply] = []
    async with asyncio.timeout(10):
        async for reply in requester.replies():
            found.append(reply)
            if len(found) == number:
                break
    return found


async def test_a_request_and_its_replies_in_order(rabbit_server: RabbitServer) -> None:
    settings = amqp(rabbit_server.url)
    async with (
        instance(rabbit_server, settings.namespace) as (channel, queue),
        Requester.connected(settings, name="test") as requester,
    ):
        await requester.deploy(b'{"a":1}', correlation_id="c-1")
        message = await taken(queue)
        assert (message.body, message.correlation_id, message.reply_to) == (b'{"a":1}', "c-1", requester.reply_to)
        assert message.content_type == "application/json"
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert not requester.reply_to.startswith(settings.namespace)
        bodies = [b'{"sequence": 1}', b"no JSON", b"[]", *(b'{"sequence": %d}' % n for n in range(2, 200))]
        for body in bodies:
            reply = aio_pika.Message(body, correlation_id="c-1")
            await channel.default_exchange.publish(reply, routing_key=requester.reply_to)
        replies = await first(requester, 199)
        assert [reply.body["sequence"] for reply in replies] == list(range(1, 200))
        assert {reply.correlation_id for reply in replies} == {"c-1"}


async def test_the_reply_queue_is_private_and_goes_with_its_requester(rabbit_server: RabbitServer) -> None:
    async with Requester.connected(amqp(rabbit_server.url), name="test") as requester:
        name = requester.reply_to
        async with await aio_pika.connect(rabbit_server.url) as other:
            with pytest.raises(ChannelLockedResource):
                await (await other.channel()).declare_queue(name, passive=True)
    async with await aio_pika.connect(rabbit_server.url) as other:
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await (await other.channel()).declare_queue(name, passive=True)


async def test_without_a_queue_the_message_is_nowhere_and_that_is_said(rabbit_server: RabbitServer) -> None:
    settings = amqp(rabbit_server.url)
    async with Requester.connected(settings, name="test") as requester:
        with pytest.raises(UnroutableError, match=f"no queue {settings.namespace}.deployments.*vesemir run"):
            await requester.deploy(b"{}", correlation_id="c")
        with pytest.raises(UnroutableError, match=f"no queue {settings.namespace}.control"):
            await requester.control(b"{}", correlation_id="c")


async def test_a_full_queue_is_said(rabbit_server: RabbitServer) -> None:
    settings = amqp(rabbit_server.url)
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with (
        instance(rabbit_server, settings.namespace, **limits),
        Requester.connected(settings, name="test") as requester,
    ):
        with pytest.raises(VesemirError, match="is full"):
            await fill(requester)


async def fill(requester: Requester) -> None:
    """RabbitMQ lets a few more in than the limit before it refuses."""
    for _ in range(10):
        await requester.deploy(b"{}", correlation_id="c")


async def test_a_lost_connection_ends_the_replies(rabbit_server: RabbitServer) -> None:
    async with proxied(rabbit_server.port) as proxy:
        settings = amqp(rabbit_server.url_at(proxy.port))
        async with Requester.connected(settings, name="test") as requester:
            waiting = asyncio.ensure_future(first(requester, 1))
            await proxy.refuse()
            with pytest.raises(BrokerAwayError, match="connection to the broker was lost"):
                await waiting


async def test_nobody_there_is_said_with_what_to_check(rabbit_server: RabbitServer) -> None:
    async with proxied(rabbit_server.port) as proxy:
        await proxy.refuse()
        settings = amqp(rabbit_server.url_at(proxy.port))
        with pytest.raises(BrokerAwayError, match=r"check that RabbitMQ runs there, and amqp\.url"):
            async with Requester.connected(settings, name="test"):
                pass


async def test_a_refused_login_does_not_tell_the_password(rabbit_server: RabbitServer) -> None:
    settings = amqp(rabbit_server.url.replace("guest:guest", "guest:sesame"))
    with pytest.raises(BrokerAwayError, match="refused the login") as caught:
        async with Requester.connected(settings, name="test"):
            pass
    assert "sesame" not in str(caught.value)


async def test_depths_declare_nothing(rabbit_server: RabbitServer) -> None:
    settings = amqp(rabbit_server.url)
    names = [f"{settings.namespace}.{suffix}" for suffix in ("deployments", "control", "rejected")]
    assert await depths(settings, name="test") == dict.fromkeys(names)
    assert await depths(settings, name="test") == dict.fromkeys(names)
    async with (
        instance(rabbit_server, settings.namespace),
        Requester.connected(settings, name="test") as requester,
    ):
        await requester.deploy(b"{}", correlation_id="c")
        found = await depths(settings, name="test")
        deployments = found[names[0]]
        assert deployments is not None
        assert (deployments.messages, deployments.consumers) == (1, 0)
        assert found[names[1]] is None
