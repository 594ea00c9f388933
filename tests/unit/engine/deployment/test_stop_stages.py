"""Stops that come between two phases of a deployment, where no target is in work."""

import asyncio
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import READY, World, one_instance

from vesemir.domain.states import DeploymentState
from vesemir.domain.wish import Wish
from vesemir.engine.deployment.interruption import interruptible
from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ownership.scope import StoppedError
from vesemir.engine.ownership.stop_signal import StopReason
from vesemir.engine.ports.records import Wishes
from vesemir.engine.ports.store import Claim


def _slow_last_look(world: World) -> asyncio.Event:
    """HAProxy takes its time when it is looked at after the last target."""
    lb = world.lbs[0]
    plain, asked = lb.process, asyncio.Event()

    async def process() -> Any:
        if "target.finished" in world.names():
            asked.set()
            await asyncio.sleep(5)
        return await plain()

    lb.process = process  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("stage", ["drain", "leave"])
async def test_a_deployment_that_is_left_in_its_last_look_at_haproxy_has_ended(stage: str) -> None:
    async with one_instance(1) as world:
        asked, first = _slow_last_look(world), world.instances[0]
        await world.accept(traffic=True)
        await asked.wait()
        await first.working.drain(20 if stage == "drain" else 1)
        assert (await world.result())["status"] == "succeeded"
        assert (first.log.of("exception"), world.row().takeovers) == ([], 0)


@pytest.mark.parametrize("stage", ["drain", "leave"])
async def test_a_rollback_that_is_left_before_it_begins_is_the_next_owners(stage: str) -> None:
    async with one_instance(1) as world:
        asked, first = _slow_last_look(world), world.instances[0]
        world.hosts.steps["verify"] = failed(1)
        await world.accept(traffic=True, rollout={"on_failure": "rollback"})
        await asked.wait()
        await first.working.drain(20 if stage == "drain" else 1)
        assert (world.row().owner, world.row().state) == (None, DeploymentState.ROLLING_BACK)
        assert (first.log.of("exception"), world.hosts.ran("switch-back")) == ([], [])
        world.instance()
        assert (await world.result())["status"] == "rolled_back"
        assert (world.shown("web1"), world.row().expiries) == ([READY], 0)


async def test_an_instance_that_is_left_at_once_does_not_wait_for_the_inventory() -> None:
    """A second SIGTERM may come before the first one has come to the worker."""
    async with World(1) as world:
        asked = asyncio.Event()

        async def resolve(_selector: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

        world.inventory.resolve = resolve  # type: ignore[method-assign]
        first = world.instance()
        await world.accept()
        await asked.wait()
        first.working.leave()
        await until(lambda: "handed over" in first.log.of("info"), seconds=1)
        await asyncio.sleep(100)
        assert (world.row().owner, first.working.in_work) == (None, 0)


@pytest.fixture
async def lease() -> HeldLease:
    loop = asyncio.get_running_loop()
    return HeldLease(Claim("d1", "host/1", 1), trusted_until=loop.time() + 1000, clock=loop.time)


async def test_a_cancel_after_the_last_await_of_what_it_interrupts_counts(lease: HeldLease) -> None:
    with pytest.raises(StoppedError) as stopped:
        async with interruptible(lease):
            lease.wish(Wishes(cancel=Wish("somebody")))
    assert stopped.value.reason is lease.stop_signal.reason is StopReason.CANCELLED


async def test_a_cancel_while_it_is_handed_over_is_the_next_owners(lease: HeldLease) -> None:
    with pytest.raises(StoppedError) as stopped:  # noqa: PT012 - what the interruption ends is the point
        async with interruptible(lease):
            lease.stop_signal.hand_over()
            lease.wish(Wishes(cancel=Wish("somebody")))
            await asyncio.sleep(1)
    assert stopped.value.reason is StopReason.HANDED_OVER
