"""The outbox: in order, several in flight, from the first unconfirmed again; one bad queue holds up no other."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.broker import FakeBroker
from tests.fakes.record import FakeDestination, Record
from tests.fakes.store import FakeStore
from tests.published import validate_event
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import InstanceStore, Lines, World

from vesemir.domain.events import DeploymentPausedEvent
from vesemir.domain.wish import Wish
from vesemir.engine.messages import outbox_publisher as engine_publishing
from vesemir.engine.messages.outbox_publisher import OutboxPublisher
from vesemir.engine.ports.broker import BrokerAwayError, OutgoingMessage, PublishOutcome
from vesemir.engine.ports.observe import SilentMeters
from vesemir.engine.ports.records import Destination
from vesemir.engine.ports.store import Delivery
from vesemir.engine.upkeep.health import Gate

LEASE = 30.0


class Broker(FakeBroker):
    """``decides(message)`` may give an outcome or raise; ``in_flight`` counts what waits for its confirm."""

    def __init__(self) -> None:
        super().__init__()
        self.decides: Callable[[OutgoingMessage], PublishOutcome | None] = lambda _message: None
        self.tried: list[OutgoingMessage] = []
        self.in_flight = self.most_in_flight = 0
        self.seconds = 0.01

    async def publish(self, message: OutgoingMessage) -> PublishOutcome:
        self.tried.append(message)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
            return self.decides(message) or await super().publish(message)
        finally:
            self.in_flight -= 1


class Office:
    """A publisher over a record with one deployment of many events."""

    def __init__(self) -> None:
        self.world = World(1)
        self.record: Record = self.world.record
        self.broker = Broker()
        self.broker.declare("answers")
        self.log = Lines()
        self.gate = Gate()
        self.gate.set_open()
        self.store = InstanceStore(self.record, instance="host/1")
        self.publishing = self.publisher("host/1", self.store)
        self.tasks: list[asyncio.Task[None]] = []

    def publisher(self, name: str, store: FakeStore) -> OutboxPublisher:
        return OutboxPublisher(
            store,
            self.broker,
            gate=self.gate,
            publisher=name,
            lease_seconds=LEASE,
            namespace="vesemir",
            park_after_seconds=600,
            log=self.log,
            meters=SilentMeters(),
        )

    def tell(self, count: int) -> None:
        """More events of d1."""
        row = self.world.row()
        for _ in range(count):
            row.emit(DeploymentPausedEvent(Wish()), instance="host/1", now=self.record.now())

    def add(self, reply_to: str, correlation_id: str | None = "c-1") -> FakeDestination:
        self.record.add_destination("d1", Destination(reply_to, correlation_id))
        return self.record.destinations[-1]

    def run(self, publishing: OutboxPublisher | None = None) -> None:
        self.tasks.append(asyncio.create_task((publishing or self.publishing).run()))

    def sequences(self, queue: str, published: Sequence[OutgoingMessage] | None = None) -> list[int]:
        found = [each for each in (published or self.broker.published) if queue in {each.exchange, each.routing_key}]
        return [self.body(each)["sequence"] for each in found]

    @staticmethod
    def body(message: OutgoingMessage) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(message.body)
        validate_event(body)
        return body


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    await office.world.accept()
    yield office
    for task in office.tasks:
        task.cancel()
    await asyncio.gather(*office.tasks, return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_everything_goes_everywhere_in_order_with_all_its_properties(office: Office) -> None:
    office.add("answers", "c-7")
    office.tell(4)
    office.run()
    await until(lambda: len(office.broker.published) == 10)
    assert office.sequences("answers") == office.sequences("vesemir.events") == [1, 2, 3, 4, 5]
    topic = next(each for each in office.broker.published if each.exchange)
    assert topic.routing_key == "shop.production.deployment.accepted"
    assert (topic.type, topic.mandatory, topic.correlation_id) == ("deployment.accepted", False, None)
    answer = next(each for each in office.broker.published if each.routing_key == "answers")
    assert (answer.exchange, answer.mandatory, answer.correlation_id) == ("", True, "c-7")
    assert answer.content_type == "application/json"


async def test_a_wake_is_quicker_than_the_poll(office: Office) -> None:
    office.run()
    await until(lambda: office.broker.published)
    await asyncio.sleep(5)
    office.tell(1)
    office.publishing.wake()
    started = now()
    await until(lambda: office.sequences("vesemir.events") == [1, 2])
    assert now() - started < 0.1


async def test_an_answer_of_the_record_that_came_late_publishes_nothing_twice(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in hand when the record was asked has moved on when it answers: its cursor in the answer is old."""
    asked = office.store.lease_deliveries

    async def answers_late(publisher: str, *, seconds: float, limit: int) -> Sequence[Delivery]:
        due = await asked(publisher, seconds=seconds, limit=limit)
        await asyncio.sleep(0.5)
        return due

    office.broker.seconds = 0.3
    office.run()
    await until(lambda: office.broker.tried)
    monkeypatch.setattr(office.store, "lease_deliveries", answers_late)
    office.tell(1)
    office.publishing.wake()
    await until(lambda: office.record.destinations[0].cursor == 2)
    await asyncio.sleep(5)
    assert office.sequences("vesemir.events", office.broker.tried) == [1, 2]


async def test_several_are_in_flight_and_many_come_in_pieces(office: Office) -> None:
    office.tell(130)
    office.run()
    await until(lambda: len(office.broker.published) == 131)
    assert office.broker.most_in_flight == engine_publishing.IN_FLIGHT
    assert office.sequences("vesemir.events") == list(range(1, 132))


async def test_exactly_one_piece_is_published_and_released(office: Office) -> None:
    office.tell(engine_publishing.IN_FLIGHT - 1)
    office.run()
    await until(lambda: office.record.destinations[0].cursor == engine_publishing.IN_FLIGHT)
    await until(lambda: office.record.destinations[0].publisher is None)


@pytest.mark.parametrize("trouble", [PublishOutcome.RETURNED, PublishOutcome.REFUSED])
async def test_the_cursor_stops_at_the_first_that_was_not_confirmed(office: Office, trouble: PublishOutcome) -> None:
    """What came after it is published again, under the same message_id."""

    def decides(message: OutgoingMessage) -> PublishOutcome | None:
        if office.body(message)["sequence"] != 3:
            return None
        return trouble

    place = office.add("answers")
    office.tell(4)
    office.broker.decides = decides
    office.run()
    await until(lambda: place.failing_since is not None)
    assert (place.cursor, place.publisher) == (2, None)
    assert place.reason
    office.broker.decides = lambda _message: None
    await until(lambda: place.cursor == 5)
    assert place.failing_since is None
    tried = [each for each in office.broker.tried if each.routing_key == "answers"]
    assert office.sequences("answers", tried) == [1, 2, 3, 4, 5, 3, 4, 5]
    assert [each.message_id for each in tried[2:5]] == [each.message_id for each in tried[5:]]


async def test_a_broker_that_is_away_is_no_fault_of_the_destination(office: Office) -> None:
    """Another instance may publish at once; nothing is parked for it, however long it lasts."""

    def decides(message: OutgoingMessage) -> None:
        if office.body(message)["sequence"] == 3:
            raise BrokerAwayError("the broker did not answer")

    place = office.add("answers")
    office.tell(4)
    office.broker.decides = decides
    office.run()
    await until(lambda: place.cursor == 2 and place.publisher is None)
    await asyncio.sleep(700)
    assert (place.cursor, place.failing_since, place.parked) == (2, None, False)
    assert "publishing stopped: the broker did not answer" in office.log.of("warning")
    office.broker.decides = lambda _message: None
    await until(lambda: place.cursor == 5)


async def test_an_instance_whose_broker_is_away_leaves_it_to_the_others(office: Office) -> None:
    office.gate.set_closed()
    office.run()
    await asyncio.sleep(5)
    assert office.record.destinations[0].publisher is None
    office.gate.set_open()
    await until(lambda: office.record.destinations[0].cursor == 1)


async def test_ids_differ_by_event_and_by_destination(office: Office) -> None:
    for queue, correlation in (("answers", "c-1"), ("answers", "c-2"), ("answers", None)):
        office.add(queue, correlation)
    office.tell(2)
    await office.publishing.flush()
    assert len(office.broker.published) == 12
    assert len({each.message_id for each in office.broker.published}) == 12
    told = [each.headers["cloudEvents:id"] for each in office.broker.published]
    assert len(set(told)) == 3, "an event is the same one at every place"


async def test_a_queue_that_is_gone_holds_up_no_other(office: Office) -> None:
    gone, there = office.add("gone"), office.add("answers")
    office.tell(3)
    office.run()
    await until(lambda: there.cursor == 4)
    assert gone.cursor == 0
    assert gone.reason == "no queue gone is there; the requester must declare it"
    office.broker.declare("gone")
    await until(lambda: gone.cursor == 4)


async def test_the_waits_grow_and_in_the_end_it_is_parked(office: Office) -> None:
    gone = office.add("gone")
    office.run()
    await until(lambda: gone.parked)
    assert 600 < now() < 660
    tries = len([each for each in office.broker.tried if each.routing_key == "gone"])
    assert 20 < tries < 45
    assert "are parked: no queue gone" in office.log.of("error")[0]
    gone.set_back(cursor=0, now=office.record.now())
    office.broker.declare("gone")
    await until(lambda: gone.cursor == 1)


async def test_the_exchange_is_never_parked(office: Office) -> None:
    office.broker.decides = lambda _message: PublishOutcome.REFUSED
    office.run()
    await asyncio.sleep(3000)
    (topic,) = office.record.destinations
    assert not topic.parked
    assert topic.reason == "queue the topic exchange refused it; it may be full"
    office.broker.decides = lambda _message: None
    await until(lambda: topic.cursor == 1)


async def test_another_publisher_goes_on_when_one_dies(office: Office) -> None:
    """At least once: what was confirmed and not marked comes again under the same id."""
    office.run()
    office.broker.seconds = 5
    await until(lambda: office.broker.in_flight)
    office.tasks[0].cancel()
    started = now()
    office.run(office.publisher("host/2", FakeStore(office.record, instance="host/2")))
    await until(lambda: office.record.destinations[0].cursor == 1)
    assert now() - started > LEASE
    assert len({each.message_id for each in office.broker.tried}) == 1


async def test_who_lost_its_destination_to_another_stops(office: Office) -> None:
    office.tell(120)

    def decides(_message: OutgoingMessage) -> None:
        office.record.destinations[0].publisher = "host/2"

    office.broker.decides = decides
    office.run()
    await asyncio.sleep(20)
    assert len(office.broker.published) == engine_publishing.IN_FLIGHT
    assert office.record.destinations[0].cursor == 0


async def test_publishing_to_one_place_ends_before_the_publishers_lease(office: Office) -> None:
    office.broker.seconds = LEASE / 4 + 1
    office.tell(500)
    delivery = (await office.store.lease_deliveries("host/1", seconds=LEASE, limit=1))[0]
    started = now()
    await office.publishing._deliver_all(delivery)
    assert now() - started < LEASE
    assert office.record.destinations[0].cursor == 100


async def test_a_destination_without_events_is_released(office: Office) -> None:
    delivery = (await office.store.lease_deliveries("host/1", seconds=LEASE, limit=1))[0]
    await office.publishing._deliver_all(replace(delivery, cursor=1))
    assert office.record.destinations[0].publisher is None


async def test_a_record_that_is_away_is_waited_for(office: Office) -> None:
    office.store.cut_off = True
    office.run()
    await asyncio.sleep(10)
    assert not office.broker.tried
    office.store.cut_off = False
    office.broker.decides = lambda _message: setattr(office.store, "cut_off", True)
    await until(lambda: office.log.of("warning"))
    assert "publishing to the topic exchange stopped: the database is away" in office.log.of("warning")
    office.broker.decides = lambda _message: None
    office.store.cut_off = False
    await until(lambda: office.record.destinations[0].cursor == 1)


async def test_only_so_many_destinations_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_publishing, "DESTINATIONS", 2)
    office.broker.seconds = 1
    for number in range(5):
        office.add("answers", f"c-{number}")
    office.run()
    await until(lambda: all(place.cursor == 1 for place in office.record.destinations))
    assert office.broker.most_in_flight == 2


async def test_a_flush_ends_when_nothing_is_due(office: Office) -> None:
    office.add("answers")
    gone = office.add("gone")
    office.tell(60)
    office.broker.seconds = 0.5
    office.run()
    await until(lambda: office.broker.in_flight)
    await office.publishing.flush()
    assert len(office.sequences("answers")) == 61
    assert gone.reason
    office.store.cut_off = True
    await office.publishing.flush()


async def test_a_bug_is_not_taken_for_a_broker_that_is_away(office: Office) -> None:
    def decides(_message: OutgoingMessage) -> None:
        raise ZeroDivisionError

    office.broker.decides = decides
    with pytest.raises(ZeroDivisionError):
        await office.publishing.flush()
