"""Consuming one queue while the record can be written: subscribing, watching that, and unsubscribing.

While the gate is closed there is no consumer, but the channel stays: what was delivered on it is held by ``Deliveries``
and not returned. On a new connection nothing is taken before a write that is newer than the connection has succeeded.
So an outage costs a message one return for each instance that has it when its connection is lost, and no more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from vesemir.adapters.amqp.awaiting import Backoff, any_of
from vesemir.adapters.amqp.connection import BrokerSilentError, LiveChannel, LiveConnection, away_on_loss
from vesemir.adapters.amqp.deliveries import Deliveries
from vesemir.adapters.amqp.link import Link
from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.engine.ports.broker import BrokerAwayError, Handler
from vesemir.engine.ports.observe import Log
from vesemir.engine.upkeep.health import Gate
from vesemir.settings import AmqpSettings

SETTLE_SECONDS = 5.0
"""How long handlers may go on after the channel was lost, and how long what is held has the first turn when the gate
opens."""

FAILURES_AT_A_NODE = 3
"""To consume, before the next node of a cluster is tried."""

GHOST_PROBES = 2
"""A quorum queue without a leader reports no consumers for a moment; only so many reports in a row count."""

Fresh = Callable[[], Awaitable[object]]
"""Returns when a write that began after the call has succeeded."""


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
        fresh: Fresh | None = None,
    ) -> None:
        self._settings = settings
        self._link = link
        self._topology = QueueTopology(settings.namespace)
        self._queue = queue
        self._gate = gate
        self._fresh = fresh or gate.wait_open
        self._prefetch = prefetch
        self._log = log
        self._deliveries = Deliveries(queue, handler, gate=gate, prefetch=prefetch, log=log)
        self._stopping = asyncio.Event()
        self._settle_until: float | None = None
        self.ended = asyncio.Event()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                rounds = tasks.create_task(self._deliveries.rounds(), name=f"held of {self._queue}")
                await self._consume_again_and_again(tasks)
                await self._settle()
                self._deliveries.cancel()
                rounds.cancel()
        finally:
            self.ended.set()

    def stop(self, *, seconds: float) -> None:
        """Take no more; handlers in flight may go on for so many seconds."""
        self._settle_until = time.monotonic() + seconds
        self._stopping.set()
        self._deliveries.stop()

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
        """One channel, with one consumer after the other as the gate closes and opens, until the channel is lost."""
        seconds = self._settings.connect_timeout_seconds
        await self._topology.declare_queue(connection, self._queue, seconds=seconds, log=self._log)
        if self._queue in self._topology.inputs:
            # A queue that somebody deleted has lost its bindings.
            await self._topology.offer_input(connection, self._queue, seconds=seconds, log=self._log)
        channel = await connection.channel(confirms=False, seconds=seconds)
        try:
            await self._watch(connection, channel, self._fresh)
            while not self._is_over(connection, channel):
                if self._gate.is_open and self._deliveries.some_room.is_set():
                    await self._take(connection, channel, tasks)
                await self._watch(connection, channel, self._may_take)
            await self._settle()
        finally:
            await channel.close()

    def _is_over(self, connection: LiveConnection, channel: LiveChannel) -> bool:
        return channel.gone.is_set() or connection.gone.is_set() or self._stopping.is_set()

    async def _may_take(self) -> None:
        """What is held has the first turn: it came first, and it bounds how much more may be taken."""
        await self._gate.wait_open()
        await any_of(self._deliveries.none_held.wait(), timeout=SETTLE_SECONDS)
        await self._deliveries.some_room.wait()

    async def _take(self, connection: LiveConnection, channel: LiveChannel, tasks: asyncio.TaskGroup) -> None:
        """One consumer, until something ends it. With less room than usual it ends as soon as nothing is held."""
        seconds = self._settings.connect_timeout_seconds
        room = self._deliveries.room
        tag = await self._subscribe(channel, tasks, prefetch=room, seconds=seconds)
        self._log.info(f"Consuming {self._queue}")
        ends: list[Fresh] = [self._gate.wait_closed]
        if room < self._prefetch:
            ends.append(self._deliveries.none_held.wait)
        await self._watch(connection, channel, *ends, consuming=True)
        if not channel.gone.is_set():
            await self._unsubscribe(channel, tag, seconds=seconds)
        self._log.info(f"No longer consuming {self._queue}: {self._why(channel)}")

    async def _subscribe(self, channel: LiveChannel, tasks: asyncio.TaskGroup, *, prefetch: int, seconds: float) -> str:
        async def on_delivery(message: DeliveredMessage) -> None:
            self._deliveries.begin(message, channel, tasks)

        def on_cancelled(_: Basic.Cancel) -> None:
            channel.drop("the broker cancelled the consumer")

        with away_on_loss(f"consuming {self._queue}"):
            async with asyncio.timeout(seconds):
                underlay = await channel.channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(on_cancelled)
                await underlay.basic_qos(prefetch_count=prefetch)
                answer = await underlay.basic_consume(self._queue, on_delivery)
        return str(answer.consumer_tag)

    async def _unsubscribe(self, channel: LiveChannel, tag: str, *, seconds: float) -> None:
        with away_on_loss(f"cancelling the consumer of {self._queue}"):
            async with asyncio.timeout(seconds):
                await (await channel.channel.get_underlay_channel()).basic_cancel(tag)

    async def _watch(
        self, connection: LiveConnection, channel: LiveChannel, *ends: Fresh, consuming: bool = False
    ) -> None:
        """Return when one of ``ends`` has come, or the channel is over. The broker is asked now and then meanwhile."""
        missing = 0
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(end()) for end in ends]
        try:
            while not await any_of(
                *(_ended(wait) for wait in waits),
                channel.gone.wait(),
                connection.gone.wait(),
                self._stopping.wait(),
                timeout=self._settings.heartbeat_seconds,
            ):
                try:
                    consumers = await self._consumers(channel)
                except BrokerAwayError as error:
                    if not channel.gone.is_set():
                        connection.drop(str(error))
                    return
                missing = 0 if consumers or not consuming else missing + 1
                if missing >= GHOST_PROBES:
                    channel.drop("the broker does not know the consumer any more")
                    return
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

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
        if channel.why:
            return channel.why
        return "nothing is held any more" if self._gate.is_open else "the record cannot be written"

    async def _settle(self) -> None:
        until = self._settle_until
        await self._deliveries.settle(SETTLE_SECONDS if until is None else max(0.0, until - time.monotonic()))


async def _ended(task: "asyncio.Future[object]") -> None:
    """Without cancelling it."""
    await asyncio.wait([task])
