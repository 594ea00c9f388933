"""The port to the record, on the fake and on PostgreSQL: the outbox."""

import asyncio
from collections.abc import Sequence

from tests.contract.store_suite import (
    QUEUE,
    Stores,
    a_deployment,
    accepted_and_claimed,
    claim,
    eventually,
    finish,
    store,
    stores,
)
from tests.fakes.events import emit
from tests.integration.postgres_server import postgres_server

from vesemir.engine.ports.records import Destination
from vesemir.engine.ports.store import AcceptKind, Delivery, Store

__all__ = ["postgres_server", "store", "stores"]

OTHER = Destination("dashboard", None)


async def leased(store: Store, publisher: str = "p/1", *, seconds: float = 30, limit: int = 10) -> Sequence[Delivery]:
    return await store.lease_deliveries(publisher, seconds=seconds, limit=limit)


async def the_queue(store: Store, publisher: str = "p/1") -> Delivery:
    """The one delivery to ``QUEUE``."""
    (found,) = [delivery for delivery in await leased(store, publisher) if delivery.reply_to == QUEUE.reply_to]
    return found


async def publish_all(store: Store) -> None:
    for delivery in await leased(store, "p/0"):
        last = (await store.events_after(delivery.deployment_id, delivery.cursor, limit=100))[-1].sequence
        assert await store.advance(delivery.destination_id, "p/0", last, release=True)


async def test_each_destination_gets_its_own_delivery(store: Store) -> None:
    """The topic exchange and the requester, from the beginning."""
    await store.accept(a_deployment(), QUEUE)

    found = {(d.deployment_id, d.reply_to, d.correlation_id, d.cursor, d.failing_seconds) for d in await leased(store)}

    assert found == {("d1", None, None, 0, 0.0), ("d1", "answers", "c-1", 0, 0.0)}


async def test_no_requester_no_second_destination(store: Store) -> None:
    await store.accept(a_deployment(), None)

    assert [delivery.reply_to for delivery in await leased(store)] == [None]


async def test_nobody_else_publishes_what_is_leased(stores: Stores) -> None:
    """Until the lease runs out; its holder may ask again."""
    store, other = await stores("a/1"), await stores("b/2")
    await store.accept(a_deployment(), QUEUE)

    assert len(await leased(store, "p/1", seconds=0.05)) == 2
    assert len(await leased(store, "p/1", seconds=0.05)) == 2

    taken = await eventually(lambda: _some(other, "p/2"))
    assert len(taken) == 2
    assert await leased(store, "p/1") == []
    assert not await store.advance(taken[0].destination_id, "p/1", 1, release=True)
    assert await other.advance(taken[0].destination_id, "p/2", 1, release=True)


async def _some(store: Store, publisher: str) -> Sequence[Delivery] | None:
    return await leased(store, publisher) or None


async def test_publishers_at_once_share_without_overlap(stores: Stores) -> None:
    several = [await stores("a/1"), await stores("b/2")]
    for number in range(10):
        await several[0].accept(a_deployment(f"d{number}", application=f"app{number}"), QUEUE)

    answers = await asyncio.gather(*(leased(several[i % 2], f"p/{i}", limit=4) for i in range(8)))

    ids = [delivery.destination_id for answer in answers for delivery in answer]
    assert len(ids) == len(set(ids))
    assert all(len(answer) <= 4 for answer in answers)
    rest = await leased(several[0], "p/rest", limit=100)
    assert len(ids) + len(rest) == 20


async def test_a_queue_with_much_due_does_not_hold_up_another(store: Store) -> None:
    """Nor an application at the topic exchange."""
    for number in range(20):
        await store.accept(a_deployment(f"big-{number}"), QUEUE)
    await store.accept(a_deployment("small", application="small"), OTHER)

    found = await leased(store, limit=4)

    assert {(delivery.deployment_id, delivery.reply_to) for delivery in found} == {
        ("big-0", None), ("big-0", QUEUE.reply_to), ("small", None), ("small", OTHER.reply_to)
    }  # fmt: skip
    assert all(delivery.deployment_id != "small" for delivery in await leased(store, limit=4))


async def test_the_cursor_goes_on_and_what_was_confirmed_is_not_due(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    delivery = await the_queue(store)
    assert await store.advance(delivery.destination_id, "p/1", 1, release=True)
    assert [d.reply_to for d in await leased(store, "p/2")] == []

    await store.commit(claimed, [emit("deployment.started")])

    assert (await the_queue(store)).cursor == 1


async def test_the_cursor_never_goes_back_by_an_advance(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    await store.commit(claimed, [emit("deployment.started"), emit("target.started")])
    delivery = await the_queue(store)
    await store.advance(delivery.destination_id, "p/1", 2, release=False)
    await store.advance(delivery.destination_id, "p/1", 1, release=True)

    assert (await the_queue(store)).cursor == 2


async def test_a_finished_delivery_is_done(store: Store) -> None:
    """Nothing comes any more; before the result, reaching the end is not the end."""
    claimed = await accepted_and_claimed(store)
    await publish_all(store)
    assert await leased(store) == []
    await finish(store, claimed)
    assert len(await leased(store, "p/0")) == 2
    await publish_all(store)

    assert await leased(store, "p/2") == []


async def test_a_repeat_from_a_known_destination_gets_the_result_again(store: Store) -> None:
    """And only that, and only that destination."""
    await finish(store, await accepted_and_claimed(store))
    await publish_all(store)

    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.REPEATED

    (delivery,) = await leased(store)
    assert (delivery.reply_to, delivery.correlation_id) == ("answers", "c-1")
    (event,) = await store.events_after("d1", delivery.cursor, limit=10)
    assert event.name == "deployment.finished"


async def test_a_repeat_before_the_result_changes_nothing(store: Store) -> None:
    await accepted_and_claimed(store)
    await publish_all(store)

    await store.accept(a_deployment(), QUEUE)

    assert await leased(store) == []


async def test_a_repeat_does_not_skip_what_was_not_delivered_yet(store: Store) -> None:
    await finish(store, await accepted_and_claimed(store))

    await store.accept(a_deployment(), QUEUE)

    assert (await the_queue(store)).cursor == 0


async def test_a_repeat_wins_over_a_publisher_at_work(store: Store) -> None:
    """Its confirmation of what it sent before must not swallow the repeat."""
    await finish(store, await accepted_and_claimed(store))
    delivery = await the_queue(store)

    await store.accept(a_deployment(), QUEUE)

    assert not await store.advance(delivery.destination_id, "p/1", 2, release=True)
    assert (await the_queue(store)).cursor == 0


async def test_a_new_destination_gets_everything(store: Store) -> None:
    """Also when only its correlation_id is new; the earlier ones keep theirs."""
    await finish(store, await accepted_and_claimed(store))
    await publish_all(store)

    await store.accept(a_deployment(), OTHER)
    await store.accept(a_deployment(), Destination(QUEUE.reply_to, "c-2"))

    found = {(d.reply_to, d.correlation_id, d.cursor) for d in await leased(store)}
    assert found == {("dashboard", None, 0), ("answers", "c-2", 0)}


async def test_a_destination_without_correlation_id_is_known_again(store: Store) -> None:
    await store.accept(a_deployment(), OTHER)
    await store.accept(a_deployment(), OTHER)

    assert len(await leased(store)) == 2


async def test_postponed_is_not_due_and_tells_since_when(store: Store) -> None:
    """It holds up no other; a success ends the failing."""
    await store.accept(a_deployment(), QUEUE)
    delivery = await the_queue(store)
    await store.postpone(delivery.destination_id, "p/1", seconds=0.2, reason="no queue answers")

    assert [d.reply_to for d in await leased(store, "p/1")] == [None]

    again = await eventually(lambda: _queue_or_none(store))
    assert again.failing_seconds >= 0.2
    await store.postpone(again.destination_id, "p/1", seconds=0, reason="no queue answers")
    assert (await eventually(lambda: _queue_or_none(store))).failing_seconds >= again.failing_seconds
    await store.advance(again.destination_id, "p/1", 0, release=True)
    assert (await the_queue(store)).failing_seconds == 0


async def _queue_or_none(store: Store) -> Delivery | None:
    return next((d for d in await leased(store) if d.reply_to == QUEUE.reply_to), None)


async def test_only_the_holder_postpones_or_parks(store: Store) -> None:
    await store.accept(a_deployment(), QUEUE)
    delivery = await the_queue(store)

    await store.postpone(delivery.destination_id, "p/2", seconds=60, reason="not mine")
    await store.park(delivery.destination_id, "p/2", reason="not mine")

    assert await the_queue(store) == delivery


async def test_parked_until_a_repeat_asks_again(store: Store) -> None:
    """With everything that it has not got yet."""
    await store.accept(a_deployment(), QUEUE)
    delivery = await the_queue(store)
    await store.park(delivery.destination_id, "p/1", reason="the queue is gone")
    assert await _queue_or_none(store) is None
    await finish(store, await claim(store))
    assert await _queue_or_none(store) is None

    await store.accept(a_deployment(), QUEUE)

    again = await the_queue(store)
    assert (again.cursor, again.failing_seconds) == (0, 0)
