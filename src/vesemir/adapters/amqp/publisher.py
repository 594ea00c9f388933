"""Publishing with confirms, many in flight on one channel, and an answer or an exception within a limit."""

import asyncio
from datetime import UTC, datetime

from aio_pika.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from vesemir.adapters.amqp.awaiting import Slot, any_of
from vesemir.adapters.amqp.connection import BrokerSilentError, LiveChannel, LiveConnection, away_on_loss
from vesemir.adapters.amqp.link import Link, Report
from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.engine.ports.broker import BrokerAwayError, OutgoingMessage, PublishOutcome
from vesemir.engine.ports.observe import Log
from vesemir.engine.upkeep.health import PartState
from vesemir.settings import AmqpSettings

APP_ID = "vesemir"
PERSISTENT = 2
"""``delivery-mode`` of a message that survives a restart of the broker (AMQP 0-9-1)."""
LONGEST_NAME = 255
"""A short string's limit in bytes (AMQP 0-9-1, section 4.2.5.3): no queue can have a longer name."""
RENEW_SECONDS = 1.0
"""How old a channel is at least when it is renewed after a refusal; the outbox waits as long before it tries again."""


class Publisher:
    """``run`` keeps a channel on the link's connection; ``publish`` may be called by any number of tasks."""

    def __init__(self, settings: AmqpSettings, link: Link, *, report: Report, log: Log) -> None:
        self._settings = settings
        self._link = link
        self._topology = QueueTopology(settings.namespace)
        self._report = report
        self._log = log
        self._channel: Slot[LiveChannel] = Slot()
        self._in_flight: dict[str, asyncio.Event] = {}
        self._refused = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Until ``stop``: open a channel on every new connection, and another when the broker closes it."""
        async with asyncio.TaskGroup() as retiring:
            while not self._stopping.is_set():
                await any_of(self._link.live.get(), self._stopping.wait())
                connection = self._link.live.value
                if connection is None:
                    continue
                try:
                    await self._keep_channel(connection, retiring)
                except BrokerAwayError as error:
                    # Opening a channel fails only on a connection that is no longer any good.
                    connection.drop(str(error))
                    await any_of(self._stopping.wait(), timeout=0.1)

    def stop(self) -> None:
        self._stopping.set()

    async def publish(self, message: OutgoingMessage) -> PublishOutcome:
        """See ``engine.broker.Broker``."""
        if self._stopping.is_set():
            raise BrokerAwayError(f"publishing {message.type}: the connection was closed on purpose")
        try:
            with away_on_loss(f"publishing {message.type}"):
                async with asyncio.timeout(self._settings.publish_timeout_seconds):
                    return await self._publish_alone(message)
        except BrokerSilentError as error:
            await self._leave_silent_node(str(error))
            raise

    async def _leave_silent_node(self, why: str) -> None:
        """In a cluster another node may confirm what this one does not: it may be cut off from the queue's majority."""
        connection = self._link.live.value
        if connection is not None and len(self._settings.addresses) > 1 and not await connection.blocked():
            connection.drop(why)

    async def _keep_channel(self, connection: LiveConnection, retiring: asyncio.TaskGroup) -> None:
        seconds = self._settings.connect_timeout_seconds
        channel = await self._new_channel(connection)
        try:
            while await self._is_good(connection, channel):
                # RabbitMQ keeps for each channel which node leads a quorum queue. One that learned it in the moment in
                # which that node died refuses all that is published to the queue; a new channel learns it anew.
                old, channel = channel, await self._new_channel(connection)
                retiring.create_task(self._retire(connection, old))
        finally:
            self._channel.empty()
            await channel.close()
        if not self._stopping.is_set() and not connection.gone.is_set():
            self._log.warning(f"The publishing channel was closed: {channel.why}")
            # What it was closed for may be missing: declare everything again before the next message.
            await self._topology.declare(connection, seconds=seconds, log=self._log)

    async def _new_channel(self, connection: LiveConnection) -> LiveChannel:
        """Publishing goes on it from now on."""
        channel = await connection.channel(confirms=True, seconds=self._settings.connect_timeout_seconds)
        self._refused.clear()
        self._channel.fill(channel)
        return channel

    async def _is_good(self, connection: LiveConnection, channel: LiveChannel) -> bool:
        """Returns when another channel is needed: true if this connection can have it."""
        over = (channel.gone, connection.gone, self._stopping)
        await any_of(*(each.wait() for each in over), timeout=RENEW_SECONDS)
        while not any(each.is_set() for each in over):
            if self._refused.is_set():
                return True
            waits = (each.wait() for each in (*over, self._refused))
            if not await any_of(*waits, timeout=self._settings.heartbeat_seconds):
                await self._probe(connection, channel)
        return False

    async def _retire(self, connection: LiveConnection, channel: LiveChannel) -> None:
        """Close a channel when nothing can be in flight on it any more."""
        seconds = self._settings.publish_timeout_seconds
        await any_of(channel.gone.wait(), connection.gone.wait(), self._stopping.wait(), timeout=seconds)
        await channel.close()

    async def _probe(self, connection: LiveConnection, channel: LiveChannel) -> None:
        """Ask the broker something: so a dead peer and a deleted exchange are noticed soon."""
        if await connection.blocked():
            self._report(PartState.UP, "publishing is blocked by the broker's alarm (memory or disk); events wait")
            return
        self._report(PartState.UP, "")
        try:
            with away_on_loss("asking the broker"):
                async with asyncio.timeout(self._settings.heartbeat_seconds):
                    await channel.channel.get_exchange(self._topology.events)
        except BrokerAwayError as error:
            if not channel.gone.is_set() and not await connection.blocked():
                connection.drop(str(error))

    async def _publish_alone(self, message: OutgoingMessage) -> PublishOutcome:
        """Never two of one ``message_id`` in flight: aiormq matches a returned message to its confirm by that alone."""
        while (earlier := self._in_flight.get(message.message_id)) is not None:
            await earlier.wait()
        ended = self._in_flight[message.message_id] = asyncio.Event()
        try:
            return await self._publish_on(await self._open_channel(), message)
        finally:
            del self._in_flight[message.message_id]
            ended.set()

    async def _open_channel(self) -> LiveChannel:
        """The channel, or the next one: a closed one is still in the slot for a moment, and would fail at once."""
        while True:
            live = await self._channel.get()
            if not live.channel.is_closed:
                return live
            live.drop("closed")
            if self._channel.value is live:
                self._channel.empty()

    async def _publish_on(self, live: LiveChannel, message: OutgoingMessage) -> PublishOutcome:
        """Straight on aiormq's channel: aio-pika's own message costs as much again, and takes one at a time."""
        if len(message.routing_key.encode()) > LONGEST_NAME:
            return PublishOutcome.RETURNED
        channel = await live.channel.get_underlay_channel()
        try:
            await channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=_properties(message, live.user),
                mandatory=message.mandatory,
                wait=False,  # type: ignore[call-arg] # for the socket, which its abstract class forgets: the confirm is
            )
        except PublishError:
            return PublishOutcome.RETURNED
        except DeliveryError:
            self._refused.set()
            return PublishOutcome.REFUSED
        return PublishOutcome.CONFIRMED


def _properties(message: OutgoingMessage, user: str | None) -> Basic.Properties:
    """``user``: RabbitMQ compares it with who logged in and refuses another, so receivers can tell a forged event."""
    expires = message.expires_seconds
    return Basic.Properties(
        headers=dict(message.headers),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=PERSISTENT,
        correlation_id=message.correlation_id,
        message_id=message.message_id,
        timestamp=datetime.now(UTC),
        message_type=message.type,
        app_id=APP_ID,
        user_id=user,
        expiration=None if expires is None else str(int(expires * 1000)),
    )
