"""A requester that knows only the contract: publishes until the broker has it, keeps every answer it ever got."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

PUBLISH_SECONDS = 300.0
CONNECT_SECONDS = 60.0
SILENT_SECONDS = 10.0
"""How long the broker may take for one answer; then it is asked on a new connection."""
LOOK_SECONDS = 2.0
TROUBLES = (TimeoutError, aio_pika.exceptions.AMQPError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Seen:
    """One delivery of one event; ``at`` is this machine's clock, as in ``occurred_at``."""

    at: float
    message_id: str
    body: Mapping[str, Any]


class Requester:
    """Straight to the broker, past every proxy; its reply queue is durable: a restart of the broker loses nothing."""

    def __init__(self, url: str, namespace: str, *, overhears: bool, replicated: bool) -> None:
        self._url = url
        self._namespace = namespace
        self._overhears = overhears
        self._kind = {"x-queue-type": "quorum"} if replicated else None
        self.reply_to = f"answers.{uuid.uuid4().hex[:12]}"
        self._topic_queue = f"topic.{uuid.uuid4().hex[:12]}"
        self.seen: dict[str, list[Seen]] = {}
        self._named: dict[tuple[str, str], list[Seen]] = {}
        self.confirmed: set[str] = set()
        self.topic: dict[str, list[str]] = {}
        self._news = asyncio.Event()
        self._open: AbstractChannel | None = None
        self._opened = asyncio.Event()
        self._over = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, url: str, namespace: str, *, overhears: bool = True, replicated: bool = False
    ) -> AsyncIterator["Requester"]:
        """``overhears``: it reads what the topic exchange gets too. ``replicated``: its queues outlive a node."""
        requester = cls(url, namespace, overhears=overhears, replicated=replicated)
        keeping = asyncio.create_task(requester._keep_connected())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await requester._opened.wait()
            yield requester
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_connected(self) -> None:
        """A new connection whenever the last one broke or no longer reads: aio-pika's own robust connection stays
        without its consumers where the queue had no leader in the moment in which it was restored."""
        while True:
            with suppress(*TROUBLES):
                async with asyncio.timeout(SILENT_SECONDS):
                    connection = await aio_pika.connect(self._url, heartbeat=10)
                try:
                    await self._read(connection)
                finally:
                    self._opened.clear()
                    with suppress(*TROUBLES):
                        async with asyncio.timeout(SILENT_SECONDS):
                            await connection.close()
            await asyncio.sleep(0.3)

    async def _read(self, connection: AbstractConnection) -> None:
        """Until it is closed, or the broker no longer knows the consumer."""
        async with asyncio.timeout(SILENT_SECONDS):
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            queue = await channel.declare_queue(self.reply_to, durable=True, arguments=self._kind)
            await queue.consume(self._heard)
            if self._overhears:
                exchange = await channel.declare_exchange(f"{self._namespace}.events", "topic", durable=True)
                listening = await channel.declare_queue(self._topic_queue, durable=True, arguments=self._kind)
                await listening.bind(exchange, "#")
                await listening.consume(self._overheard)
        over = self._over = asyncio.Event()
        channel.close_callbacks.add(lambda *_: over.set())
        connection.close_callbacks.add(lambda *_: over.set())
        self._open = channel
        self._opened.set()
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LOOK_SECONDS)
                return
            async with asyncio.timeout(SILENT_SECONDS):
                looked = await channel.declare_queue(self.reply_to, durable=True, passive=True)
            if not looked.declaration_result.consumer_count:
                return

    async def _channel(self) -> AbstractChannel:
        """The one that is open now, or the next one."""
        await self._opened.wait()
        assert self._open is not None
        return self._open

    async def _heard(self, message: AbstractIncomingMessage) -> None:
        body = json.loads(message.body)
        seen = Seen(time.time(), str(message.message_id), body)
        self.seen.setdefault(str(body["deployment_id"]), []).append(seen)
        self._named.setdefault((str(body["deployment_id"]), str(body["event"])), []).append(seen)
        self._news.set()
        await message.ack()

    async def _overheard(self, message: AbstractIncomingMessage) -> None:
        """What the topic exchange gets: the message ids of each deployment."""
        body = json.loads(message.body)
        self.topic.setdefault(str(body["deployment_id"]), []).append(str(message.message_id))
        await message.ack()

    async def publish(
        self, body: bytes, *, queue: str = "deployments", reply_to: str | None = None, correlation: str = "chaos"
    ) -> None:
        """Until the broker has confirmed it, which may mean several times: a requester may repeat itself."""
        message = aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=correlation,
            reply_to=reply_to or self.reply_to,
        )
        async with asyncio.timeout(PUBLISH_SECONDS):
            while True:
                try:
                    async with asyncio.timeout(10):
                        exchange = (await self._channel()).default_exchange
                        await exchange.publish(message, f"{self._namespace}.{queue}", mandatory=True)
                        return
                except aio_pika.exceptions.DeliveryError:
                    self._opened.clear()
                    self._over.set()  # refused: a channel may have missed who leads the queue now (messages.md)
                except TROUBLES:
                    await asyncio.sleep(0.3)

    async def deploy(self, event: Mapping[str, Any]) -> None:
        await self.publish(json.dumps(event).encode())
        self.confirmed.add(event["deployment_id"])

    async def control(self, command: str, deployment_id: str) -> None:
        body = {"schema": "vesemir.control/1", "command": command, "deployment_id": deployment_id}
        await self.publish(json.dumps(body).encode(), queue="control")

    def events(self, deployment_id: str, name: str | None = None) -> list[Seen]:
        """All of them, or those of that name, in the order in which they came."""
        if name is None:
            return list(self.seen.get(deployment_id, []))
        return list(self._named.get((deployment_id, name), []))

    async def event(self, deployment_id: str, name: str, *, seconds: float, number: int = 1) -> Seen:
        """Wait for the ``number``-th delivery of such an event."""
        async with asyncio.timeout(seconds):
            while len(found := self.events(deployment_id, name)) < number:
                self._news.clear()
                await self._news.wait()
        return found[number - 1]

    async def declare(self, name: str, **arguments: Any) -> None:
        await (await self._channel()).declare_queue(name, durable=True, arguments=arguments or None)

    async def delete(self, name: str) -> None:
        await (await self._channel()).queue_delete(name)

    async def purge(self, name: str) -> int:
        queue = await (await self._channel()).get_queue(name, ensure=False)
        answer = await queue.purge()
        return answer.message_count or 0

    async def take_all(self, name: str, *, most: int = 1000) -> list[AbstractIncomingMessage]:
        """Everything that lies in a queue now."""
        queue = await (await self._channel()).get_queue(name, ensure=False)
        found: list[AbstractIncomingMessage] = []
        while len(found) < most:
            message = await queue.get(fail=False, no_ack=True)
            if message is None:
                break
            found.append(message)
        return found
