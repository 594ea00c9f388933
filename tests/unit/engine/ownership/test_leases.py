"""Trust in a lease ends before anybody else may have it; wishes arrive; what is lost stays lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
from tests.fakes.record import Record
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import LIMITS, InstanceStore, Lines, World

from vesemir.domain.failure import LeaseLostError
from vesemir.engine.ownership.leases import HeldLease, Leases
from vesemir.engine.ownership.stop_signal import StopReason
from vesemir.engine.ports.observe import SilentMeters
from vesemir.engine.ports.store import StoreAwayError


class SlowStore(InstanceStore):
    """Answers ``late`` seconds after it was asked."""

    late = 0.0

    async def turn(self) -> float:
        now = await super().turn()
        await asyncio.sleep(self.late)
        return now


class Holder:
    """The leases of one instance over a record with one deployment."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.store = SlowStore(record, instance="host/1")
        self.log = Lines()
        self.leases = Leases(self.store, owner="host/1", times=LIMITS.lease, log=self.log, meters=SilentMeters())
        self.changes = 0
        self.hearing = ExitStack()
        self.tasks: list[asyncio.Task[None]] = []

    async def claim(self) -> HeldLease:
        lease = await self.leases.claim(max_expiries=5)
        assert lease is not None
        self.hearing.enter_context(lease.wishes_heard_by(self._change))
        self.hearing.enter_context(lease.stop_signal.heard_by(self._change))
        return lease

    def _change(self) -> None:
        self.changes += 1

    def run(self) -> None:
        self.tasks = [asyncio.create_task(work) for work in (self.leases.keep(), self.leases.fence())]

    def listen(self) -> None:
        self.tasks.append(asyncio.create_task(self.leases.listen()))


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(1) as world:
        await world.accept()
        yield world


@pytest.fixture
async def holder(world: World) -> AsyncIterator[Holder]:
    holder = Holder(world.record)
    yield holder
    for task in holder.tasks:
        task.cancel()
    await asyncio.gather(*holder.tasks, return_exceptions=True)


async def test_nothing_to_claim_is_none(holder: Holder) -> None:
    await holder.claim()
    assert await holder.leases.claim(max_expiries=5) is None
    assert holder.leases.held == 1


async def test_trust_is_counted_from_when_the_claim_was_sent(holder: Holder) -> None:
    holder.store.late = 5
    lease = await holder.claim()
    await asyncio.sleep(34.9)
    assert lease.valid()
    lease.ensure()
    await asyncio.sleep(0.2)
    assert not lease.valid()
    with pytest.raises(LeaseLostError, match="d1"):
        lease.ensure()


async def test_a_renewed_lease_is_trusted_and_stays_ours(holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    await asyncio.sleep(1000)
    assert lease.valid()
    assert holder.record.rows["d1"].lease_expires_at is not None
    assert holder.record.rows["d1"].lease_expires_at > holder.record.now() + 45


async def test_trust_is_counted_from_when_a_renewal_was_sent(holder: Holder) -> None:
    """An answer that takes nine seconds leaves nine seconds less."""
    lease = await holder.claim()
    holder.run()
    holder.store.late = 9
    await asyncio.sleep(10 + 9.5)
    holder.store.cut_off = True
    await until(lambda: lease.lost)
    assert now() == pytest.approx(10 + 40, abs=1.1)


async def test_a_record_that_is_away_loses_the_lease_before_it_expires(holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    await asyncio.sleep(10.5)
    holder.store.cut_off = True
    expires = holder.record.rows["d1"].lease_expires_at
    await until(lambda: lease.lost)
    assert not lease.valid()
    assert holder.changes == 1
    assert expires is not None
    assert holder.record.now() < expires - 15
    assert "could not be renewed" in holder.log.of("warning")[0]


async def test_a_renewal_that_hangs_is_given_up(holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    holder.store.late = 1000
    await until(lambda: lease.lost)
    assert now() == pytest.approx(40, abs=1.1)


async def test_a_short_absence_does_no_harm(holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    holder.store.cut_off = True
    await asyncio.sleep(25)
    holder.store.cut_off = False
    await asyncio.sleep(300)
    assert lease.valid()


async def test_a_lease_whose_row_somebody_else_locks_is_lost_only_when_trust_runs_out(holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    holder.store.locked.add("d1")
    await asyncio.sleep(25)
    holder.store.locked.clear()
    await asyncio.sleep(100)
    assert lease.valid()
    assert "somebody else holds a lock on its row" in holder.log.of("warning")[0]
    begun = now()
    holder.store.locked.add("d1")
    await until(lambda: lease.lost)
    assert now() - begun > 25


async def test_a_lease_that_a_renewal_leaves_out_is_lost(holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    holder.record.rows["d1"].owner = "host/2"
    await until(lambda: lease.lost)
    assert now() < 11
    holder.record.rows["d1"].owner = "host/1"
    await asyncio.sleep(30)
    assert not lease.valid()


async def test_a_lease_that_was_dropped_or_claimed_anew_meanwhile_is_left_alone(holder: Holder) -> None:
    first = await holder.claim()
    holder.run()
    holder.store.late = 3
    await asyncio.sleep(11)
    holder.record.skip(1000)
    second = await holder.leases.claim(max_expiries=5)
    assert second is not None
    holder.leases.drop(first)
    assert holder.leases.held == 1
    await asyncio.sleep(20)
    assert second.valid()


async def test_handed_back_it_is_anybodys(holder: Holder) -> None:
    lease = await holder.claim()
    await holder.leases.hand_back(lease)
    assert holder.leases.held == 0
    assert (await holder.claim()).claim.previous == "host/1"
    assert holder.record.rows["d1"].expiries == 0


async def test_a_wish_is_heard_within_a_second_and_at_once_with_a_hint(world: World, holder: Holder) -> None:
    lease = await holder.claim()
    holder.listen()
    await world.control("pause")
    await until(lambda: lease.wishes.pause)
    assert now() <= 1.1
    started = now()
    await world.control("resume")
    holder.leases.hint()
    await until(lambda: lease.wishes.pause is None)
    assert now() - started < 0.1
    assert holder.changes == 2


async def test_wishes_come_with_a_renewal_too(world: World, holder: Holder) -> None:
    lease = await holder.claim()
    holder.run()
    await world.control("cancel")
    await until(lambda: lease.wishes.cancel)
    assert 9 < now() < 11


async def test_listening_outlives_a_record_that_is_away_and_deployments_of_an_earlier_life(
    world: World, holder: Holder
) -> None:
    holder.listen()
    await asyncio.sleep(3)
    lease = await holder.claim()
    await world.accept("d2", application="till")
    world.record.rows["d2"].owner = "host/1"
    holder.store.cut_off = True
    await asyncio.sleep(3)
    holder.store.cut_off = False
    await world.control("cancel")
    await until(lambda: lease.wishes.cancel)


async def test_losing_and_wishing_tell_of_changes_only(holder: Holder) -> None:
    lease = await holder.claim()
    lease.wish(lease.wishes)
    lease.lose()
    lease.lose()
    assert (holder.changes, lease.stop_signal.reason) == (1, StopReason.LEASE_LOST)


async def test_a_claim_while_the_record_is_away_raises(holder: Holder) -> None:
    holder.store.cut_off = True
    with pytest.raises(StoreAwayError):
        await holder.leases.claim(max_expiries=5)
