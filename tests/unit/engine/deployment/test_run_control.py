"""A deployment is paused, resumed, approved and cancelled, also under another owner."""

import asyncio
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.unit.engine.deployment.situations import now, slow_inventory
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import World, one_instance

from vesemir.domain.states import DeploymentState, TargetState
from vesemir.engine.ports.changes import MoveDeployment, Start


async def test_a_pause_lets_what_is_in_work_finish_and_its_time_does_not_count() -> None:
    async with one_instance(2) as world:
        await world.accept(timeouts={"deployment": 60})
        await world.told_of("target.started")
        await world.control("pause")
        paused = await world.told_of("deployment.paused")
        assert (paused["requested_by"], paused["reason"]) == ("somebody", "because")
        await asyncio.sleep(1000)
        assert world.state("web1") is TargetState.SUCCEEDED
        assert world.state("web2") is TargetState.PENDING
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"
        assert world.told("deployment.resumed")[0]["requested_by"] == "somebody"


async def test_a_pause_before_the_first_target() -> None:
    async with World(1) as world:
        await world.accept()
        await world.control("pause")
        world.instance()
        await world.told_of("deployment.paused")
        await asyncio.sleep(100)
        assert world.hosts.calls == []
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"


async def test_a_failure_in_a_pause_ends_it_all_the_same() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["verify"] = failed(1)
        await world.accept()
        await world.told_of("target.started")
        await world.control("pause")
        assert (await world.result())["status"] == "failed"


@pytest.mark.parametrize("kill", [False, True])
async def test_an_approval_is_waited_for_also_by_another_instance(*, kill: bool) -> None:
    async with one_instance(3) as world:
        await world.accept(
            rollout={"canary": 1, "concurrency": 2, "approve_after": "canary"}, timeouts={"deployment": 60}
        )
        await world.control("resume")
        assert "approve_after" in (await world.told_of("deployment.paused"))["reason"]
        if kill:
            world.instances[0].kill()
            world.instance()
            await world.told_of("deployment.taken_over")
        await asyncio.sleep(500)
        assert len(world.told("target.started")) == 1
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"
        assert len(world.told("deployment.paused")) == 1


async def test_each_batch_can_need_its_approval() -> None:
    """Who answers the event at once is heard, although the second resume looks just like the first."""
    async with one_instance(3) as world:
        await world.accept(rollout={"approve_after": "batch"})
        for number in (1, 2):
            await world.told_of("deployment.paused", count=number)
            await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


@pytest.mark.parametrize("mode", ["batch", "window"])
@pytest.mark.parametrize("kill", [False, True])
async def test_each_value_of_order_by_can_need_its_approval(mode: str, *, kill: bool) -> None:
    """Within a value nothing is asked for; the one who takes over waits before the same one."""
    async with World(5, zones=3) as world:
        world.instance()
        rollout = {"canary": 1, "mode": mode, "order_by": "zone", "approve_after": "group"}
        await world.accept(rollout=rollout, timeouts={"deployment": 60})
        for number, done in ((1, 1), (2, 3)):
            await world.told_of("deployment.paused", count=number)
            if kill:
                world.instances[-1].kill()
                world.instance()
                await world.told_of("deployment.taken_over", count=number)
            await asyncio.sleep(500)
            assert len(world.told("target.started")) == done
            await world.control("resume")
        assert (await world.result())["status"] == "succeeded"
        assert len(world.told("deployment.paused")) == 2
        zones = [each["target"] for each in world.told("target.started")]
        assert zones == ["web3", "web1", "web4", "web2", "web5"]


async def test_a_pause_while_an_approval_is_waited_for_needs_its_own_resume() -> None:
    async with one_instance(2) as world:
        await world.accept(rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        await world.control("pause")
        await asyncio.sleep(10)
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_an_approval_counts_also_for_whoever_takes_over_before_the_batch_begins() -> None:
    async with one_instance(3) as world:
        store = world.instances[0].store
        store.dies_with = lambda change: isinstance(change, MoveDeployment) and change.new is DeploymentState.RUNNING
        store.after_it = True
        await world.accept(rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        await world.control("resume")
        await until(lambda: store.dead)
        assert world.row().approved_batch == 2
        world.instance()
        await world.told_of("deployment.paused", count=2)
        assert world.statuses_now() == {"web1": "succeeded", "web2": "succeeded", "web3": "pending"}


async def test_an_approval_that_does_not_come_ends_it() -> None:
    async with World(2) as world:
        world.instance(approval_seconds=300)
        await world.accept(rollout={"approve_after": "batch"}, timeouts={"deployment": 60})
        told = await world.told_of("deployment.paused")
        assert "for at most 5 min (limits.approval_seconds)" in told["reason"]
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("cancelled", "deployment.cancelled")
        assert "no approval came within 5 min" in result["failure"]["message"]
        assert "no approval came" in world.told("deployment.cancelling")[0]["reason"]
        assert world.statuses() == {"web1": "succeeded", "web2": "skipped"}
        assert 300 < now() < 310


async def test_a_pause_that_nobody_ends_has_its_end_too() -> None:
    async with World(2) as world:
        world.instance(pause_seconds=900)
        await world.accept()
        await world.told_of("target.started")
        await world.control("pause")
        result = await world.result()
        assert result["status"] == "cancelled"
        assert "nobody resumed it within 15 min (limits.pause_seconds)" in result["failure"]["message"]
        assert world.statuses() == {"web1": "succeeded", "web2": "skipped"}


async def test_the_time_for_an_approval_goes_on_under_another_owner() -> None:
    """It is the record's clock that counts, also while nobody is there."""
    async with World(2) as world:
        world.instance(approval_seconds=10_000)
        await world.accept(rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        await asyncio.sleep(2_000)
        world.instances[0].kill()
        world.record.skip(7_900)
        began = now()
        world.instance(approval_seconds=10_000)
        assert (await world.result())["status"] == "cancelled"
        assert now() - began < 200


async def test_an_approval_in_time_is_followed_by_a_new_time_for_the_next() -> None:
    async with World(3) as world:
        world.instance(approval_seconds=300)
        await world.accept(rollout={"approve_after": "batch"})
        for number in (1, 2):
            await world.told_of("deployment.paused", count=number)
            await asyncio.sleep(250)
            await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_a_cancel_while_hosts_are_looked_up() -> None:
    async with World(1) as world:
        looking = slow_inventory(world, 60)
        world.instance()
        await world.accept()
        await until(looking.is_set)
        await world.control("cancel")
        result = await world.result()
        assert (result["status"], result["targets"], now() < 3) == ("cancelled", [], True)
        assert world.names() == ["deployment.accepted", "deployment.cancelling", "deployment.finished"]


async def test_a_cancel_in_the_moment_in_which_it_starts_tells_of_its_targets() -> None:
    async with one_instance(2) as world:
        store = world.instances[0].store
        plain = store.commit

        async def commit(claim: Any, changes: Any) -> None:
            if any(isinstance(change, Start) for change in changes):
                await world.control("cancel")
                await asyncio.sleep(3)
            await plain(claim, changes)

        store.commit = commit  # type: ignore[method-assign]
        await world.accept()
        await world.result()
        assert world.names()[1:3] == ["deployment.started", "deployment.cancelling"]
        assert world.statuses() == {"web1": "skipped", "web2": "skipped"}


async def test_a_lease_that_is_lost_while_hosts_are_looked_up() -> None:
    async with World(1) as world:
        slow_inventory(world, 50)
        first = world.instance()
        await world.accept()
        await asyncio.sleep(1)
        first.store.cut_off = True
        await until(lambda: any("lost before the first target" in line for line in first.log.of("warning")))
        world.instance()
        assert (await world.result())["status"] == "succeeded"
