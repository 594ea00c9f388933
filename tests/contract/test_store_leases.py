"""The port to the record, on the fake and on PostgreSQL: claims, leases, hand-over."""

import asyncio
from collections import Counter

import pytest
from tests.contract.store_suite import (
    LEASE_SECONDS,
    Stores,
    a_deployment,
    a_target,
    accepted_and_claimed,
    claim,
    event_names,
    eventually,
    finish,
    move,
    started,
    store,
    stores,
)
from tests.fakes.events import emit
from tests.integration.postgres_server import postgres_server

from vesemir.domain.failure import LeaseLostError
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.wish import Wish
from vesemir.engine.ports.changes import AddTargets, MoveDeployment
from vesemir.engine.ports.store import Claim, ControlCommand, Store

__all__ = ["postgres_server", "store", "stores"]

PENDING, RUNNING, UNKNOWN, SUCCEEDED = (
    TargetState.PENDING,
    TargetState.RUNNING,
    TargetState.UNKNOWN,
    TargetState.SUCCEEDED,
)
SHORT = 0.05
"""A lease that has run out by the time anybody looks twice."""


async def expired(store: Store, instance: str, *, seconds: float = LEASE_SECONDS, max_expiries: int = 5) -> Claim:
    """A claim as soon as the lease of before has run out."""
    return await eventually(lambda: store.claim(instance, lease_seconds=seconds, max_expiries=max_expiries))


async def test_nothing_to_claim(store: Store) -> None:
    assert await store.claim("a/1", lease_seconds=5, max_expiries=5) is None


async def test_a_first_claim(store: Store) -> None:
    """It runs from now on, has an owner and an epoch, and nobody had it before."""
    claimed = await accepted_and_claimed(store)

    assert (claimed.deployment_id, claimed.owner, claimed.previous, claimed.exhausted) == ("d1", "a/1", None, False)
    assert claimed.epoch > 0
    record = await store.load("d1")
    assert record is not None
    assert (record.state, record.owner, record.epoch) == (DeploymentState.RUNNING, "a/1", claimed.epoch)
    assert (record.started, record.takeovers) == (False, 0)
    assert await event_names(store) == ["deployment.accepted"]


async def test_one_lane_is_worked_on_in_the_order_of_arrival_one_at_a_time(store: Store) -> None:
    for name in ("first", "second"):
        await store.accept(a_deployment(name), None)

    first = await claim(store)
    assert first.deployment_id == "first"
    assert await store.claim("b/2", lease_seconds=5, max_expiries=5) is None
    await finish(store, first)
    assert (await claim(store)).deployment_id == "second"


async def test_lanes_do_not_wait_for_each_other(store: Store) -> None:
    await store.accept(a_deployment("z", application="zoo"), None)
    await store.accept(a_deployment("a", application="ads"), None)

    assert {(await claim(store)).deployment_id for _ in range(2)} == {"z", "a"}


async def test_a_later_claim_has_a_higher_epoch(store: Store) -> None:
    """Of whichever deployment: one sequence for all."""
    await store.accept(a_deployment("d1"), None)
    await store.accept(a_deployment("d2", application="blog"), None)
    first, second = await claim(store), await claim(store)

    assert second.epoch > first.epoch


async def test_twenty_claims_at_once_one_wins(stores: Stores) -> None:
    several = [await stores("a/1"), await stores("b/2")]
    await several[0].accept(a_deployment(), None)

    claims = await asyncio.gather(
        *(several[i % 2].claim(f"i/{i}", lease_seconds=30, max_expiries=5) for i in range(20))
    )

    (won,) = [claimed for claimed in claims if claimed is not None]
    record = await several[0].load("d1")
    assert record is not None
    assert (record.owner, record.epoch, record.takeovers) == (won.owner, won.epoch, 0)


async def test_twenty_claims_at_once_share_twenty_lanes(stores: Stores) -> None:
    """Nobody goes away empty because another one was looking at the same lane."""
    several = [await stores("a/1"), await stores("b/2")]
    for number in range(20):
        await several[0].accept(a_deployment(f"d{number}", application=f"app{number}"), None)

    claims = await asyncio.gather(
        *(several[i % 2].claim(f"i/{i}", lease_seconds=30, max_expiries=5) for i in range(20))
    )

    assert Counter(claimed.deployment_id for claimed in claims if claimed) == {f"d{n}": 1 for n in range(20)}


async def test_an_expired_lease_is_taken_over(stores: Stores) -> None:
    """The new owner says so, the targets that were in work are in doubt, everything else stays."""
    store, other = await stores("a/1"), await stores("b/2")
    old = await started(store, *(a_target(f"web{i}", position=i) for i in range(3)), seconds=SHORT)
    await store.commit(
        old, [move("web0", PENDING, RUNNING), move("web0", RUNNING, SUCCEEDED), move("web1", PENDING, RUNNING)]
    )

    new = await expired(other, "b/2")

    assert (new.previous, new.expired, new.exhausted) == ("a/1", True, False)
    assert new.epoch > old.epoch
    record = await other.load("d1")
    assert record is not None
    assert [target.state for target in record.targets] == [SUCCEEDED, UNKNOWN, PENDING]
    assert not record.targets[1].finished
    assert (record.takeovers, record.state, record.started) == (1, DeploymentState.RUNNING, True)
    told = (await other.events_after("d1", 2, limit=10))[0]
    assert (told.name, told.sequence) == ("deployment.taken_over", 3)
    assert list(told.body.items())[-3:] == [("instance", "b/2"), ("epoch", new.epoch), ("previous_instance", "a/1")]


async def test_the_old_owner_writes_nothing_more(stores: Stores) -> None:
    """Fencing: neither a commit nor a renewal nor a hand-back of the old claim does anything."""
    store, other = await stores("a/1"), await stores("b/2")
    old = await started(store, seconds=SHORT)
    new = await expired(other, "b/2")
    before = await other.load("d1")

    with pytest.raises(LeaseLostError):
        await store.commit(old, [move("web1", PENDING, RUNNING), emit("target.started")])
    assert await store.renew("a/1", {"d1": old.epoch}, lease_seconds=30) == {}
    await store.hand_back(old)

    after = await other.load("d1")
    assert before is not None
    assert after is not None
    assert (after.owner, after.epoch, after.targets) == ("b/2", new.epoch, before.targets)
    assert (await event_names(other))[-1] == "deployment.taken_over"


async def test_the_epoch_fences_even_the_same_owner(store: Store) -> None:
    """A process that lost its lease and claimed again has two claims, one of them old."""
    old = await started(store, seconds=SHORT)
    new = await expired(store, "a/1")

    with pytest.raises(LeaseLostError):
        await store.commit(old, [emit("target.started")])
    await store.commit(new, [emit("target.started")])


async def test_a_renewed_lease_does_not_expire(stores: Stores) -> None:
    store, other = await stores("a/1"), await stores("b/2")
    claimed = await accepted_and_claimed(store, seconds=SHORT)

    assert list(await store.renew("a/1", {"d1": claimed.epoch, "gone": 7}, lease_seconds=30)) == ["d1"]

    await asyncio.sleep(2 * SHORT)  # the first lease's time, which must pass for this to prove anything
    assert await other.claim("b/2", lease_seconds=5, max_expiries=5) is None


async def test_renewing_nothing(store: Store) -> None:
    assert await store.renew("a/1", {}, lease_seconds=30) == {}


async def test_handed_back_is_claimed_at_once_and_is_no_expiry(stores: Stores) -> None:
    """A takeover all the same; the state stays, so a rollback goes on as a rollback."""
    store, other = await stores("a/1"), await stores("b/2")
    claimed = await started(store)
    back = a_target(direction=Direction.BACK)
    await store.commit(
        claimed, [MoveDeployment(DeploymentState.RUNNING, DeploymentState.ROLLING_BACK), AddTargets((back,))]
    )

    for _ in range(3):
        await store.hand_back(claimed)
        claimed = await claim(other, "b/2", max_expiries=1)

    assert (claimed.expired, claimed.exhausted) == (False, False)
    record = await other.load("d1")
    assert record is not None
    assert (record.state, record.takeovers) == (DeploymentState.ROLLING_BACK, 3)
    assert (await event_names(other)).count("deployment.taken_over") == 3


async def test_too_many_expiries_exhaust_it(store: Store) -> None:
    """Two leases may expire; after the third it is claimed to clean up."""
    await accepted_and_claimed(store, seconds=SHORT)

    claims = [await expired(store, f"i/{i}", seconds=SHORT, max_expiries=2) for i in range(4)]

    assert [claimed.exhausted for claimed in claims] == [False, False, True, True]


async def test_the_owner_sees_wishes_when_it_renews(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    await store.control(ControlCommand("cancel", "d1", "anna", "wrong version"))

    renewed = await store.renew("a/1", {"d1": claimed.epoch}, lease_seconds=30)

    assert renewed["d1"].cancel == Wish("anna", "wrong version")
    assert await store.wishes("a/1") == renewed
    assert await store.wishes("b/2") == {}
