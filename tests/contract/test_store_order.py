"""The port to the record, on the fake and on PostgreSQL: who is next, what is due, what is too late."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.contract.store_suite import Stores, a_deployment, claim, event_names, finish, started, store, stores
from tests.fakes.events import emit
from tests.fakes.store import FakeStore
from tests.integration.postgres_server import postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.domain.control import ControlledLane
from vesemir.domain.failure import FailureCode, LeaseLostError
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.states import DeploymentState
from vesemir.domain.turns import TurnKey
from vesemir.engine.ports.changes import Start
from vesemir.engine.ports.records import NewDeployment
from vesemir.engine.ports.store import AcceptKind, ControlAnswer, LaneCommand, Store

__all__ = ["postgres_server", "store", "stores"]


def of(requester: str, name: str, *, application: str = "shop", quotas: Sequence[str] = ()) -> NewDeployment:
    new = a_deployment(name, application=application)
    return replace(new, turn=TurnKey(requester, tuple(quotas)))


async def begun(store: Store, count: int, **quotas: int) -> list[str]:
    """The next ones to begin, which then run."""
    claims = [await store.claim("a/1", lease_seconds=30, max_expiries=5, quotas=quotas) for _ in range(count)]
    return [claimed.deployment_id for claimed in claims if claimed is not None]


async def begun_and_ended(store: Store, count: int) -> list[str]:
    """The next ones, each ended before the one after it begins."""
    names = []
    for _ in range(count):
        claimed = await claim(store)
        names.append(claimed.deployment_id)
        await finish(store, claimed)
    return names


async def change(store: Store, sql: str, *values: object) -> None:
    """What another part writes."""
    assert isinstance(store, PostgresStore)
    async with store._database.connection() as connection:
        await connection.execute(sql, *values)


async def skip(store: Store, seconds: float) -> None:
    """So much time passes: on PostgreSQL every moment comes nearer."""
    if isinstance(store, FakeStore):
        store.record.skip(seconds)
        return
    by = timedelta(seconds=seconds)
    await change(store, "UPDATE lane SET locked_until = locked_until - $1::interval", by)
    sql = "UPDATE deployment SET not_before = not_before - $1::interval, not_after = not_after - $1::interval"
    await change(store, sql, by)


async def lock(store: Store, *, until: float | None = None) -> None:
    command = LaneCommand("lock", ControlledLane("shop", "production"), "anna", "stocktaking", until)
    assert await store.control_lane(command) is ControlAnswer.ACCEPTED


async def unlock(store: Store) -> None:
    await store.control_lane(LaneCommand("unlock", ControlledLane("shop", "production"), "anna", "done"))


async def test_who_has_one_waiting_is_not_held_up_by_who_has_many(store: Store) -> None:
    for number in range(20):
        await store.accept(of("amqp:many", f"m{number:02}", application=f"app{number}"), None)
    await store.accept(of("amqp:one", "single", application="zoo"), None)

    assert "single" in await begun(store, 2)


async def test_requesters_go_round(store: Store) -> None:
    """The one whose last turn was longest ago is next, whatever each has waiting."""
    for requester, count in (("a", 6), ("b", 2), ("c", 1)):
        for number in range(count):
            await store.accept(of(requester, f"{requester}{number}", application=f"{requester}-app{number}"), None)

    assert [name[0] for name in await begun(store, 9)] == list("abcabaaaa")


async def test_a_newcomer_is_next(store: Store) -> None:
    for number in range(4):
        await store.accept(of("a", f"a{number}", application=f"app{number}"), None)
    assert await begun(store, 2) == ["a0", "a1"]

    await store.accept(of("b", "b0", application="zoo"), None)

    assert await begun(store, 2) == ["b0", "a2"]


async def test_lanes_of_one_requester_go_round(store: Store) -> None:
    """Also when one deployment at a time is all that runs."""
    for number in range(3):
        await store.accept(of("a", f"shop{number}", application="shop"), None)
    await store.accept(of("a", "zoo0", application="zoo"), None)
    await store.accept(of("a", "ads0", application="ads"), None)

    assert await begun_and_ended(store, 5) == ["ads0", "shop0", "zoo0", "shop1", "shop2"]


async def test_within_a_lane_the_order_is_that_of_acceptance(store: Store) -> None:
    """Whoever asked: a turn in a lane is that of the one who is first there."""
    for number, requester in enumerate("aabab"):
        await store.accept(of(requester, f"d{number}"), None)

    assert await begun_and_ended(store, 5) == ["d0", "d1", "d2", "d3", "d4"]


async def test_what_an_instance_left_comes_first(stores: Stores) -> None:
    store, other = await stores("a/1"), await stores("b/2")
    await store.accept(of("a", "left", application="zoo"), None)
    claimed = await claim(store)
    for number in range(3):
        await store.accept(of("b", f"b{number}", application=f"app{number}"), None)

    await store.hand_back(claimed)

    assert (await claim(other, "b/2")).deployment_id == "left"


async def test_a_quota_holds_back_what_counts_for_it(store: Store) -> None:
    """And nothing else, of the same requester neither; there is room again when one has ended."""
    for number in range(3):
        await store.accept(of("a", f"a{number}", application=f"app{number}", quotas=["few amqp:a"]), None)
    await store.accept(of("a", "free", application="zoo"), None)

    first = [await store.claim("a/1", lease_seconds=30, max_expiries=5, quotas={"few": 1}) for _ in range(3)]
    claims = {claimed.deployment_id: claimed for claimed in first if claimed is not None}
    assert sorted(claims) == ["a0", "free"]
    await finish(store, claims["free"])
    assert await begun(store, 1, few=1) == []
    await finish(store, claims["a0"])
    assert await begun(store, 3, few=1) == ["a1"]


async def test_a_quota_is_what_the_policy_says_now(store: Store) -> None:
    """One that it does not have any more holds nobody back; nor one of somebody else."""
    for number in range(3):
        await store.accept(of("a", f"a{number}", application=f"app{number}", quotas=["few amqp:a"]), None)
    await store.accept(of("b", "b0", application="zoo", quotas=["few amqp:b"]), None)

    assert await begun(store, 4, few=1) == ["a0", "b0"]
    assert await begun(store, 1, few=2) == ["a1"]
    assert await begun(store, 1) == ["a2"]


async def test_claims_at_once_do_not_pass_a_quota(stores: Stores) -> None:
    several = [await stores("a/1"), await stores("b/2")]
    for number in range(12):
        await several[0].accept(of("a", f"a{number}", application=f"app{number}", quotas=["few amqp:a"]), None)

    claims = await asyncio.gather(
        *(several[i % 2].claim(f"i/{i}", lease_seconds=30, max_expiries=5, quotas={"few": 3}) for i in range(12))
    )

    assert sum(claimed is not None for claimed in claims) == 3


async def test_what_is_not_due_holds_up_nobody_and_then_takes_its_place(store: Store) -> None:
    await store.accept(replace(a_deployment("later"), not_before=await store.clock() + 1000), None)
    await store.accept(a_deployment("first"), None)
    await store.accept(a_deployment("third"), None)
    told = [(await store.events_after(name, 0, limit=1))[0].body for name in ("later", "first", "third")]
    assert [body["position"] for body in told] == [0, 0, 1]
    assert told[0]["not_before"].endswith("Z")
    assert told[1]["not_before"] is None

    first = await claim(store)
    await skip(store, 1001)
    await store.accept(a_deployment("fourth"), None)
    assert (await store.events_after("fourth", 0, limit=1))[0].body["position"] == 3
    await store.keep_appointments()
    await finish(store, first)

    assert [first.deployment_id, *await begun_and_ended(store, 3)] == ["first", "later", "third", "fourth"]


async def test_it_is_not_begun_before_its_time(store: Store) -> None:
    now = await store.clock()
    await store.accept(replace(a_deployment("later"), not_before=now + 3600), None)

    assert await store.keep_appointments() == []
    assert await begun(store, 1) == []


async def test_not_begun_in_time_it_has_failed(store: Store) -> None:
    """Also behind another one. It is told once, to every destination, and counted."""
    await store.accept(a_deployment("active"), None)
    await claim(store)
    await store.accept(replace(a_deployment("late"), not_after=await store.clock() + 1000), None)
    assert await store.keep_appointments() == []
    await skip(store, 1001)

    assert [(each.deployment_id, each.dry_run) for each in await store.keep_appointments()] == [("late", False)]
    assert await store.keep_appointments() == []
    record = await store.load("late")
    assert record is not None
    assert record.failure is not None
    assert (record.state, record.failure.code) == (DeploymentState.FAILED, FailureCode.REQUEST_EXPIRED)
    assert await event_names(store, "late") == ["deployment.accepted", "deployment.finished"]
    body = (await store.events_after("late", 1, limit=1))[0].body
    assert (body["status"], body["failure"]["code"], body["targets"]) == ("failed", "request.expired", [])


async def test_after_its_time_it_is_not_claimed(store: Store) -> None:
    """Whether or not anybody has looked."""
    await store.accept(replace(a_deployment("late"), not_after=await store.clock() + 1000), None)
    await skip(store, 1001)

    assert await begun(store, 1) == []


async def test_what_was_claimed_is_not_begun_after_its_time(store: Store) -> None:
    """Its owner may believe otherwise for a moment: the record does not take the start."""
    await store.accept(replace(a_deployment(), not_after=await store.clock() + 1000), None)
    claimed = await claim(store)
    record = await store.load("d1")
    assert record is not None
    assert 990 < (record.expires_in_seconds or 0) <= 1000
    await skip(store, 1001)

    with pytest.raises(LeaseLostError):
        await store.commit(claimed, [Start((), resolve_seconds=0.1), emit("deployment.started", targets=[])])

    await store.hand_back(claimed)
    assert [each.deployment_id for each in await store.keep_appointments()] == ["d1"]


async def test_what_an_instance_works_on_or_has_begun_does_not_expire(store: Store) -> None:
    await store.accept(replace(a_deployment(), not_after=await store.clock() + 1000), None)
    claimed = await claim(store, seconds=5000)
    await store.accept(replace(a_deployment("d2", application="zoo"), not_after=await store.clock() + 1000), None)
    begins = await claim(store, seconds=5000)
    await store.commit(begins, [Start((), resolve_seconds=0.1)])
    await store.hand_back(begins)
    await skip(store, 1001)

    assert await store.keep_appointments() == []
    await store.hand_back(claimed)
    assert [each.deployment_id for each in await store.keep_appointments()] == ["d1"]


async def test_nothing_begins_in_a_locked_lane(store: Store) -> None:
    await store.accept(a_deployment("d1"), None)
    await store.accept(a_deployment("d2", application="zoo"), None)
    await lock(store)

    assert await begun(store, 2) == ["d2"]
    await unlock(store)
    assert await begun(store, 2) == ["d1"]


async def test_a_lock_ends_by_itself(store: Store) -> None:
    await store.accept(a_deployment("d1"), None)
    await lock(store, until=await store.clock() + 1000)
    assert await begun(store, 1) == []

    await skip(store, 1001)
    assert await begun(store, 1) == ["d1"]


async def test_break_glass_goes_past_what_a_lock_holds_up(store: Store) -> None:
    """And a dry run, which changes nothing; each in its place among those that may."""
    await store.accept(a_deployment("held"), None)
    await store.accept(replace(a_deployment("fire"), break_glass="the shop is down"), None)
    rehearsal = a_deployment("rehearsal")
    await store.accept(replace(rehearsal, request={**rehearsal.request, "dry_run": True}), None)
    await lock(store)

    assert await begun_and_ended(store, 2) == ["fire", "rehearsal"]
    assert await begun(store, 1) == []
    await unlock(store)
    assert await begun(store, 1) == ["held"]


async def test_what_is_due_later_is_accepted_in_a_locked_lane_and_waits(store: Store) -> None:
    """The lock is judged when it is due, and holds it up then."""
    await lock(store)
    later = replace(a_deployment("later"), not_before=await store.clock() + 1000)
    assert await store.accept(later, None) is AcceptKind.ACCEPTED
    assert isinstance(await store.accept(a_deployment("now"), None), LaneLock)
    await skip(store, 1001)
    await store.keep_appointments()

    assert await begun(store, 1) == []
    await unlock(store)
    assert await begun(store, 1) == ["later"]


async def test_what_has_begun_goes_on_in_a_locked_lane(stores: Stores) -> None:
    """Also when another instance takes it over."""
    store, other = await stores("a/1"), await stores("b/2")
    claimed = await started(store)
    await lock(store)
    await store.hand_back(claimed)

    assert (await claim(other, "b/2")).deployment_id == "d1"
