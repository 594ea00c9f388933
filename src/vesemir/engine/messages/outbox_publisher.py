"""The outbox: what the record holds goes out, in order, to every destination, who wrote it and the one that dies.

Each destination has a cursor in the record and, while somebody publishes to it, a short publisher's lease. Events after
the cursor are published with several confirms in flight; the cursor moves up to the first that was not confirmed. A
destination that cannot be delivered to waits longer each time, is parked after a deadline, and holds up no other.
"""

import asyncio
from collections.abc import Sequence

from vesemir.engine.clock import loop_time
from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.messages.event_message import event_message
from vesemir.engine.ports.broker import Broker, BrokerAwayError, OutgoingMessage, PublishOutcome
from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.store import Delivery, Outbox, StoreAwayError, StoredEvent
from vesemir.engine.upkeep.health import Gate

POLL_SECONDS = 1.0
IN_FLIGHT = 50
DESTINATIONS = 32
LONGEST_WAIT_SECONDS = 30.0


class OutboxPublisher:
    """``run`` for ever; ``wake`` when something was written; ``flush`` before the instance ends.

    ``gate`` is open while this instance can publish; closed, it leaves the destinations to the others.
    ``lease_seconds``: for so long a destination waits for a publisher that died.
    """

    def __init__(
        self,
        outbox: Outbox,
        broker: Broker,
        *,
        gate: Gate,
        publisher: str,
        lease_seconds: float,
        namespace: str,
        park_after_seconds: float,
        log: Log,
        meters: Meters,
    ) -> None:
        self._outbox = outbox
        self._broker = broker
        self._gate = gate
        self._publisher = publisher
        self._lease_seconds = lease_seconds
        self._namespace = namespace
        self._park_after = park_after_seconds
        self._log = log
        self._meters = meters
        self._work = asyncio.Event()
        self._delivered = asyncio.Event()
        self._busy: set[int] = set()
        self._more = False
        """At a look something was due that was in hand already, or there was no room for all: look once more."""
        self._leasing = asyncio.Lock()

    def wake(self) -> None:
        """Something was committed."""
        self._work.set()

    async def run(self) -> None:
        """Publish whatever is due; a poll is the truth and ``wake`` only a hint."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._work.wait()
                except TimeoutError:
                    pass
                self._work.clear()
                await self._start_due(group)

    async def flush(self) -> None:
        """Publish until nothing is due any more that this instance may publish. Bound it from outside."""
        while True:
            self._delivered.clear()
            due = await self._lease()
            if not due and not self._busy:
                return
            if due:
                await asyncio.gather(*(self._deliver(delivery) for delivery in due))
            else:
                await self._delivered.wait()  # what ``run`` has in hand

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        for delivery in await self._lease():
            group.create_task(self._deliver(delivery), name=f"publishing to {delivery.reply_to or 'events'}")

    async def _lease(self) -> list[Delivery]:
        """What is due, and in nobody's hands here; in the caller's from now on."""
        async with self._leasing:
            busy = frozenset(self._busy)
            room = DESTINATIONS - len(busy)
            if room <= 0 or not self._gate.is_open:
                self._more = True
                return []
            try:
                due = await self._outbox.lease_deliveries(
                    self._publisher, seconds=self._lease_seconds, limit=room + len(busy)
                )
            except StoreAwayError:
                return []
            # What was in hand when the record was asked may have moved on since: its cursor in the answer is old.
            free = [delivery for delivery in due if delivery.destination_id not in busy][:room]
            self._more = self._more or len(free) < len(due) or len(due) >= room + len(busy)
            self._busy |= {delivery.destination_id for delivery in free}
            return free

    async def _deliver(self, delivery: Delivery) -> None:
        more = True
        try:
            more = await self._deliver_all(delivery)
        except StoreAwayError as error:
            self._log.warning("publishing to {queue} stopped: {error}", queue=_place(delivery), error=str(error))
        finally:
            self._busy.discard(delivery.destination_id)
            self._delivered.set()
            if more or self._more:
                self._more = False
                self._work.set()

    async def _deliver_all(self, delivery: Delivery) -> bool:
        """Publish up to the end, for less than the publisher's lease; whether there may be more to do at once."""
        cursor, started = delivery.cursor, loop_time()
        while loop_time() - started < self._lease_seconds / 2:
            events = await self._outbox.events_after(delivery.deployment_id, cursor, limit=IN_FLIGHT)
            if not events:
                await self._outbox.advance(delivery.destination_id, self._publisher, cursor, release=True)
                return False
            confirmed, problem, away = await self._publish(delivery, events)
            if confirmed > 0:
                reach(Failpoint.BEFORE_MARK)
                cursor = events[confirmed - 1].sequence
                done = problem is None and not away and len(events) < IN_FLIGHT
                if not await self._outbox.advance(delivery.destination_id, self._publisher, cursor, release=done):
                    return False
                if done:
                    return False
            if away:
                await self._let_go(delivery, cursor)
                return True
            if problem is not None:
                await self._put_off(delivery, problem)
                return False
        return True

    async def _publish(self, delivery: Delivery, events: Sequence[StoredEvent]) -> tuple[int, str | None, bool]:
        """(how many from the first on were confirmed, why the next one was refused, whether the broker was away)."""
        sent = loop_time()
        outcomes = await asyncio.gather(
            *(self._broker.publish(self._message(delivery, event)) for event in events), return_exceptions=True
        )
        for count, outcome in enumerate(outcomes):
            if isinstance(outcome, BrokerAwayError):
                self._meters.published("away", seconds=loop_time() - sent)
                self._log.warning("publishing stopped: {error}", error=str(outcome))
                return count, None, True
            if isinstance(outcome, BaseException):
                raise outcome
            self._meters.published(outcome.value, seconds=loop_time() - sent)
            if outcome is PublishOutcome.RETURNED:
                return count, f"no queue {delivery.reply_to} is there; the requester must declare it", False
            if outcome is PublishOutcome.REFUSED:
                return count, f"queue {_place(delivery)} refused it; it may be full", False
        return len(outcomes), None, False

    def _message(self, delivery: Delivery, event: StoredEvent) -> OutgoingMessage:
        return event_message(
            event, reply_to=delivery.reply_to, correlation_id=delivery.correlation_id, namespace=self._namespace
        )

    async def _let_go(self, delivery: Delivery, cursor: int) -> None:
        """The broker was away from this instance: no fault of the destination, which others may deliver to at once."""
        await self._outbox.advance(delivery.destination_id, self._publisher, cursor, release=True)
        await asyncio.sleep(POLL_SECONDS)

    async def _put_off(self, delivery: Delivery, problem: str) -> None:
        failing = delivery.failing_seconds
        if delivery.reply_to is not None and failing > self._park_after:
            self._log.error(
                "events of {deployment_id} to {queue} are parked: {problem}",
                deployment_id=delivery.deployment_id,
                queue=_place(delivery),
                problem=problem,
            )
            await self._outbox.park(delivery.destination_id, self._publisher, reason=problem)
            self._meters.parked()
            return
        wait = min(LONGEST_WAIT_SECONDS, max(POLL_SECONDS, failing / 2))
        await self._outbox.postpone(delivery.destination_id, self._publisher, seconds=wait, reason=problem)


def _place(delivery: Delivery) -> str:
    return delivery.reply_to or "the topic exchange"
