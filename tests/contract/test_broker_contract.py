"""What the engine relies on in a broker: one suite for the fake and for RabbitMQ through aio-pika."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

import aio_pika
import pytest
from tests.fakes.broker import FakeBroker
from tests.integration.rabbit_server import RabbitServer, rabbit_server

from vesemir.adapters.amqp import AmqpBroker
from vesemir.engine.ports.broker import BrokerAwayError, Handler, IncomingMessage, OutgoingMessage, PublishOutcome
from vesemir.engine.ports.observe import SilentLog
from vesemir.engine.upkeep.health import Gate, HealthRegistry
from vesemir.settings import AmqpSettings

__all__ = ["rabbit_server"]


class ConsumingBroker(Protocol):
    async def publish(self, message: OutgoingMessage) -> PublishOutcome: ...
    async def consume(
        self, queue_suffix: str, handler: Handler, *, gate: Gate, prefetch: int | None = None
    ) -> None: ...
    async def stop_consuming(self, *, seconds: float) -> None: ...


class Bench(Protocol):
    """A broker, and a requester's view of it."""

    broker: ConsumingBroker
    namespace: str
    user: str

    async def declare(self, queue: str, *, max_length: int | None = None) -> None: ...
    async def bind(self, queue: str, pattern: str) -> None: ...
    async def send(self, queue: str, message: IncomingMessage) -> None: ...
    async def count(self, queue: str) -> int: ...
    async def go_away(self) -> None: ...


class FakeBench:
    def __init__(self) -> None:
        self.namespace = "vesemir"
        self.fake = FakeBroker(namespace=self.namespace)
        self.broker: ConsumingBroker = self.fake
        self.user = self.fake.user

    async def declare(self, queue: str, *, max_length: int | None = None) -> None:
        self.fake.declare(queue, max_length=max_length)

    async def bind(self, queue: str, pattern: str) -> None:
        self.fake.bind(queue, pattern)

    async def send(self, queue: str, message: IncomingMessage) -> None:
        await self.fake.send(queue, message)

    async def count(self, queue: str) -> int:
        return len(self.fake.waiting(queue))

    async def go_away(self) -> None:
        self.fake.away = True


class RabbitBench:
    def __init__(self, real: AmqpBroker, channel: aio_pika.abc.AbstractChannel, namespace: str) -> None:
        self.namespace = namespace
        self.real = real
        self.broker: ConsumingBroker = real
        self.user = "guest"
        self._channel = channel

    async def declare(self, queue: str, *, max_length: int | None = None) -> None:
        limits = {} if max_length is None else {"x-max-length": max_length, "x-overflow": "reject-publish"}
        await self._channel.declare_queue(queue, durable=True, arguments=limits)

    async def bind(self, queue: str, pattern: str) -> None:
        await (await self._channel.get_queue(queue)).bind(f"{self.namespace}.events", pattern)

    async def send(self, queue: str, message: IncomingMessage) -> None:
        await self._channel.default_exchange.publish(
            aio_pika.Message(message.body, reply_to=message.reply_to, correlation_id=message.correlation_id), queue
        )

    async def count(self, queue: str) -> int:
        declared = await self._channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def go_away(self) -> None:
        self.real.close()


@asynccontextmanager
async def rabbit_bench(server: RabbitServer) -> AsyncIterator[RabbitBench]:
    namespace = f"t{uuid.uuid4().hex[:8]}"
    settings = AmqpSettings(url=server.url, namespace=namespace, publish_timeout_seconds=3)
    broker = AmqpBroker(settings, health=HealthRegistry(), instance="contract/1", log=SilentLog())
    async with await aio_pika.connect(server.url) as connection, asyncio.TaskGroup() as tasks:
        tasks.create_task(broker.run())
        # Published to the void: returns as soon as the connection is there and everything is declared.
        await broker.publish(outgoing("nobody"))
        yield RabbitBench(broker, await connection.channel(), namespace)
        await broker.stop_consuming(seconds=5)
        broker.close()


@pytest.fixture(params=["fake", "rabbitmq"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield FakeBench()
    else:
        async with rabbit_bench(request.getfixturevalue("rabbit_server")) as real:
            yield real


@asynccontextmanager
async def consuming(bench: Bench, handler: Handler, *, gate: Gate, prefetch: int = 20) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.broker.consume("deployments", handler, gate=gate, prefetch=prefetch))
    try:
        yield
    finally:
        await bench.broker.stop_consuming(seconds=5)
        await task


def outgoing(queue: str, *, mandatory: bool = False, number: int = 0) -> OutgoingMessage:
    return OutgoingMessage("", queue, b"{}", f"id-{queue}-{number}", "deployment.accepted", "c-1", mandatory=mandatory)


def incoming(body: bytes) -> IncomingMessage:
    return IncomingMessage(body, "replies", "c-9", None, redelivered=False)


def opened() -> Gate:
    gate = Gate()
    gate.set_open()
    return gate


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """The broker's counts can only be asked for."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def emptied(bench: Bench, queue: str) -> Callable[[], Awaitable[bool]]:
    async def is_empty() -> bool:
        return await bench.count(queue) == 0

    return is_empty


async def test_published_is_confirmed_and_there(bench: Bench) -> None:
    queue = f"{bench.namespace}.replies"
    await bench.declare(queue)
    assert await bench.broker.publish(outgoing(queue, mandatory=True)) is PublishOutcome.CONFIRMED
    assert await bench.count(queue) == 1


async def test_what_is_published_says_by_whom(bench: Bench) -> None:
    """RabbitMQ compares it with who logged in, so nobody else can say the same (contract section 2)."""
    heard: asyncio.Queue[str | None] = asyncio.Queue()

    async def handle(message: IncomingMessage) -> None:
        heard.put_nowait(message.user_id)

    async with asyncio.timeout(10), consuming(bench, handle, gate=opened()):
        await bench.broker.publish(outgoing(f"{bench.namespace}.deployments"))
        assert await heard.get() == bench.user


async def test_what_expires_is_dropped_and_the_rest_stays(bench: Bench) -> None:
    queue = f"{bench.namespace}.rejected"
    await bench.broker.publish(replace(outgoing(queue, number=1), expires_seconds=0.05))
    await until(emptied(bench, queue))
    for number, seconds in ((2, None), (3, 30 * 24 * 3600)):
        await bench.broker.publish(replace(outgoing(queue, number=number), expires_seconds=seconds))
    assert await bench.count(queue) == 2


async def test_unroutable_is_returned_only_if_mandatory(bench: Bench) -> None:
    assert await bench.broker.publish(outgoing("nowhere", mandatory=True)) is PublishOutcome.RETURNED
    assert await bench.broker.publish(outgoing("nowhere")) is PublishOutcome.CONFIRMED
    assert await bench.broker.publish(outgoing("n" * 300, mandatory=True)) is PublishOutcome.RETURNED


async def test_a_full_queue_refuses(bench: Bench) -> None:
    queue = f"{bench.namespace}.full"
    await bench.declare(queue, max_length=1)
    assert await bench.broker.publish(outgoing(queue, mandatory=True, number=1)) is PublishOutcome.CONFIRMED
    assert await bench.broker.publish(outgoing(queue, mandatory=True, number=2)) is PublishOutcome.REFUSED
    assert await bench.count(queue) == 1


async def test_events_reach_who_listens(bench: Bench) -> None:
    queue = f"{bench.namespace}.listener"
    await bench.declare(queue)
    await bench.bind(queue, "shop.#")
    exchange = f"{bench.namespace}.events"
    for key in ("shop.production.deployment.finished", "blog.production.deployment.finished"):
        message = OutgoingMessage(exchange, key, b"{}", key, "deployment.finished")
        assert await bench.broker.publish(message) is PublishOutcome.CONFIRMED
    assert await bench.count(queue) == 1


async def test_many_in_flight_each_get_their_own_answer(bench: Bench) -> None:
    queue = f"{bench.namespace}.many"
    await bench.declare(queue)
    messages = [outgoing(queue if number % 2 else "nowhere", mandatory=True, number=number) for number in range(200)]
    outcomes = await asyncio.gather(*map(bench.broker.publish, messages))
    expected = [PublishOutcome.CONFIRMED if number % 2 else PublishOutcome.RETURNED for number in range(200)]
    assert outcomes == expected
    assert await bench.count(queue) == 100


async def test_one_message_id_to_two_places_at_once(bench: Bench) -> None:
    queue = f"{bench.namespace}.same"
    await bench.declare(queue)
    one = OutgoingMessage("", "nowhere", b"{}", "same", "x", mandatory=True)
    two = OutgoingMessage("", queue, b"{}", "same", "x", mandatory=True)
    outcomes = await asyncio.gather(*(bench.broker.publish(message) for message in (one, two) * 20))
    assert outcomes == [PublishOutcome.RETURNED, PublishOutcome.CONFIRMED] * 20


async def test_away_raises(bench: Bench) -> None:
    await bench.go_away()
    with pytest.raises(BrokerAwayError):
        await bench.broker.publish(outgoing("anywhere"))


async def test_a_handled_message_is_gone(bench: Bench) -> None:
    seen: asyncio.Queue[IncomingMessage] = asyncio.Queue()
    queue = f"{bench.namespace}.deployments"
    async with consuming(bench, seen.put, gate=opened()):
        await bench.send(queue, incoming(b"one"))
        message = await asyncio.wait_for(seen.get(), 10)
    assert (message.body, message.reply_to, message.correlation_id) == (b"one", "replies", "c-9")
    assert not message.redelivered
    assert await bench.count(queue) == 0


async def test_a_message_whose_handler_raises_is_tried_again_and_not_returned(bench: Bench) -> None:
    """RabbitMQ counts returns, and may drop what was returned too often."""
    seen: asyncio.Queue[IncomingMessage] = asyncio.Queue()

    async def handler(message: IncomingMessage) -> None:
        await seen.put(message)
        if seen.qsize() < 3:
            raise ConnectionError("not yet")

    async with consuming(bench, handler, gate=opened()):
        await bench.send(f"{bench.namespace}.deployments", incoming(b"again"))
        await until(lambda: _sized(seen, 3))
    tries = [seen.get_nowait() for _ in range(3)]
    assert [(each.body, each.redelivered) for each in tries] == [(b"again", False)] * 3
    assert await bench.count(f"{bench.namespace}.deployments") == 0


async def test_what_is_held_waits_for_the_gate_and_keeps_its_order(bench: Bench) -> None:
    away = True
    tried = asyncio.Event()
    done: asyncio.Queue[bytes] = asyncio.Queue()
    gate = opened()

    async def handler(message: IncomingMessage) -> None:
        tried.set()
        if away:
            gate.set_closed()
            raise ConnectionError("the record is away")
        await done.put(message.body)

    bodies = [b"first", b"second", b"third"]
    queue = f"{bench.namespace}.deployments"
    for body in bodies:
        await bench.send(queue, incoming(body))
    async with consuming(bench, handler, gate=gate):
        await asyncio.wait_for(tried.wait(), 10)
        away = False
        assert done.empty()
        gate.set_open()
        order = [await asyncio.wait_for(done.get(), 10) for _ in bodies]
    assert order == bodies


async def _sized(queue: "asyncio.Queue[IncomingMessage]", size: int) -> bool:
    return queue.qsize() >= size


async def test_nothing_is_taken_while_the_gate_is_closed(bench: Bench) -> None:
    seen: asyncio.Queue[IncomingMessage] = asyncio.Queue()
    gate = opened()
    queue = f"{bench.namespace}.deployments"
    async with consuming(bench, seen.put, gate=gate):
        await bench.send(queue, incoming(b"before"))
        await asyncio.wait_for(seen.get(), 10)
        gate.set_closed()
        await until(emptied(bench, queue))
        if isinstance(bench, RabbitBench):
            await until(lambda: _no_consumer(bench, queue))
        await bench.send(queue, incoming(b"while closed"))
        assert await bench.count(queue) == 1
        assert seen.empty()
        gate.set_open()
        assert (await asyncio.wait_for(seen.get(), 10)).body == b"while closed"


async def _no_consumer(bench: RabbitBench, queue: str) -> bool:
    declared = await bench._channel.declare_queue(queue, passive=True)
    return declared.declaration_result.consumer_count == 0


async def test_prefetch_bounds_the_handlers_at_once(bench: Bench) -> None:
    at_once = 0
    most = 0
    handled = 0
    full = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(_: IncomingMessage) -> None:
        nonlocal at_once, most, handled
        at_once += 1
        most = max(most, at_once)
        if at_once == 3:
            full.set()
        await go_on.wait()
        at_once -= 1
        handled += 1

    queue = f"{bench.namespace}.deployments"
    for _ in range(10):
        await bench.send(queue, incoming(b"x"))
    async with consuming(bench, handler, gate=opened(), prefetch=3):
        await asyncio.wait_for(full.wait(), 10)
        go_on.set()
        await until(emptied(bench, queue))
    assert most == 3
    assert handled == 10


async def test_stopping_lets_the_handler_end_and_leaves_the_rest(bench: Bench) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()
    ended: list[bytes] = []

    async def handler(message: IncomingMessage) -> None:
        begun.set()
        await go_on.wait()
        ended.append(message.body)

    queue = f"{bench.namespace}.deployments"
    for body in (b"first", b"second", b"third"):
        await bench.send(queue, incoming(body))
    async with consuming(bench, handler, gate=opened(), prefetch=1):
        await asyncio.wait_for(begun.wait(), 10)
        stopping = asyncio.create_task(bench.broker.stop_consuming(seconds=5))
        await asyncio.sleep(0)
        go_on.set()
        await stopping
    assert ended == [b"first"]
    await until(lambda: _has(bench, queue, 2))


async def _has(bench: Bench, queue: str, number: int) -> bool:
    return await bench.count(queue) == number
