"""The port to the record, on the fake and on PostgreSQL: locks of lanes."""

import asyncio
from dataclasses import replace

import pytest
from tests.contract.store_suite import (
    QUEUE,
    Stores,
    a_deployment,
    accepted_and_claimed,
    claim,
    event_names,
    store,
    stores,
)
from tests.contract.test_store_audit import AuditedStore
from tests.fakes.events import emit_result
from tests.fakes.store import FakeStore
from tests.integration.postgres_server import postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.contract.moments import seconds_of
from vesemir.domain.control import ControlledLane
from vesemir.domain.failure import LeaseLostError
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.states import DeploymentState
from vesemir.engine.clock import wall_time
from vesemir.engine.ports.changes import LockLane, MoveDeployment
from vesemir.engine.ports.records import LaneCommand, NewDeployment
from vesemir.engine.ports.store import AcceptKind, ControlAnswer, ControlCommand, Store

__all__ = ["postgres_server", "store", "stores"]

LANE = ControlledLane("shop", "production")
ANNA = Asker.by_amqp("anna", claimed="anna")


def lock(reason: str = "the database moves", *, until: float | None = None, lane: ControlledLane = LANE) -> LaneCommand:
    return LaneCommand("lock", lane, "anna", reason, until=until, asker=ANNA, policy_digest="p" * 64)


def unlock() -> LaneCommand:
    return LaneCommand("unlock", LANE, "anna", "moved", asker=ANNA)


async def let_end_pass(store: Store) -> None:
    """Of every lock that has one."""
    if isinstance(store, FakeStore):
        store.record.skip(2 * 86400)
        return
    assert isinstance(store, PostgresStore)
    async with store._database.connection() as connection:
        await connection.execute("UPDATE lane SET locked_until = clock_timestamp() - interval '1 second'")


def a_dry_run(name: str) -> NewDeployment:
    new = a_deployment(name)
    return replace(new, request={**new.request, "dry_run": True})


async def test_a_lock_keeps_deploy_events_out_and_is_told(store: Store) -> None:
    before = wall_time()
    assert await store.control_lane(lock()) is ControlAnswer.ACCEPTED
    refused = await store.accept(a_deployment(), QUEUE)
    assert isinstance(refused, LaneLock)
    assert refused == await store.lane_lock(LANE)
    assert (refused.reason, refused.requested_by, refused.identity) == (
        "the database moves", "anna", Identity("amqp", "anna")
    )  # fmt: skip
    assert (refused.until, refused.deployment) == (None, None)
    assert abs(seconds_of(refused.since) - before) < 60
    assert await store.load("d1") is None
    assert await store.known("d1") is None, "a refused id is not remembered"


async def test_an_unlocked_lane_takes_the_same_event(store: Store) -> None:
    await store.control_lane(lock())
    await store.accept(a_deployment(), QUEUE)
    assert await store.control_lane(unlock()) is ControlAnswer.ACCEPTED
    assert await store.lane_lock(LANE) is None
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.ACCEPTED
    assert await event_names(store) == ["deployment.accepted"]
    (event,) = await store.events_after("d1", 0, limit=9)
    assert event.body["position"] == 0
    assert (await claim(store)).deployment_id == "d1"


async def test_unlocking_what_is_not_locked_is_accepted(store: Store) -> None:
    assert await store.control_lane(unlock()) is ControlAnswer.ACCEPTED
    await store.accept(a_deployment(), QUEUE)
    assert await store.control_lane(unlock()) is ControlAnswer.ACCEPTED
    assert await store.lane_lock(LANE) is None


async def test_a_second_lock_replaces_reason_and_end(store: Store) -> None:
    await store.control_lane(lock())
    until = seconds_of("2099-01-01T01:00:00+01:00")
    await store.control_lane(lock("another", until=until))
    found = await store.lane_lock(LANE)
    assert found is not None
    assert found.reason == "another"
    assert found.until is not None
    assert found.until == "2099-01-01T00:00:00Z"
    await store.control_lane(lock("for good"))
    found = await store.lane_lock(LANE)
    assert found is not None
    assert (found.reason, found.until) == ("for good", None)


async def test_a_lock_ends_by_itself(store: Store) -> None:
    """By the record's clock."""
    await store.control_lane(lock(until=wall_time() + 86400))
    assert isinstance(await store.accept(a_deployment(), QUEUE), LaneLock)
    await let_end_pass(store)
    assert await store.lane_lock(LANE) is None
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.ACCEPTED


async def test_a_lock_that_is_over_already_is_invalid_and_changes_nothing(store: AuditedStore) -> None:
    await store.control_lane(lock())
    assert await store.control_lane(lock("too late", until=wall_time() - 60)) is ControlAnswer.INVALID
    found = await store.lane_lock(LANE)
    assert found is not None
    assert found.reason == "the database moves"
    assert len(await store.audit_rows()) == 1


async def test_it_is_about_its_lane_alone(store: Store) -> None:
    await store.control_lane(lock(lane=ControlledLane("shop", "staging")))
    await store.control_lane(lock(lane=ControlledLane("search", "production")))
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.ACCEPTED


async def test_repeats_and_dry_runs_are_not_refused_and_what_has_begun_goes_on(store: Store) -> None:
    await store.accept(a_deployment(), QUEUE)
    claimed = await claim(store)
    await store.control_lane(lock())
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.REPEATED
    assert await store.accept(a_deployment(body_hash=b"2"), QUEUE) is AcceptKind.CONFLICT
    assert await store.accept(a_dry_run("d2"), QUEUE) is AcceptKind.ACCEPTED
    assert "d1" in await store.renew("a/1", {"d1": claimed.epoch}, lease_seconds=30)
    assert isinstance(await store.accept(a_deployment("d3"), QUEUE), LaneLock)


async def test_a_kept_cancel_waits_on_for_what_a_lock_keeps_out(store: Store) -> None:
    await store.control(ControlCommand("cancel", "d1", "anna", "wrong", ANNA))
    await store.control_lane(lock())
    assert isinstance(await store.accept(a_deployment(), QUEUE), LaneLock)
    await store.control_lane(unlock())
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.CANCELLED


async def test_a_group_is_judged_one_by_one(store: Store) -> None:
    """Messages that are accepted together: two of a locked lane, one of them twice, a dry run and another lane's."""
    await store.control_lane(lock())
    events = [
        a_deployment("d1"),
        a_deployment("d1"),
        a_dry_run("d2"),
        a_deployment("d3", application="search"),
        a_deployment("d4"),
    ]
    kinds = await asyncio.gather(*(store.accept(event, QUEUE) for event in events))
    assert [isinstance(kind, LaneLock) for kind in kinds] == [True, True, False, False, True]
    assert [await store.known(name) is None for name in ("d1", "d2", "d3", "d4")] == [True, False, False, True]
    (event,) = await store.events_after("d2", 0, limit=9)
    assert event.body["position"] == 0


async def test_it_is_audited(store: AuditedStore) -> None:
    await store.control_lane(lock())
    await store.accept(a_deployment(), QUEUE)
    await store.control_lane(unlock())
    locked, unlocked = await store.audit_rows()
    told = ("kind", "outcome", "command", "identity", "claimed", "application", "environment", "reason", "policy")
    assert [locked.entry[name] for name in told] == [
        "lock", "accepted", "lock", "amqp:anna", "anna", "shop", "production", "the database moves", "p" * 64
    ]  # fmt: skip
    assert [unlocked.entry[name] for name in told[:3]] == ["lock", "accepted", "unlock"]
    assert (locked.entry["deployment_id"], locked.entry["version"]) == (None, None)


async def test_no_event_comes_in_after_a_lock_was_answered(stores: Stores) -> None:
    """Whatever is under way on other instances."""
    several = [await stores(f"{name}/1") for name in "abc"]
    locked = asyncio.Event()
    late: list[AcceptKind | LaneLock] = []

    async def send(number: int) -> None:
        for turn in range(20):
            was_locked = locked.is_set()
            kind = await several[number % 3].accept(a_deployment(f"d{number}-{turn}"), QUEUE)
            if was_locked:
                late.append(kind)

    async def close() -> None:
        await asyncio.sleep(0)
        await several[0].control_lane(lock())
        locked.set()

    await asyncio.gather(*map(send, range(6)), close())
    assert all(isinstance(kind, LaneLock) for kind in late)


async def test_once_where_nothing_asks_for_it_is_refused_and_opens_no_gate(store: Store) -> None:
    await store.accept(a_deployment(), QUEUE)
    command = ControlCommand("resume", "d1", "anna", None, ANNA, once="done")
    answer, _ = await store.control(command)
    assert answer is ControlAnswer.INVALID
    record = await store.load("d1")
    assert record is not None
    assert record.wishes.resume is None


def broken(name: str = "d1", reason: str | None = "the shop is down") -> NewDeployment:
    new = a_deployment(name)
    return replace(new, request={**new.request, "break_glass": {"reason": reason}}, break_glass=reason)


async def test_break_glass_is_let_into_a_locked_lane_told_and_audited(store: AuditedStore) -> None:
    await store.control_lane(lock())
    assert await store.accept(broken(), QUEUE) is AcceptKind.ACCEPTED
    (event,) = await store.events_after("d1", 0, limit=9)
    assert event.body["break_glass"] == {"reason": "the shop is down"}
    _, row = await store.audit_rows()
    told = ("kind", "outcome", "command", "reason", "identity")
    assert [row.entry[name] for name in told] == [
        "request", "accepted", "break_glass", "the shop is down", "amqp:bot"
    ]  # fmt: skip


async def test_without_it_the_event_says_null(store: Store) -> None:
    await store.accept(a_deployment(), QUEUE)
    (event,) = await store.events_after("d1", 0, limit=9)
    assert event.body["break_glass"] is None


def after_rollback() -> LockLane:
    command = LaneCommand("lock", LANE, None, "d1 was rolled back", asker=Asker(way="instance"), deployment_id="d1")
    return LockLane(command, rule="limit production: lock_after_rollback")


async def test_a_result_locks_the_lane_in_its_own_transaction(store: AuditedStore) -> None:
    claimed = await accepted_and_claimed(store)
    moved = MoveDeployment(DeploymentState.RUNNING, DeploymentState.SUCCEEDED)
    await store.commit(claimed, [moved, emit_result(targets_total=0), after_rollback()])
    found = await store.lane_lock(LANE)
    assert found is not None
    assert (found.reason, found.deployment, found.identity, found.until) == ("d1 was rolled back", "d1", None, None)
    row = (await store.audit_rows())[-1]
    assert (row.entry["kind"], row.entry["deployment_id"], row.entry["way"], row.entry["identity"]) == (
        "lock", "d1", "instance", None
    )  # fmt: skip
    assert row.entry["rule"] == "limit production: lock_after_rollback"
    assert isinstance(await store.accept(a_deployment("d2"), QUEUE), LaneLock)


async def test_a_result_that_is_not_written_locks_nothing(store: AuditedStore) -> None:
    claimed = await accepted_and_claimed(store)
    lost = replace(claimed, epoch=claimed.epoch + 1)
    with pytest.raises(LeaseLostError):
        await store.commit(lost, [after_rollback()])
    assert await store.lane_lock(LANE) is None
    assert len(await store.audit_rows()) == 1


async def test_a_persons_lock_that_holds_as_long_stays(store: AuditedStore) -> None:
    claimed = await accepted_and_claimed(store)
    await store.control_lane(lock())
    await store.commit(claimed, [after_rollback()])
    found = await store.lane_lock(LANE)
    assert found is not None
    assert found.reason == "the database moves"
    assert len(await store.audit_rows()) == 2
    await store.control_lane(lock(until=wall_time() + 86400))
    await store.commit(claimed, [after_rollback()])
    found = await store.lane_lock(LANE)
    assert found is not None
    assert (found.reason, found.until) == ("d1 was rolled back", None)
