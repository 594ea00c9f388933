"""The deployment's time on the event loop of production: a timer of uvloop that is due at once does not say when."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from tests.fakes.hosts import HANGS
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import World

from vesemir.engine.deployment.pauses import DeploymentClock
from vesemir.engine.ownership.scope import Scope, StoppedError
from vesemir.engine.ownership.stop_signal import StopReason


def under_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


@pytest.mark.parametrize("elapsed", [100, 400])
def test_a_clock_whose_time_has_run_out_stands_still(elapsed: float) -> None:
    async def work() -> None:
        over = asyncio.Event()
        clock = DeploymentClock(limit=100, elapsed=elapsed, on_expiry=over.set)
        clock.go()
        await over.wait()
        clock.stand_still()

    under_uvloop(work)


def test_a_clock_that_stands_still_before_its_time_has_run_out_calls_nobody() -> None:
    async def work() -> None:
        over: list[bool] = []
        clock = DeploymentClock(limit=100, elapsed=400, on_expiry=lambda: over.append(True))
        clock.go()
        clock.stand_still()
        await asyncio.sleep(0.01)
        assert not over
        clock.go()
        await until(lambda: over, seconds=5)

    under_uvloop(work)


@pytest.mark.parametrize("budget", [0, 0.0001])
def test_a_budget_of_nothing_ends_the_work_and_can_stand_still(budget: float) -> None:
    async def work() -> None:
        with pytest.raises(StoppedError) as stopped:  # noqa: PT012 - what the scope ends is the point
            async with Scope(budget) as scope:
                with scope.standing_still():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(10)
        assert stopped.value.reason is StopReason.BUDGET

    under_uvloop(work)


@pytest.mark.parametrize("paused", [False, True])
def test_a_deployment_whose_time_ran_out_before_it_was_taken_over_is_timed_out(*, paused: bool) -> None:
    """It ended as ``internal.error``, after as many takeovers as are allowed."""

    async def work() -> None:
        async with World(2) as world:
            first = world.instance(pause_seconds=900)
            world.hosts.steps["unpack"] = HANGS
            await world.accept(timeouts={"deployment": 60})
            if paused:
                await world.control("pause")
            await until(lambda: "deployment.paused" in world.names() if paused else world.hosts.begun("web1", "unpack"))
            first.kill()
            world.record.skip(1000)
            world.instance(pause_seconds=900)
            result = await world.result()
            assert result["status"] == ("cancelled" if paused else "timed_out")
            assert world.bugs() == []
            assert world.row().takeovers == 1

    under_uvloop(work)
