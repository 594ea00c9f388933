"""The requester's side of the contract: publish a message with a private reply queue, and read what comes back.

The reply queue is named by the server, exclusive and deleted with the connection, so a requester that dies leaves
nothing behind. There is no reconnecting in here: a lost connection has lost its queue too. Who still wants the answers
makes a new ``Requester`` and sends the same message again; the contract makes that a new destination of the same
deployment, which gets every event from the first one on.
Nothing is logged: who asks is told by what is returned and raised.
"""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import AMQPChannelError, ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused
from pamqp.commands import Basic

from vesemir.adapters.amqp.awaiting import any_of
from vesemir.adapters.amqp.connection import LiveChannel, LiveConnection, away_on_loss
from vesemir.adapters.amqp.nodes import BrokerNodes
from vesemir.adapters.amqp.topology import QueueTopology, bind_input, input_exchange
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import SilentLog
from vesemir.settings import AmqpSettings

APP_ID = "vesemir-cli"


class UnroutableError(VesemirError):
    """No queue took the message: it is nowhere."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An event that came to the reply queue; ``body`` is its JSON object."""

    body: Mapping[str, Any]
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What the broker tells of a queue."""

    messages: int
    consumers: int


class Requester:
    """One connection with its reply queue. Made by ``connected``."""

    def __init__(self, settings: AmqpSettings, connection: LiveConnection, channel: LiveChannel) -> None:
        self._settings = settings
        self._topology = QueueTopology(settings.namespace)
        self._connection = connection
        self._channel = channel
        self._replies: deque[Reply] = deque()
        self._news = asyncio.Event()
        self._reply_to = ""
        # RabbitMQ compares it with who logged in, and closes the channel if it is not the same.
        self._user = connection.user or "guest"

    @classmethod
    @asynccontextmanager
    async def connected(cls, settings: AmqpSettings, *, name: str) -> AsyncIterator[Self]:
        """Log in and make the reply queue, within ``connect_timeout_seconds`` each. Raises ``BrokerAwayError``."""
        connection = await _dialed(settings, name=name)
        try:
            channel = await connection.channel(confirms=False, seconds=settings.connect_timeout_seconds)
            requester = cls(settings, connection, channel)
            await requester._listen()
            yield requester
        finally:
            await connection.close()

    @property
    def reply_to(self) -> str:
        """The name of the reply queue."""
        return self._reply_to

    async def deploy(self, body: bytes, *, correlation_id: str) -> None:
        """Publish a deploy event; returns when the broker has it. Raises as ``send`` does."""
        await self.send(self._topology.deployments, body, kind="vesemir.deploy", correlation_id=correlation_id)

    async def control(self, body: bytes, *, correlation_id: str) -> None:
        """Publish a control message; returns when the broker has it. Raises as ``send`` does."""
        await self.send(self._topology.control, body, kind="vesemir.control", correlation_id=correlation_id)

    async def send(self, queue: str, body: bytes, *, kind: str, correlation_id: str) -> None:
        """Persistent, mandatory and confirmed, within ``publish_timeout_seconds``: by the exchange of the queue's name,
        to which a requester may have the right (contract section 2), and where that cannot be, by the default exchange.

        Raises ``UnroutableError`` when there is no such queue, ``VesemirError`` when it is full and
        ``BrokerAwayError`` when no confirm came: the broker may have the message or not.
        """
        message = Message(
            body,
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            correlation_id=correlation_id,
            reply_to=self._reply_to,
            message_id=str(uuid.uuid4()),
            timestamp=datetime.now(UTC),
            type=kind,
            app_id=APP_ID,
            user_id=self._user,
        )
        try:
            try:
                await self._publish(message, exchange=queue, queue=queue)
            except (ChannelAccessRefused, ChannelNotFoundEntity, PublishError):
                # No right to the exchange, or instances that may not make it: the queue alone will do.
                await self._publish(message, exchange="", queue=queue)
        except PublishError as error:
            raise UnroutableError(
                f"there is no queue {queue} in this broker; start an instance once (`vesemir run` declares it), "
                "or check the virtual host in amqp.url and amqp.namespace"
            ) from error
        except DeliveryError as error:
            raise VesemirError(
                f"the broker refused the message: the queue {queue} is full (see why no instance takes from it), "
                "or the node that led it has just died (send it again)"
            ) from error
        except ChannelAccessRefused as error:
            raise VesemirError(
                f"the broker does not let the user {self._user} write to the exchange {queue}, nor to the default "
                "exchange; ask whoever keeps RabbitMQ for that right (docs/install.md)"
            ) from error

    async def _publish(self, message: Message, *, exchange: str, queue: str) -> None:
        """On a channel of its own: the broker closes it where it refuses, and the replies come on another."""
        what, seconds = f"publishing to {queue}", self._settings.publish_timeout_seconds
        live = await self._connection.channel(confirms=True, seconds=seconds)
        try:
            with away_on_loss(what, but=(DeliveryError, ChannelAccessRefused, ChannelNotFoundEntity)):
                async with asyncio.timeout(seconds):
                    place = live.channel.default_exchange
                    if exchange:
                        place = await live.channel.get_exchange(exchange, ensure=False)
                    await place.publish(message, routing_key=queue, mandatory=True)
        finally:
            await live.close()

    async def replies(self) -> AsyncIterator[Reply]:
        """Every event that comes, for ever: the caller sets the limit. Raises ``BrokerAwayError`` when it is lost."""
        while True:
            self._news.clear()
            while self._replies:
                yield self._replies.popleft()
            if self._channel.gone.is_set() or self._connection.gone.is_set():
                raise BrokerAwayError(f"the connection to the broker was lost: {self._why()}")
            await any_of(self._news.wait(), self._channel.gone.wait(), self._connection.gone.wait())

    def _why(self) -> str:
        return self._channel.why or self._connection.why or "closed"

    async def _listen(self) -> None:
        with away_on_loss("making the reply queue"):
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                underlay = await self._channel.channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(self._on_cancelled)
                declared = await underlay.queue_declare("", exclusive=True, auto_delete=True)
                self._reply_to = str(declared.queue)
                await underlay.basic_consume(self._reply_to, self._on_delivery, no_ack=True)

    async def _on_delivery(self, message: DeliveredMessage) -> None:
        reply = _as_reply(message)
        if reply is not None:
            self._replies.append(reply)
            self._news.set()

    def _on_cancelled(self, _: Basic.Cancel) -> None:
        self._channel.drop("the broker deleted the reply queue")


def _as_reply(message: DeliveredMessage) -> Reply | None:
    """None for what is no JSON object: the one that knows the queue's name can write to it."""
    try:
        body = json.loads(message.body)
    except (ValueError, RecursionError):
        return None
    return Reply(body, message.header.properties.correlation_id) if isinstance(body, dict) else None


async def depths(settings: AmqpSettings, *, name: str) -> Mapping[str, QueueDepth | None]:
    """How full Vesemir's queues are, None for one that is not there. Declares nothing. Raises ``BrokerAwayError``."""
    connection = await _dialed(settings, name=name)
    try:
        return {queue: await _depth(connection, queue, settings) for queue in QueueTopology(settings.namespace).queues}
    finally:
        await connection.close()


async def input_problems(settings: AmqpSettings, *, name: str) -> Mapping[str, str]:
    """By queue, why messages do not come by the exchange of its name. Makes none. Raises ``BrokerAwayError``."""
    connection = await _dialed(settings, name=name)
    problems: dict[str, str] = {}
    try:
        for each in QueueTopology(settings.namespace).inputs:
            try:
                await input_exchange(connection, each, passive=True, seconds=settings.connect_timeout_seconds)
                # As every instance does when it connects; only so a broker tells whether they may.
                await bind_input(connection, each, seconds=settings.connect_timeout_seconds)
            except ChannelNotFoundEntity:
                problems[each] = "there is no exchange of its name; an instance makes it, if its user may configure it"
            except AMQPChannelError as error:
                problems[each] = f"the exchange of its name cannot be bound to it: {error}"
    finally:
        await connection.close()
    return problems


async def _depth(connection: LiveConnection, queue: str, settings: AmqpSettings) -> QueueDepth | None:
    """On a channel of its own, because the broker closes the one on which a queue was not found."""
    seconds = settings.connect_timeout_seconds
    live = await connection.channel(confirms=False, seconds=seconds)
    try:
        with away_on_loss(f"asking for {queue}", but=AMQPChannelError):
            async with asyncio.timeout(seconds):
                underlay = await live.channel.get_underlay_channel()
                found = await underlay.queue_declare(queue, passive=True)
    except ChannelNotFoundEntity:
        return None
    except AMQPChannelError as error:
        raise VesemirError(f"the broker does not let this user see {queue}: {error}; check its rights") from error
    finally:
        await live.close()
    return QueueDepth(found.message_count or 0, found.consumer_count or 0)


async def _dialed(settings: AmqpSettings, *, name: str) -> LiveConnection:
    try:
        return await BrokerNodes(settings).dial(name=name, log=SilentLog())
    except BrokerAwayError as error:
        if "check" in str(error):
            raise
        raise BrokerAwayError(f"{error}; check that RabbitMQ runs there, and amqp.url (VESEMIR_AMQP__URL)") from error
