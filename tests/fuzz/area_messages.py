"""Deploy and control messages with any properties: one verdict each, nothing raised, nothing that cannot be stored."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pamqp.frame
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from tests.fuzz.examine import Area, Check
from tests.fuzz.mutation import nearly_json
from tests.fuzz.properties import HEADER_FRAMES, delivered
from tests.fuzz.storable import assert_json, assert_storable
from tests.unit.engine.messages.mailbox import Post
from tests.unit.engine.messages.test_control_handler import Desk
from tests.unit.engine.messages.test_intake import Door

from vesemir.engine.messages.poison import PoisonGuard
from vesemir.engine.ports.broker import IncomingMessage, OutgoingMessage
from vesemir.engine.ports.observe import IntakeOutcome

Delivery = tuple[bytes, bytes, bool]
"""A content header's frame, a body, and whether it was delivered before."""


def _events() -> list[Any]:
    world = Door().world
    full = {
        **world.event(traffic=True),
        "requested_by": "somebody",
        "team": "payments",
        "parameters": {"a": "b", "n": 1, "on": True},
    }
    return [full, {**world.event(), "recipe": "hush", "parameters": {"key": "hunter22secret", "url": "x"}}]


CONTROLS = [
    {"schema": "vesemir.control/1", "command": command, "deployment_id": "d1", "requested_by": "me", "reason": "lunch"}
    for command in ("pause", "cancel")
]


def _deliveries(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Delivery]]:
    """A few messages for one instance; the same body may come twice, with other properties."""
    one = st.tuples(HEADER_FRAMES, bodies, st.booleans())
    return st.lists(one, min_size=1, max_size=2).flatmap(
        lambda given: st.lists(
            st.tuples(HEADER_FRAMES, st.sampled_from([body for _, body, _ in given]), st.booleans()), max_size=1
        ).map(lambda again: [*given, *again])
    )


def assert_sendable(message: OutgoingMessage) -> None:
    """AMQP can say it."""
    properties = Basic.Properties(
        headers=dict(message.headers),
        correlation_id=message.correlation_id,
        message_id=message.message_id,
        message_type=message.type,
    )
    pamqp.frame.marshal(ContentHeader(body_size=len(message.body), properties=properties), 1)
    message.routing_key.encode()


def _copies(post: Post) -> int:
    return len(post.to("vesemir.rejected"))


def assert_calm(post: Post) -> None:
    bugs = [text for level, text in post.log.lines if level == "exception" or "met a bug" in text]
    assert not bugs, bugs
    for message in post.broker.published:
        assert_sendable(message)


async def _handled(guard: PoisonGuard, delivery: Delivery) -> IncomingMessage:
    frame, body, again = delivery
    message: IncomingMessage = await delivered(frame, body, redelivered=again)()
    await guard.handle(message)
    return message


async def judge_deploys(deliveries: list[Delivery]) -> None:
    door = Door()
    guard = PoisonGuard(door.intake.handle, refuse=door.intake.refuse_as_bug, log=door.log)
    for number, delivery in enumerate(deliveries, start=1):
        copies = _copies(door)
        message = await _handled(guard, delivery)
        assert len(door.meters.events) == number, "one verdict for each message"
        rejected = door.meters.events[-1] is IntakeOutcome.REJECTED
        assert _copies(door) - copies == rejected, "a refused message has one copy, and no other has one"
        if rejected:
            assert door.to("vesemir.rejected")[-1].body == message.body
    assert len(door.answered("vesemir.events")) == _copies(door)
    assert_calm(door)
    for row in door.world.record.rows.values():
        assert_storable(row.new)
        assert_json(row.new.request)
    for place in door.world.record.destinations:
        assert_storable(place.where)


async def judge_controls(deliveries: list[Delivery]) -> None:
    desk = Desk()
    await desk.world.accept()
    guard = PoisonGuard(desk.control.handle, refuse=desk.control.refuse_as_bug, log=desk.log)
    for number, delivery in enumerate(deliveries, start=1):
        await _handled(guard, delivery)
        assert len(desk.meters.controls) == number, "one verdict for each message"
    assert len(desk.answered("vesemir.events")) == len(deliveries)
    assert_calm(desk)
    for row in desk.world.record.rows.values():
        assert_storable((row.pause, row.cancel))


def _opened(judge: Callable[[list[Delivery]], Any]) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Iterator[Check]:
        with asyncio.Runner() as runner:
            yield lambda deliveries: runner.run(judge(deliveries))

    return opened


DEPLOYS = Area(
    "deploys",
    "deploy messages: accepted, repeated or rejected, once each",
    _deliveries(nearly_json(_events())),
    _opened(judge_deploys),
)
CONTROL = Area(
    "control",
    "control messages: one answer each",
    _deliveries(nearly_json(CONTROLS)),
    _opened(judge_controls),
)
