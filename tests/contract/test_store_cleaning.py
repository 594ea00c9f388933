"""The port to the record, on the fake and on PostgreSQL: the clean-up, and what is left of what it took."""

from dataclasses import replace

import pytest
from tests.contract.store_suite import (
    QUEUE,
    Stores,
    a_deployment,
    a_step,
    accepted_and_claimed,
    claim,
    event_names,
    finish,
    move,
    started,
    store,
    stores,
)
from tests.fakes.events import emit_result
from tests.integration.postgres_server import postgres_server

from vesemir.domain.control import ControlledDeployment
from vesemir.domain.doing import Doing
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.engine.ports.changes import LeftDrained, MoveDeployment, RecordStep
from vesemir.engine.ports.records import Destination
from vesemir.engine.ports.store import (
    AcceptKind,
    Claim,
    Cleaned,
    ControlAnswer,
    ControlCommand,
    Store,
)

__all__ = ["postgres_server", "store", "stores"]

RUNNING, SUCCEEDED = TargetState.RUNNING, TargetState.SUCCEEDED


async def _published(store: Store) -> None:
    """Everything that is due is confirmed."""
    while due := await store.lease_deliveries("p", seconds=30, limit=10):
        for each in due:
            events = await store.events_after(each.deployment_id, each.cursor, limit=100)
            await store.advance(each.destination_id, "p", events[-1].sequence, release=True)


async def _ended(store: Store) -> Claim:
    """``d1``, of which every row and every destination has what it can have."""
    claimed = await started(store)
    await store.commit(claimed, [move("web1", TargetState.PENDING, RUNNING), RecordStep(a_step())])
    await store.commit(claimed, [move("web1", RUNNING, SUCCEEDED, finished=True)])
    await finish(store, claimed)
    return claimed


async def _clean(store: Store, *, rows: int = 1000) -> Cleaned:
    """All batches."""
    deployments = total = 0
    while cleaned := await store.clean_up(older_than_seconds=0, rows=rows):
        if not cleaned.rows:
            break
        deployments, total = deployments + cleaned.deployments, total + cleaned.rows
    return Cleaned(deployments, total)


async def test_what_a_dead_owner_left_of_what_goes_on_does_not_hold_up_the_clean_up(store: Store) -> None:
    claimed = await started(store)
    await store.write_doing(claimed, [Doing("web1", "switch", "target", "2026-11-27T12:00:00.000000Z", 1, None)])
    await finish(store, claimed)
    await _published(store)
    assert (await _clean(store)).deployments == 1


async def test_what_ended_goes_and_its_id_stays(store: Store) -> None:
    await _ended(store)
    await _published(store)

    cleaned = await _clean(store)
    assert (cleaned.deployments, cleaned.rows) == (1, 1 + 1 + 1 + 3)
    assert await store.load("d1") is None
    assert await event_names(store) == []

    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.CLEANED
    assert await store.accept(a_deployment(), Destination("another", None)) is AcceptKind.CLEANED
    assert await store.accept(a_deployment(body_hash=b"2"), QUEUE) is AcceptKind.CONFLICT
    assert await store.claim("a/1", lease_seconds=30, max_expiries=5) is None, "it does not run again"


async def test_its_result_stays_as_it_was_told(store: Store) -> None:
    await _ended(store)
    before = (await store.events_after("d1", 0, limit=10))[-1]
    assert await store.kept_result("d1") is None
    await _published(store)
    await _clean(store)
    assert await store.kept_result("d1") == before
    assert await store.kept_result("nobody") is None


async def test_what_has_not_ended_is_never_touched(store: Store) -> None:
    await accepted_and_claimed(store)
    await store.accept(a_deployment("d2", application="blog"), None)
    await _published(store)
    assert await store.clean_up(older_than_seconds=0, rows=1000) == Cleaned(0, 0)
    assert await store.load("d1") is not None
    assert await store.load("d2") is not None


async def test_what_is_still_owed_to_somebody_stays_until_it_was_told_or_given_up(store: Store) -> None:
    await _ended(store)
    for each in await store.lease_deliveries("p", seconds=30, limit=10):
        if each.reply_to is None:
            await store.advance(each.destination_id, "p", 3, release=True)
        else:
            queue = each.destination_id
    assert (await _clean(store)).rows == 0
    await store.park(queue, "p", reason="no such queue")
    assert (await _clean(store)).deployments == 1


async def test_what_ended_lately_stays(store: Store) -> None:
    await _ended(store)
    await _published(store)
    assert await store.clean_up(older_than_seconds=3600, rows=1000) == Cleaned(0, 0)
    assert await store.load("d1") is not None


async def test_what_left_a_server_drained_stays_as_long_as_that(store: Store) -> None:
    claimed = await started(store)
    await store.commit(claimed, [LeftDrained("web1")])
    await finish(store, claimed)
    await _published(store)
    assert (await _clean(store)).rows == 0


@pytest.mark.parametrize("status", [DeploymentState.SUCCEEDED, DeploymentState.CANCELLED])
async def test_commands_about_it_are_answered_as_before(store: Store, status: DeploymentState) -> None:
    if status is DeploymentState.CANCELLED:
        await store.accept(a_deployment(), QUEUE)
        await store.control(ControlCommand("cancel", "d1", "anna", "because"))
    else:
        await _ended(store)
    before = [await store.control(ControlCommand(name, "d1", "anna", None)) for name in ("cancel", "pause")]
    await _published(store)
    await _clean(store)
    after = [await store.control(ControlCommand(name, "d1", "anna", None)) for name in ("cancel", "pause")]
    assert after == before
    may_not, _ = await store.control(ControlCommand("cancel", "d1", "eve", None), permits=lambda _: False)
    assert may_not is ControlAnswer.FORBIDDEN
    about = ControlledDeployment("shop", "production", "1.4.2", requester=a_deployment().asker.identity)
    assert after[1] == (ControlAnswer.NOT_RUNNING, about)


async def test_several_instances_share_the_work(stores: Stores) -> None:
    first, second = await stores("a/1"), await stores("b/2")
    await _ended(first)
    await _published(first)
    done = [await each.clean_up(older_than_seconds=0, rows=1000) for each in (first, second)]
    assert [each and each.deployments for each in done] == [1, 0]


async def test_a_lanes_newest_successes_stay_for_a_rollback(store: Store) -> None:
    """Dry runs are none, and failures are not good."""
    runs = (("d1", {}, True), ("d2", {}, True), ("d3", {}, False), ("d4", {"dry_run": True}, True), ("d5", {}, True))
    for name, more, good in runs:
        new = a_deployment(name)
        await store.accept(replace(new, request={**new.request, **more}), None)
        claimed = await claim(store)
        if good:
            await finish(store, claimed)
        else:
            failed = MoveDeployment(DeploymentState.RUNNING, DeploymentState.FAILED)
            await store.commit(claimed, [failed, emit_result(DeploymentState.FAILED)])
    await _published(store)
    while (cleaned := await store.clean_up(older_than_seconds=0, rows=1000, keep_good=2)) and cleaned.rows:
        pass
    there = [name for name, _, _ in runs if await store.load(name) is not None]
    assert there == ["d2", "d5"]
