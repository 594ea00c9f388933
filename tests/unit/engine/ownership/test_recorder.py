"""Changes are written in order, in groups, and by the owner only."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.unit.engine.world import InstanceStore, World

from vesemir.domain.events import DeploymentPausedEvent
from vesemir.domain.failure import LeaseLostError
from vesemir.domain.step import Direction
from vesemir.domain.wish import Wish
from vesemir.engine.ownership import recorder as engine_recorder
from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ports.changes import Change, Emit, SkipPending
from vesemir.engine.ports.store import Claim


class Buggy(InstanceStore):
    """Has a bug when ``broken``."""

    broken = False

    async def commit(self, claim: Claim, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0.01)
        if self.broken:
            raise ZeroDivisionError
        await super().commit(claim, changes)


class Desk:
    """A recorder over a claimed deployment."""

    def __init__(self, world: World, store: Buggy, lease: HeldLease) -> None:
        self.world = world
        self.store = store
        self.lease = lease
        self.events = 0
        self.recorder = Recorder(store, lease, on_event=self._event)

    def _event(self) -> None:
        self.events += 1

    def reasons(self) -> list[str]:
        return [str(event.body["reason"]) for event in self.world.row().events if event.name == "deployment.paused"]


def said(number: int) -> Emit:
    return Emit(DeploymentPausedEvent(Wish(reason=str(number))))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with World(1) as world:
        await world.accept()
        store = Buggy(world.record, instance="host/1")
        claim = await store.claim("host/1", lease_seconds=60, max_expiries=5)
        assert claim is not None
        desk = Desk(world, store, HeldLease(claim, trusted_until=40, clock=asyncio.get_running_loop().time))
        async with desk.recorder:
            yield desk


async def test_one_at_a_time_and_each_event_is_told_of(desk: Desk) -> None:
    await desk.recorder.write(said(1))
    await desk.recorder.write(SkipPending(Direction.FORWARD))
    await desk.recorder.write(said(2))
    assert desk.reasons() == ["1", "2"]
    assert desk.events == 2
    desk.world.events()


async def test_what_comes_during_a_commit_is_one_group_in_order(desk: Desk) -> None:
    first = desk.recorder.put(said(0))
    await asyncio.sleep(0.005)
    writes = [desk.recorder.put(said(number), SkipPending(Direction.BACK)) for number in range(1, 8)]
    await asyncio.gather(first, *writes)
    assert desk.reasons() == [str(number) for number in range(8)]
    assert [len(group) for group in desk.store.groups] == [1, 14]


async def test_a_group_has_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_recorder, "GROUP_LIMIT", 3)
    await asyncio.gather(*(desk.recorder.put(said(number), said(number)) for number in range(5)))
    assert [len(group) for group in desk.store.groups] == [4, 4, 2]
    assert desk.reasons() == [str(number) for number in range(5) for _ in range(2)]


async def test_what_nobody_waits_for_is_written_too(desk: Desk) -> None:
    desk.recorder.put(said(1))
    await desk.recorder.write(said(2))
    assert desk.reasons() == ["1", "2"]


async def test_who_is_cancelled_while_waiting_takes_nothing_back(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.recorder.write(said(1)))
    await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    dropped = desk.recorder.put(said(2))
    dropped.cancel()
    await desk.recorder.write(said(3))
    assert desk.reasons() == ["1", "2", "3"]


@pytest.mark.parametrize("trouble", ["another owner", "away"])
async def test_a_write_that_cannot_be_made_gives_the_lease_up(desk: Desk, trouble: str) -> None:
    await desk.recorder.write(said(1))
    if trouble == "away":
        desk.store.cut_off = True
    else:
        desk.world.row().epoch += 1
    during = desk.recorder.put(said(2))
    given_up = desk.recorder.put(said(2))
    given_up.cancel()
    await asyncio.sleep(0.005)
    behind = desk.recorder.put(said(3))
    for write in (during, behind):
        with pytest.raises(LeaseLostError, match="belongs to another instance"):
            await write
    assert desk.lease.lost
    with pytest.raises(LeaseLostError):
        await desk.recorder.write(said(4))
    desk.store.cut_off = False
    assert desk.reasons() == ["1"]
    assert desk.events == 1


async def test_a_bug_in_writing_ends_the_run_too(desk: Desk) -> None:
    desk.store.broken = True
    write = desk.recorder.put(said(1))
    with pytest.raises(LeaseLostError):
        await write
    assert desk.lease.lost
    assert desk.recorder._writer is not None
    with pytest.raises(ZeroDivisionError):
        await desk.recorder._writer


async def test_a_recorder_that_was_never_entered_is_left_quietly(desk: Desk) -> None:
    await Recorder(desk.store, desk.lease, on_event=lambda: None).__aexit__(None, None, None)
