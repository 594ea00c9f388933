"""Consuming one queue: every message goes to a handler in a task of ours, and is acknowledged when the handler returns.

The tasks are ours because aiormq cancels its own consumer callbacks when a channel is lost: a handler that is in the
middle of a database transaction then ends it, and only its acknowledgement comes too late.
"""

import asyncio
import time

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from vesemir.adapters.amqp.awaiting import Backoff, any_of
from vesemir.adapters.amqp.connection import BrokerSilentError, LiveChannel, LiveConnection, away_on_loss
from vesemir.adapters.amqp.link import Link
from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.engine.ports.broker import BrokerAwayError, Handler, IncomingMessage
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.health import Gate
from vesemir.settings import AmqpSettings

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
"""Between two deliveries of a message that its handler could not deal with."""

SETTLE_SECONDS = 5.0
"""How long handlers may go on after the gate closed, before their messages are requeued under them."""

FAILURES_AT_A_NODE = 3
"""To consume, before the next node of a cluster is tried."""

GHOST_PROBES = 2
"""A quorum queue without a leader reports no consumers for a moment; only so many reports in a row count."""


class Consumer:
    """``run`` is its life: consume while the gate is open and a connection is there, until ``stop``."""

    def __init__(
        self,
        settings: AmqpSettings,
        link: Link,
        *,
        queue: str,
        handler: Handler,
        gate: Gate,
        prefetch: int,
        log: Log,
    ) -> None:
        self._settings = settings
        self._link = link
        self._topology = QueueTopology(settings.namespace)
        self._queue = queue
        self._handler = handler
        self._gate = gate
        self._prefetch = prefetch
        self._log = log
        self._slots = asyncio.Semaphore(prefetch)
        self._pauses = Backoff(first=FIRST_PAUSE_SECONDS, most=LONGEST_PAUSE_SECONDS)
        self._failures = 0
        self._handling: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._settle_until: float | None = None
        self.ended = asyncio.Event()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._consume_again_and_again(tasks)
                await self._settle()
                for task in self._handling:
                    task.cancel()
        finally:
            self.ended.set()

    def stop(self, *, seconds: float) -> None:
        """Take no more; handlers in flight may go on for so many seconds."""
        self._settle_until = time.monotonic() + seconds
        self._stopping.set()

    async def _consume_again_and_again(self, tasks: asyncio.TaskGroup) -> None:
        backoff, failures = Backoff(), 0
        while not self._stopping.is_set():
            await any_of(self._ready(), self._stopping.wait())
            connection = self._link.live.value
            if connection is None or not self._gate.is_open or self._stopping.is_set():
                continue
            try:
                await self._consume(connection, tasks)
                backoff.reset()
                failures = 0
            except BrokerAwayError as error:
                failures += 1
                if isinstance(error, BrokerSilentError) or self._elsewhere(failures):
                    connection.drop(str(error))
                pause = backoff.next()
                self._log.warning(f"{self._queue} is not consumed: {error}; next try in {pause:.1f} s")
                await any_of(self._stopping.wait(), connection.gone.wait(), timeout=pause)

    def _elsewhere(self, failures: int) -> bool:
        """Whether to try another node of the cluster: this one answers, and does not let the queue be consumed."""
        return len(self._settings.addresses) > 1 and failures % FAILURES_AT_A_NODE == 0

    async def _ready(self) -> None:
        while not (self._gate.is_open and self._link.live.value is not None):
            await self._gate.wait_open()
            await self._link.live.get()

    async def _consume(self, connection: LiveConnection, tasks: asyncio.TaskGroup) -> None:
        """One consumer on one channel, until something ends it."""
        seconds = self._settings.connect_timeout_seconds
        await self._topology.declare_queue(connection, self._queue, seconds=seconds, log=self._log)
        channel = await connection.channel(confirms=False, seconds=seconds)
        try:
            tag = await self._subscribe(channel, tasks, seconds=seconds)
            self._log.info(f"Consuming {self._queue}")
            await self._watch(connection, channel)
            if not channel.gone.is_set():
                await self._unsubscribe(channel, tag, seconds=seconds)
                await self._settle()
            self._log.info(f"No longer consuming {self._queue}: {self._why(channel)}")
        finally:
            await channel.close()

    async def _subscribe(self, channel: LiveChannel, tasks: asyncio.TaskGroup, *, seconds: float) -> str:
        async def on_delivery(message: DeliveredMessage) -> None:
            task = tasks.create_task(self._handle(message, channel), name=f"handle {self._queue}")
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

        def on_cancelled(_: Basic.Cancel) -> None:
            channel.drop("the broker cancelled the consumer")

        with away_on_loss(f"consuming {self._queue}"):
            async with asyncio.timeout(seconds):
                underlay = await channel.channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(on_cancelled)
                await underlay.basic_qos(prefetch_count=self._prefetch)
                answer = await underlay.basic_consume(self._queue, on_delivery)
        return str(answer.consumer_tag)

    async def _unsubscribe(self, channel: LiveChannel, tag: str, *, seconds: float) -> None:
        with away_on_loss(f"cancelling the consumer of {self._queue}"):
            async with asyncio.timeout(seconds):
                await (await channel.channel.get_underlay_channel()).basic_cancel(tag)

    async def _watch(self, connection: LiveConnection, channel: LiveChannel) -> None:
        """Return when the consumer is to end: gone, stopped, the gate closed, or the broker no longer knows it."""
        missing = 0
        while not await any_of(
            channel.gone.wait(),
            connection.gone.wait(),
            self._gate.wait_closed(),
            self._stopping.wait(),
            timeout=self._settings.heartbeat_seconds,
        ):
            try:
                consumers = await self._consumers(channel)
            except BrokerAwayError as error:
                if not channel.gone.is_set():
                    connection.drop(str(error))
                return
            missing = 0 if consumers else missing + 1
            if missing >= GHOST_PROBES:
                channel.drop("the broker does not know the consumer any more")
                return

    async def _consumers(self, channel: LiveChannel) -> int:
        """How many consumers the queue has; a dead peer and a deleted queue are noticed by asking."""
        with away_on_loss(f"asking for {self._queue}"):
            async with asyncio.timeout(self._settings.heartbeat_seconds):
                underlay = await channel.channel.get_underlay_channel()
                answer = await underlay.queue_declare(self._queue, passive=True)
        return answer.consumer_count or 0

    def _why(self, channel: LiveChannel) -> str:
        if self._stopping.is_set():
            return "stopping"
        return channel.why or ("the gate is closed" if not self._gate.is_open else "the connection was lost")

    async def _settle(self) -> None:
        """Let handlers in flight end, so that few messages come twice."""
        until = self._settle_until
        seconds = SETTLE_SECONDS if until is None else max(0.0, until - time.monotonic())
        if self._handling:
            await asyncio.wait(set(self._handling), timeout=seconds)

    async def _handle(self, message: DeliveredMessage, channel: LiveChannel) -> None:
        async with self._slots:
            if channel.gone.is_set() or self._stopping.is_set():
                return  # goes back to the queue with the channel
            incoming = _as_incoming(message)
            try:
                await self._handler(incoming)
            except (StoreAwayError, BrokerAwayError) as error:
                self._log.warning(f"A message of {self._queue} has to come again: {error}")
            except Exception:  # noqa: BLE001 - a bug in a handler must not stop the consumer; it is logged as one
                self._log.exception(f"A message of {self._queue} could not be handled and comes again; this is a bug")
            else:
                self._failures = 0
                await self._answer(message, channel, acknowledge=True)
                return
            await self._requeue_later(message, channel)

    async def _requeue_later(self, message: DeliveredMessage, channel: LiveChannel) -> None:
        """Give it back after a pause that grows with the failures in a row, so that it never spins, whatever is wrong.

        How often this message was delivered before says nothing: an outage returns good messages as often as bad ones.
        """
        self._failures += 1
        await any_of(
            channel.gone.wait(),
            self._stopping.wait(),
            self._gate.wait_closed(),
            timeout=self._pauses.after(self._failures),
        )
        await self._answer(message, channel, acknowledge=False)

    async def _answer(self, message: DeliveredMessage, channel: LiveChannel, *, acknowledge: bool) -> None:
        tag = message.delivery_tag
        if tag is None or channel.gone.is_set():
            return
        try:
            with away_on_loss("acknowledging"):
                if acknowledge:
                    await message.channel.basic_ack(tag, wait=False)
                else:
                    await message.channel.basic_nack(tag, requeue=True, wait=False)
        except BrokerAwayError as error:
            self._log.debug(f"A message of {self._queue} comes again: {error}")


def _as_incoming(message: DeliveredMessage) -> IncomingMessage:
    properties = message.header.properties
    return IncomingMessage(
        body=message.body,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        user_id=properties.user_id,
        redelivered=bool(message.redelivered),
        headers=properties.headers or {},
    )
