"""What must exist in the broker (contract section 2), and how it is declared on every connection."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPChannelError, ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused

from vesemir.adapters.amqp.connection import LiveConnection, away_on_loss
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import Log

QUORUM = {"x-queue-type": "quorum"}
"""Nothing beside the type: other programs declare the same queues, and the broker refuses arguments that differ."""


@dataclass(frozen=True, slots=True)
class QueueTopology:
    """The names within one namespace."""

    namespace: str

    @property
    def deployments(self) -> str:
        return f"{self.namespace}.deployments"

    @property
    def control(self) -> str:
        return f"{self.namespace}.control"

    @property
    def rejected(self) -> str:
        return f"{self.namespace}.rejected"

    @property
    def events(self) -> str:
        return f"{self.namespace}.events"

    @property
    def queues(self) -> tuple[str, ...]:
        return self.deployments, self.control, self.rejected

    @property
    def inputs(self) -> tuple[str, ...]:
        """Queues that have an exchange of their name, to which a requester may have the right to write."""
        return self.deployments, self.control

    async def declare(self, connection: LiveConnection, *, seconds: float, log: Log) -> None:
        """Declare all of it. Raises ``BrokerAwayError`` when that is not possible within ``seconds`` each."""
        for queue in self.queues:
            await self.declare_queue(connection, queue, seconds=seconds, log=log)

        async def exchange(channel: AbstractChannel, *, passive: bool) -> None:
            await channel.declare_exchange(self.events, ExchangeType.TOPIC, durable=True, passive=passive)

        await _declare(connection, self.events, exchange, seconds=seconds, log=log)
        for name in self.inputs:
            await self.offer_input(connection, name, seconds=seconds, log=log)

    async def declare_queue(self, connection: LiveConnection, name: str, *, seconds: float, log: Log) -> None:
        async def queue(channel: AbstractChannel, *, passive: bool) -> None:
            await channel.declare_queue(name, durable=True, arguments=dict(QUORUM), passive=passive)

        await _declare(connection, name, queue, seconds=seconds, log=log)

    async def offer_input(self, connection: LiveConnection, name: str, *, seconds: float, log: Log) -> None:
        """Make the exchange of that name and bind it to its queue; where that is refused, the queue alone will do."""
        try:
            await bind_input(connection, name, seconds=seconds)
        except AMQPChannelError as refused:
            log.warning(f"messages come by the queue {name} alone, not by the exchange of its name: {refused}")


async def bind_input(connection: LiveConnection, name: str, *, seconds: float) -> None:
    """As often as wanted. An exchange that somebody else made is used.

    Raises ``AMQPChannelError`` as the broker refuses it, and ``BrokerAwayError``.
    """

    async def bind(channel: AbstractChannel, *, passive: bool) -> None:  # noqa: ARG001 - there is one way to bind
        await (await channel.get_queue(name, ensure=False)).bind(name)

    try:
        await input_exchange(connection, name, passive=False, seconds=seconds)
    except ChannelAccessRefused:
        await input_exchange(connection, name, passive=True, seconds=seconds)
    await _try(connection, name, bind, passive=False, seconds=seconds)


async def input_exchange(connection: LiveConnection, name: str, *, passive: bool, seconds: float) -> None:
    """Make it, or with ``passive`` only see whether it is there. Raises as ``bind_input`` does."""

    async def exchange(channel: AbstractChannel, *, passive: bool) -> None:
        await channel.declare_exchange(name, ExchangeType.FANOUT, durable=True, passive=passive)

    await _try(connection, name, exchange, passive=passive, seconds=seconds)


async def _declare(
    connection: LiveConnection, name: str, how: Callable[..., Awaitable[None]], *, seconds: float, log: Log
) -> None:
    """Declare one thing on a channel of its own, because the broker closes the channel on which it refuses.

    An operator may have made it with other arguments (a delivery limit, a policy's queue type), or may have given this
    user no right to configure. Then it is used as it is.
    """
    try:
        await _try(connection, name, how, passive=False, seconds=seconds)
    except AMQPChannelError as refused:
        log.warning(f"{name} is used as it is, because the broker refused to declare it: {refused}")
        try:
            await _try(connection, name, how, passive=True, seconds=seconds)
        except ChannelNotFoundEntity as error:
            raise BrokerAwayError(f"{name} does not exist and may not be declared ({refused}); declare it") from error
        except AMQPChannelError as error:
            raise BrokerAwayError(f"{name} cannot be used: {error}") from error


async def _try(
    connection: LiveConnection, name: str, how: Callable[..., Awaitable[None]], *, passive: bool, seconds: float
) -> None:
    live = await connection.channel(confirms=False, seconds=seconds)
    try:
        with away_on_loss(f"declaring {name}", but=AMQPChannelError):
            async with asyncio.timeout(seconds):
                await how(live.channel, passive=passive)
    finally:
        await live.close()
