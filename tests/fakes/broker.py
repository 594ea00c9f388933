"""An in-memory ``Broker`` that also consumes, for the engine's tests; it passes the same suite as the real one.

Queues must be declared, as in RabbitMQ: what is published to a queue that does not exist is returned. The three queues
and the exchange of the namespace exist from the beginning. ``away`` makes everything raise ``BrokerAwayError``.
"""

import asyncio
import fnmatch
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace

from vesemir.engine.ports.broker import BrokerAwayError, Handler, IncomingMessage, OutgoingMessage, PublishOutcome
from vesemir.engine.upkeep.health import Gate


@dataclass(slots=True)
class _Queue:
    messages: deque[IncomingMessage] = field(default_factory=deque)
    outgoing: list[OutgoingMessage] = field(default_factory=list)
    expiries: list[tuple[float, IncomingMessage]] = field(default_factory=list)
    max_length: int | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: IncomingMessage, *, front: bool = False) -> None:
        if front:
            self.messages.appendleft(message)
        else:
            self.messages.append(message)
        self.arrived.set()

    def expire(self) -> None:
        """Drop what has been here for too long."""
        for due, message in list(self.expiries):
            if due <= time.monotonic():
                self.expiries.remove((due, message))
                if message in self.messages:
                    self.messages.remove(message)


class FakeBroker:
    """``published`` holds everything in the order in which it was confirmed."""

    def __init__(self, *, namespace: str = "vesemir", prefetch: int = 20, requeue_seconds: float = 0.0) -> None:
        self.namespace = namespace
        self.published: list[OutgoingMessage] = []
        self.away = False
        self.user = "guest"
        self._prefetch = prefetch
        self._requeue_seconds = requeue_seconds
        self._queues = {f"{namespace}.{suffix}": _Queue() for suffix in ("deployments", "control", "rejected")}
        self._bindings: list[tuple[str, str]] = []
        self._stopping = asyncio.Event()
        self._consumers: set[asyncio.Task[None]] = set()

    def declare(self, queue: str, *, max_length: int | None = None) -> None:
        self._queues.setdefault(queue, _Queue(max_length=max_length))

    def delete(self, queue: str) -> None:
        self._queues.pop(queue, None)

    def bind(self, queue: str, pattern: str) -> None:
        """Bind to the topic exchange; ``*`` and ``#`` as RabbitMQ has them, near enough for routing keys of ours."""
        self._bindings.append((queue, pattern.replace("#", "*")))

    def waiting(self, queue: str) -> tuple[IncomingMessage, ...]:
        """What is in a queue and not delivered now."""
        self._queues[queue].expire()
        return tuple(self._queues[queue].messages)

    async def send(self, queue: str, message: IncomingMessage) -> None:
        """Put a message into a queue as a requester would."""
        self._queues[queue].put(message)

    async def publish(self, message: OutgoingMessage) -> PublishOutcome:
        await asyncio.sleep(0)
        if self.away:
            raise BrokerAwayError("the fake broker is away")
        queues = self._route(message)
        if not queues and message.mandatory:
            return PublishOutcome.RETURNED
        if any(queue.max_length is not None and len(queue.messages) >= queue.max_length for queue in queues):
            return PublishOutcome.REFUSED
        for queue in queues:
            queue.outgoing.append(message)
            arrived = IncomingMessage(
                body=message.body,
                reply_to=None,
                correlation_id=message.correlation_id,
                user_id=self.user,
                redelivered=False,
                headers=dict(message.headers),
            )
            queue.put(arrived)
            if message.expires_seconds is not None:
                queue.expiries.append((time.monotonic() + message.expires_seconds, arrived))
        self.published.append(message)
        return PublishOutcome.CONFIRMED

    async def consume(self, queue_suffix: str, handler: Handler, *, gate: Gate, prefetch: int | None = None) -> None:
        """Until ``stop_consuming``."""
        queue = self._queues[f"{self.namespace}.{queue_suffix}"]
        slots = asyncio.Semaphore(prefetch or self._prefetch)
        this = asyncio.current_task()
        assert this is not None
        self._consumers.add(this)
        try:
            async with asyncio.TaskGroup() as tasks:
                while not self._stopping.is_set():
                    await self._any(gate.wait_open(), self._stopping.wait())
                    await self._any(queue.arrived.wait(), gate.wait_closed(), self._stopping.wait())
                    await slots.acquire()
                    if not queue.messages or not gate.is_open or self._stopping.is_set():
                        slots.release()
                        if not queue.messages:
                            queue.arrived.clear()
                        continue
                    tasks.create_task(self._handle(queue, queue.messages.popleft(), handler, gate, slots))
        finally:
            self._consumers.discard(this)

    async def stop_consuming(self, *, seconds: float) -> None:
        self._stopping.set()
        if self._consumers:
            await asyncio.wait(set(self._consumers), timeout=seconds)

    def _route(self, message: OutgoingMessage) -> list[_Queue]:
        if message.exchange == "":
            names = [message.routing_key]
        else:
            names = [queue for queue, pattern in self._bindings if fnmatch.fnmatch(message.routing_key, pattern)]
        return [self._queues[name] for name in names if name in self._queues]

    async def _handle(
        self, queue: _Queue, message: IncomingMessage, handler: Handler, gate: Gate, slots: asyncio.Semaphore
    ) -> None:
        """Like the real one: whatever a handler raises, its message is held and tried again."""
        try:
            while not self._stopping.is_set():
                with suppress(Exception):
                    await handler(message)
                    return
                await self._any(self._stopping.wait(), timeout=self._requeue_seconds)
                await self._any(self._stopping.wait(), gate.wait_open())
            queue.put(replace(message, redelivered=True), front=True)
        finally:
            slots.release()

    @staticmethod
    async def _any(*waits: object, timeout: float | None = None) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
        try:
            await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
