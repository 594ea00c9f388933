"""Messages that are strange, many or large: each is handled once and none stops the consumer."""

import asyncio
import struct
import time

import aio_pika
import pamqp.frame
import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from tests.integration.amqp_bench import ask, event, requester, running, until
from tests.integration.rabbit_server import RabbitServer, rabbit_server

from vesemir.adapters.amqp.decodable import UNREADABLE_HEADER
from vesemir.adapters.amqp.lenient import LenientReader
from vesemir.engine.ports.broker import IncomingMessage, PublishOutcome
from vesemir.engine.ports.observe import SilentLog

__all__ = ["rabbit_server"]

MEBIBYTE = 1024 * 1024


def _property(flag: int, value: bytes) -> bytes:
    return struct.pack(">H", flag) + value


UNREADABLE = {
    "correlation_id that is not UTF-8": _property(1024, b"\x02\xff\xfe"),
    "reply_to that is not UTF-8": _property(512, b"\x03\xc3\x28\x80"),
    "timestamp in nanoseconds": _property(64, struct.pack(">Q", 1_763_900_000_000_000_000)),
    "header whose name is not UTF-8": _property(8192, struct.pack(">I", 4) + b"\x02\xff\xfeV"),
}


def content_header(properties: bytes, *, body_size: int, channel: int) -> bytes:
    """A content header frame as AMQP 0-9-1 section 4.2.6.1 has it, with the flags and properties as given."""
    payload = struct.pack(">HHQ", 60, 0, body_size) + properties
    return struct.pack(">BHI", 2, channel, len(payload)) + payload + b"\xce"


async def publish_raw(server: RabbitServer, queue: str, properties: bytes, body: bytes) -> None:
    """What no decent client library sends: written to the socket frame by frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

    async def say(channel: int, *frames: object, answer: bool = True) -> None:
        for frame in frames:
            writer.write(pamqp.frame.marshal(frame, channel))  # type: ignore[arg-type]
        if answer:
            head = await reader.readexactly(7)
            await reader.readexactly(struct.unpack(">I", head[3:])[0] + 1)

    commands = pamqp.commands
    writer.write(b"AMQP\x00\x00\x09\x01")
    await say(0)
    await say(0, commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
    await say(0, commands.Connection.TuneOk(2047, 131072, 0), commands.Connection.Open("/"))
    await say(1, commands.Channel.Open())
    await say(1, Basic.Publish(routing_key=queue), answer=False)
    writer.write(content_header(properties, body_size=len(body), channel=1))
    writer.write(pamqp.frame.marshal(pamqp.body.ContentBody(body), 1))
    await say(1, commands.Channel.Close(200, "", 0, 0))
    await say(0, commands.Connection.Close(200, "", 0, 0))
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("properties", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_unreadable_properties_stop_nobody(rabbit_server: RabbitServer, properties: bytes) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        await publish_raw(rabbit_server, one.queue, properties, b"strange")
        await ask(channel, one.queue, b"decent")
        strange = await asyncio.wait_for(one.seen.get(), 10)
        decent = await asyncio.wait_for(one.seen.get(), 10)
        assert (strange.body, decent.body) == (b"strange", b"decent")
        assert not strange.redelivered
        assert UNREADABLE_HEADER in strange.headers
        assert strange.reply_to is None
        assert UNREADABLE_HEADER not in decent.headers


async def test_large_and_empty_bodies_arrive_whole(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        for body in (b"", b"x" * (5 * MEBIBYTE), b"\x00\xff" * 70_000):
            await ask(channel, one.queue, body)
            assert await one.next_body() == body


async def test_properties_of_what_is_published(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        replies = await channel.declare_queue(exclusive=True)
        assert await one.broker.publish(event(1, key=replies.name, mandatory=True)) is PublishOutcome.CONFIRMED
        message = await replies.get(timeout=5)
        await message.ack()
        assert message.app_id == "vesemir"
        assert message.content_type == "application/json"
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert message.message_id == "event-1"
        assert message.type == "deployment.accepted"
        assert message.timestamp is not None
        assert abs(message.timestamp.timestamp() - time.time()) < 60


async def test_many_messages_are_each_taken_once_and_acknowledged(rabbit_server: RabbitServer) -> None:
    """How fast is for ``amqp_bench.py`` to say; here, that with a full queue none is lost, doubled or left."""
    total = 2000
    arrived: list[bytes] = []
    done = asyncio.Event()

    async def handler(message: IncomingMessage) -> None:
        arrived.append(message.body)
        if len(arrived) == total:
            done.set()

    async with running(rabbit_server.url, heartbeat_seconds=10) as one, requester(rabbit_server) as channel:
        one.gate.set_closed()
        one.run(handler)
        await until(one.is_up)
        for start in range(0, total, 500):
            bodies = [str(number).encode() for number in range(start, start + 500)]
            messages = [aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT) for body in bodies]
            await asyncio.gather(*(channel.default_exchange.publish(message, one.queue) for message in messages))
        one.gate.set_open()
        await done.wait()
    assert sorted(arrived, key=int) == [str(number).encode() for number in range(total)]


async def test_a_reader_hands_out_the_same_bytes_in_the_same_pieces() -> None:
    """Frames that can be decoded pass unchanged, whatever comes after them."""
    decent = pamqp.frame.marshal(ContentHeader(0, 3, Basic.Properties(correlation_id="c")), 7)
    frames = pamqp.frame.marshal(Basic.Ack(1), 7) + decent + pamqp.frame.marshal(pamqp.body.ContentBody(b"abc"), 7)
    inner = asyncio.StreamReader()
    inner.feed_data(frames)
    inner.feed_eof()
    reader = LenientReader(inner, log=SilentLog())
    taken = b""
    while not reader.at_eof():
        head = await reader.readexactly(1) + await reader.readexactly(6)
        taken += head + await reader.readexactly(struct.unpack(">I", head[3:])[0] + 1)
    assert taken == frames
