"""A message whose handling meets a bug is refused after a few tries; one that cannot be stored is refused at once."""

import asyncio
import json

import pytest
from tests.unit.engine.messages.mailbox import incoming
from tests.unit.engine.messages.test_control_handler import Desk
from tests.unit.engine.messages.test_intake import Door
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import Lines

from vesemir.engine.messages.poison import MOST_FAILURES, PoisonGuard
from vesemir.engine.ports.broker import BrokerAwayError, IncomingMessage
from vesemir.engine.ports.store import StoreAwayError


class Faulty:
    """A handler with a bug for some bodies, and what was refused for it."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        """What is raised, in order; the last one over and over."""
        self.tries: list[bytes] = []
        self.refused: list[IncomingMessage] = []
        self.log = Lines()
        self.guard = PoisonGuard(self.handle, refuse=self.refuse, log=self.log)

    async def handle(self, message: IncomingMessage) -> None:
        self.tries.append(message.body)
        if message.body == b"poison" and self.errors:
            raise self.errors[0] if len(self.errors) == 1 else self.errors.pop(0)

    async def refuse(self, message: IncomingMessage, error: Exception) -> None:
        del error
        if message.correlation_id == "\x00":
            raise ValueError("cannot be encoded")
        self.refused.append(message)


async def test_after_three_bugs_it_is_refused_and_dealt_with() -> None:
    faulty = Faulty(RuntimeError("a bug"))
    await faulty.guard.handle(incoming(b"poison"))
    assert len(faulty.tries) == MOST_FAILURES
    assert [message.body for message in faulty.refused] == [b"poison"]
    assert len(faulty.log.of("exception")) == 1


async def test_failures_are_counted_across_deliveries_of_one_body() -> None:
    faulty = Faulty(RuntimeError("a bug"), StoreAwayError("away"), RuntimeError("a bug"))
    with pytest.raises(StoreAwayError):
        await faulty.guard.handle(incoming(b"poison"))
    assert len(faulty.tries) == 2
    await faulty.guard.handle(incoming(b"poison"))
    assert len(faulty.tries) == 4, "one bug before the outage, two after it"
    assert len(faulty.refused) == 1


async def test_a_bug_that_passes_costs_nothing_but_a_try() -> None:
    faulty = Faulty(RuntimeError("a bug"))
    handle = asyncio.create_task(faulty.guard.handle(incoming(b"poison")))
    await until(lambda: faulty.tries)
    faulty.errors = []
    await handle
    assert len(faulty.tries) == 2
    assert not faulty.refused


@pytest.mark.parametrize("error", [StoreAwayError("away"), BrokerAwayError("away")])
async def test_what_is_away_is_no_fault_of_the_message(error: Exception) -> None:
    faulty = Faulty(error)
    for _ in range(10):
        with pytest.raises(type(error)):
            await faulty.guard.handle(incoming(b"poison"))
    assert not faulty.refused


async def test_one_that_cannot_be_answered_is_refused_by_its_body_alone() -> None:
    faulty = Faulty(RuntimeError("a bug"))
    await faulty.guard.handle(incoming(b"poison", correlation_id="\x00"))
    assert [(message.reply_to, message.correlation_id) for message in faulty.refused] == [(None, None)]


async def test_what_came_back_is_handled_one_at_a_time() -> None:
    running, most = 0, 0

    async def handle(_: IncomingMessage) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.01)
        running -= 1

    async def refuse(_: IncomingMessage, __: Exception) -> None: ...

    guard = PoisonGuard(handle, refuse=refuse, log=Lines())
    back = IncomingMessage(b"x", None, None, None, redelivered=True, headers={"x-delivery-count": 1})
    await asyncio.gather(*(guard.handle(back) for _ in range(3)))
    assert most == 1


async def test_four_hundred_bugs_delay_a_good_message_by_less_than_a_second() -> None:
    faulty = Faulty(RuntimeError("a bug"))
    slots = asyncio.Semaphore(20)

    async def deliver(body: bytes) -> None:
        async with slots:
            await faulty.guard.handle(incoming(body))

    loop = asyncio.get_running_loop()
    started = loop.time()
    poison = [asyncio.create_task(deliver(b"poison")) for _ in range(400)]
    await deliver(b"good")
    assert loop.time() - started < 1, "virtual seconds: the pauses alone"
    await asyncio.gather(*poison)


@pytest.mark.parametrize("text", ["\x00", "a\x00b"])
@pytest.mark.parametrize("name", ["reply_to", "correlation_id", "user_id"])
async def test_a_property_that_cannot_be_stored_is_refused_like_a_field_of_the_body(name: str, text: str) -> None:
    """A NUL in a correlation_id was retried for ever; 400 of them stopped the intake of everybody."""
    door = Door()
    given = {"reply_to": "answers", "correlation_id": "c-1", "user_id": "orchestrator", name: text}
    body = json.dumps(door.event()).encode()
    await door.intake.handle(IncomingMessage(body, redelivered=False, headers={}, **given))
    assert not door.world.record.rows
    (event,) = door.answered("vesemir.events")
    assert event["failure"]["code"] == "request.invalid"
    assert [detail["field"] for detail in event["failure"]["details"]] == [name]
    assert len(door.to("vesemir.rejected")) == 1
    assert len(door.to("answers")) == (0 if name == "reply_to" else 1)


async def test_a_control_message_has_the_same_door() -> None:
    desk = Desk()
    body = json.dumps({"schema": "vesemir.control/1", "command": "cancel", "deployment_id": "d1"}).encode()
    await desk.control.handle(incoming(body, correlation_id="\x00"))
    (answer,) = desk.answered()
    assert (answer["event"], answer["failure"]["code"]) == ("control.rejected", "request.invalid")


async def test_a_bug_in_the_intake_is_told_to_the_requester(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()

    async def accept(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(door.store, "accept", accept)
    guard = PoisonGuard(door.intake.handle, refuse=door.intake.refuse_as_bug, log=door.log)
    await guard.handle(incoming(door.event()))
    (answer,) = door.answered()
    assert (answer["event"], answer["failure"]["code"]) == ("deployment.rejected", "internal.error")
    assert (answer["deployment_id"], answer["application"]) == (door.event()["deployment_id"], "shop")
    assert door.to("vesemir.rejected")[0].headers["x-vesemir-code"] == "internal.error"
