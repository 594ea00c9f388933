"""The messages that one queue's consumer was given: handled, acknowledged, and held while that is not possible.

A message that its handler cannot deal with now is not given back: RabbitMQ counts returns, and from 4.0 on drops what
was returned 20 times. It is held in memory and tried again, all that are held together and in the order in which they
came, after a pause that grows. After ``HOLD_SECONDS`` it is returned once: the broker closes the channel of who keeps
a message for ``consumer_timeout`` (30 minutes). A lost channel ends the holding, since the broker has taken back what
was delivered on it; a handler that is at work then goes on.

The tasks are ours because aiormq cancels its own consumer callbacks when a channel is lost: a handler that is in the
middle of a database transaction then ends it, and only its acknowledgement comes too late.
"""

import asyncio

from aiormq.abc import DeliveredMessage

from vesemir.adapters.amqp.awaiting import Backoff, any_of
from vesemir.adapters.amqp.connection import LiveChannel, away_on_loss
from vesemir.engine.ports.broker import BrokerAwayError, Handler, IncomingMessage
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.health import Gate

HOLD_SECONDS = 24 * 60.0
"""A try may take half a minute more."""

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
"""Between two tries of what is held, while the gate stays open."""


class Deliveries:
    """``rounds`` is a long-lived task; ``begin`` is called with each delivery."""

    def __init__(self, queue: str, handler: Handler, *, gate: Gate, prefetch: int, log: Log) -> None:
        self._queue = queue
        self._handler = handler
        self._gate = gate
        self._prefetch = prefetch
        self._log = log
        self._slots = asyncio.Semaphore(prefetch)
        self._pauses = Backoff(first=FIRST_PAUSE_SECONDS, most=LONGEST_PAUSE_SECONDS)
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._somebody_waits = asyncio.Event()
        self._held = 0
        self.none_held = asyncio.Event()
        self.none_held.set()
        self.some_room = asyncio.Event()
        self.some_room.set()

    @property
    def room(self) -> int:
        """How many more may be taken while some are held: 0 at least."""
        return max(0, self._prefetch - self._held)

    def begin(self, message: DeliveredMessage, channel: LiveChannel, tasks: asyncio.TaskGroup) -> None:
        task = tasks.create_task(self._handle(message, channel), name=f"handle {self._queue}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Nothing is begun or held any more; what is being handled may end."""
        self._stopping.set()

    async def settle(self, seconds: float) -> None:
        """Let handlers at work end, so that few messages come twice."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def rounds(self) -> None:
        """For ever: let all that wait try again at once. A gate that closes and opens again ends a pause."""
        while True:
            await self._somebody_waits.wait()
            self._failures += 1
            await any_of(self._gate.wait_closed(), timeout=self._pauses.after(self._failures))
            await self._gate.wait_open()
            self._somebody_waits.clear()
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def _handle(self, message: DeliveredMessage, channel: LiveChannel) -> None:
        async with self._slots:
            if channel.gone.is_set() or self._stopping.is_set():
                return  # goes back to the queue with the channel
            incoming = as_incoming(message)
            if await self._is_done(incoming) or await self._held_until_done(incoming, channel):
                self._failures = 0
                await self._answer(message, channel, acknowledge=True)
            else:
                await self._answer(message, channel, acknowledge=False)

    async def _is_done(self, incoming: IncomingMessage) -> bool:
        try:
            await self._handler(incoming)
        except (StoreAwayError, BrokerAwayError) as error:
            self._log.warning(f"A message of {self._queue} is held and tried again: {error}")
        except Exception:  # noqa: BLE001 - a bug in a handler must not stop the consumer; it is logged as one
            self._log.exception(f"A message of {self._queue} could not be handled and is tried again; this is a bug")
        else:
            return True
        return False

    async def _held_until_done(self, incoming: IncomingMessage, channel: LiveChannel) -> bool:
        """False: its time is over, or it cannot be acknowledged any more."""
        clock = asyncio.get_running_loop().time
        until = clock() + HOLD_SECONDS
        self._count_held(1)
        try:
            while True:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                self._somebody_waits.set()
                await any_of(
                    _turn_of(turn), channel.gone.wait(), self._stopping.wait(), timeout=max(0.0, until - clock())
                )
                if not turn.done() or turn.cancelled() or channel.gone.is_set() or self._stopping.is_set():
                    return False
                if await self._is_done(incoming):
                    return True
        finally:
            self._count_held(-1)

    def _count_held(self, change: int) -> None:
        self._held += change
        for event, is_so in ((self.none_held, self._held == 0), (self.some_room, self.room > 0)):
            if is_so:
                event.set()
            else:
                event.clear()

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


async def _turn_of(turn: asyncio.Future[None]) -> None:
    await turn


def as_incoming(message: DeliveredMessage) -> IncomingMessage:
    properties = message.header.properties
    return IncomingMessage(
        body=message.body,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        user_id=properties.user_id,
        redelivered=bool(message.redelivered),
        headers=properties.headers or {},
        content_encoding=properties.content_encoding,
        sent_at=properties.timestamp.timestamp() if properties.timestamp else None,
    )
