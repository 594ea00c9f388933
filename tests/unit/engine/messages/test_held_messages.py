"""What a queue's consumer was given and cannot store: held in order, tried together, returned once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from tests.unit.engine.world import Lines

from vesemir.adapters.amqp.deliveries import HOLD_SECONDS, LONGEST_PAUSE_SECONDS, Deliveries
from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.health import Gate

CONSUMER_TIMEOUT_SECONDS = 30 * 60.0
"""RabbitMQ's default: it closes the channel of who has kept a message for so long."""


class FakeChannel:
    """That of aiormq and that of ours in one: what was answered, and the event of its end."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.acknowledged: list[int] = []
        self.returned: list[tuple[int, float]] = []

    async def basic_ack(self, tag: int, *, wait: bool) -> None:
        del wait
        self.acknowledged.append(tag)

    async def basic_nack(self, tag: int, *, requeue: bool, wait: bool) -> None:
        assert requeue
        del wait
        self.returned.append((tag, asyncio.get_running_loop().time()))

    def message(self, tag: int) -> Any:
        properties = SimpleNamespace(
            reply_to=None, correlation_id=None, user_id=None, headers=None, content_encoding=None, timestamp=None
        )
        header = SimpleNamespace(properties=properties)
        return SimpleNamespace(body=b"%d" % tag, header=header, redelivered=False, delivery_tag=tag, channel=self)


class Holding:
    """``away``: the record cannot be written."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.away = True
        self.tries: list[int] = []
        self.gate = Gate()
        self.gate.set_open()
        self.channel = FakeChannel()
        self.deliveries = Deliveries("q", self.handle, gate=self.gate, prefetch=3, log=Lines())
        self._tasks = tasks

    async def handle(self, message: IncomingMessage) -> None:
        self.tries.append(int(message.body))
        await asyncio.sleep(0.01)
        if self.away:
            raise StoreAwayError("read-only")

    def give(self, *tags: int) -> None:
        for tag in tags:
            self.deliveries.begin(self.channel.message(tag), self.channel, self._tasks)  # type: ignore[arg-type]


@asynccontextmanager
async def holding() -> AsyncIterator[Holding]:
    async with asyncio.TaskGroup() as tasks:
        made = Holding(tasks)
        rounds = tasks.create_task(made.deliveries.rounds())
        yield made
        made.deliveries.stop()
        await made.deliveries.settle(5)
        rounds.cancel()


async def test_ten_minutes_without_writes_return_nothing() -> None:
    async with holding() as made:
        made.give(1, 2, 3)
        await asyncio.sleep(0.1)
        made.gate.set_closed()
        await asyncio.sleep(600)
        assert made.tries == [1, 2, 3], "nothing is tried while the gate is closed"
        assert (made.deliveries.room, made.deliveries.some_room.is_set()) == (0, False)
        made.away = False
        made.gate.set_open()
        await made.deliveries.none_held.wait()
        assert made.tries == [1, 2, 3, 1, 2, 3]
        assert sorted(made.channel.acknowledged) == [1, 2, 3]
        assert made.channel.returned == []
        assert made.deliveries.room == 3


async def test_it_is_returned_once_and_before_the_broker_takes_it_back() -> None:
    async with holding() as made:
        made.give(1)
        await asyncio.sleep(0.1)
        made.gate.set_closed()
        await asyncio.sleep(2 * CONSUMER_TIMEOUT_SECONDS)
        ((tag, moment),) = made.channel.returned
        assert (tag, made.channel.acknowledged) == (1, [])
        assert HOLD_SECONDS <= moment < 25 * 60
        assert made.deliveries.none_held.is_set()


async def test_with_an_open_gate_pauses_grow_and_stay_bounded() -> None:
    async with holding() as made:
        made.give(1)
        await asyncio.sleep(HOLD_SECONDS - 1)
        tries = len(made.tries)
        assert HOLD_SECONDS / LONGEST_PAUSE_SECONDS < tries < 2 * HOLD_SECONDS / LONGEST_PAUSE_SECONDS + 20


async def test_a_lost_channel_ends_the_holding() -> None:
    async with holding() as made:
        made.give(1, 2)
        await asyncio.sleep(0.1)
        tries = len(made.tries)
        made.gate.set_closed()
        made.channel.gone.set()
        await made.deliveries.none_held.wait()
        made.gate.set_open()
        await asyncio.sleep(60)
        assert len(made.tries) == tries, "a wish of long ago is not carried out after a newer one"
        assert made.channel.returned == [], "the broker has taken them back"


async def test_stopping_returns_what_is_held_at_once() -> None:
    async with holding() as made:
        made.give(1, 2)
        await asyncio.sleep(0.1)
        made.gate.set_closed()
        made.deliveries.stop()
        await made.deliveries.settle(1)
        assert sorted(tag for tag, _ in made.channel.returned) == [1, 2]


async def test_a_gate_that_opens_again_ends_the_pause() -> None:
    async with holding() as made:
        made.give(1)
        await asyncio.sleep(300)
        made.gate.set_closed()
        await asyncio.sleep(1)
        made.away = False
        made.gate.set_open()
        clock = asyncio.get_running_loop().time
        begun = clock()
        await made.deliveries.none_held.wait()
        assert clock() - begun < 0.1
