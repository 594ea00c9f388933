"""What the tests of the RabbitMQ adapter share: a broker of ours that runs, a requester of aio-pika's, and waiting."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from tests.integration.rabbit_server import RabbitServer

from vesemir.adapters.amqp import AmqpBroker
from vesemir.adapters.amqp.broker import CONSUME_PART, PUBLISH_PART
from vesemir.engine.ports.broker import Handler, IncomingMessage, OutgoingMessage
from vesemir.engine.ports.observe import SilentLog
from vesemir.engine.upkeep.health import Gate, HealthRegistry, PartState
from vesemir.settings import AmqpSettings


class RunningBroker:
    """``AmqpBroker`` with its tasks, consuming ``deployments`` into ``seen`` unless another handler is given."""

    def __init__(self, settings: AmqpSettings, tasks: asyncio.TaskGroup) -> None:
        self.health = HealthRegistry()
        self.broker = AmqpBroker(settings, health=self.health, instance="test/1", log=SilentLog())
        self.seen: asyncio.Queue[IncomingMessage] = asyncio.Queue()
        self.gate = Gate()
        self.gate.set_open()
        self.queue = self.broker.topology.deployments
        self._tasks = tasks

    def run(self, handler: Handler | None = None, *, prefetch: int = 20) -> None:
        self._tasks.create_task(self.broker.run())
        handler = handler or self.seen.put
        self._tasks.create_task(self.broker.consume("deployments", handler, gate=self.gate, prefetch=prefetch))

    def states(self) -> dict[str, PartState]:
        return {part.name: part.state for part in self.health.parts}

    def details(self) -> str:
        return " ".join(part.detail for part in self.health.parts)

    async def is_up(self) -> bool:
        return set(self.states().values()) == {PartState.UP}

    def reconnected(self) -> Callable[[], Awaitable[bool]]:
        """True when everything is up again after it was not: being down may be too short to be seen."""
        before = {part.name: part.since for part in self.health.parts}

        async def are_new() -> bool:
            return await self.is_up() and all(part.since != before[part.name] for part in self.health.parts)

        return are_new

    async def is_down(self) -> bool:
        return self.states()[PUBLISH_PART] is PartState.DOWN and self.states()[CONSUME_PART] is PartState.DOWN

    async def next_body(self, seconds: float = 20.0) -> bytes:
        return (await asyncio.wait_for(self.seen.get(), seconds)).body


@asynccontextmanager
async def running(url: str, **settings: Any) -> AsyncIterator[RunningBroker]:
    """Not yet started: call ``run``."""
    namespace = f"t{uuid.uuid4().hex[:8]}"
    quick = {"heartbeat_seconds": 2, "connect_timeout_seconds": 3, "publish_timeout_seconds": 3} | settings
    async with asyncio.TaskGroup() as tasks:
        one = RunningBroker(AmqpSettings(url=url, namespace=namespace, **quick), tasks)
        yield one
        await one.broker.stop_consuming(seconds=1)
        one.broker.close()


@asynccontextmanager
async def requester(server: RabbitServer) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(server.url) as connection:
        yield await connection.channel()


async def ask(channel: aio_pika.abc.AbstractChannel, queue: str, body: bytes) -> None:
    await channel.default_exchange.publish(aio_pika.Message(body), queue)


def event(number: int, *, exchange: str = "", key: str = "nowhere", mandatory: bool = False) -> OutgoingMessage:
    return OutgoingMessage(exchange, key, b"{}", f"event-{number}", "deployment.accepted", mandatory=mandatory)


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 20.0) -> None:
    """For what can only be asked for."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
