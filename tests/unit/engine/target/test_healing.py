"""A server that a failed deployment left drained comes back with the next one that succeeds on its host."""

from typing import Any

import pytest
from tests.fakes.hosts import SUCCEEDED, failed
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, one_instance

from vesemir.domain.traffic import AdminState
from vesemir.engine.ports.changes import Change, MoveTarget, RecordTraffic, Touch

MAINT = (AdminState.MAINT, 100)
BROKEN = failed(1, b"does not start\n")


async def deployed(world: World, name: str, *, fails: bool = False, **more: Any) -> dict[str, Any]:
    """Its result's only target."""
    world.hosts.steps["switch"] = BROKEN if fails else SUCCEEDED
    await world.accept(name, traffic=True, **more)
    result = await world.result(name)
    return dict(result["targets"][0], deployment=result["status"])


async def test_the_next_success_brings_it_back_with_its_agent() -> None:
    """An agent was left off for good by the instruction that was printed (case agent-left-off)."""
    async with one_instance(1) as world:
        server = world.server("web1")
        server.has_agent = server.agent_enabled = True
        await deployed(world, "d1", fails=True)
        assert world.shown("web1") == [DRAINED]
        assert not server.agent_enabled

        target = await deployed(world, "d2")
        assert (target["status"], target["in_traffic"]) == ("succeeded", True)
        assert world.shown("web1") == [READY]
        assert server.agent_enabled
        (drain,) = (step for step in world.told("step.finished", "d2") if step["step"] == "drain")
        assert "deployment d1 had left it drained on lb1: it comes back" in drain["output"]
        assert world.record.left_drained == {}


async def test_it_needs_a_fresh_passed_check() -> None:
    async with one_instance(1) as world:
        await deployed(world, "d1", fails=True)
        world.server("web1").healthy = False
        target = await deployed(world, "d2")
        assert target["failure"]["code"] == "haproxy.not_up"
        assert world.shown("web1") == [DRAINED]


@pytest.mark.parametrize("early", [True, False])
async def test_it_stays_drained_when_that_one_fails_too_and_comes_back_with_the_third(early: bool) -> None:  # noqa: FBT001
    async with one_instance(1) as world:
        await deployed(world, "d1", fails=True)
        if early:
            world.server("web1").sessions = 1  # they do not end: it fails in the drain
        await deployed(world, "d2", fails=not early)
        assert world.shown("web1") == [DRAINED]
        assert world.record.left_drained == {("shop/production", "web1"): "d1"}
        world.server("web1").sessions = 0

        await deployed(world, "d3")
        assert world.shown("web1") == [READY]
        assert world.record.left_drained == {}


async def test_a_rollback_brings_it_back_too() -> None:
    async with one_instance(1) as world:
        await deployed(world, "d1", fails=True)
        target = await deployed(world, "d2", fails=True, rollout={"on_failure": "rollback"})
        assert target["status"] == "rolled_back"
        assert world.shown("web1") == [READY]
        assert world.record.left_drained == {}


@pytest.mark.parametrize("change", ["maint", "weight", "agent"])
async def test_one_that_somebody_changed_since_is_left_as_it_is(change: str) -> None:
    async with one_instance(1) as world:
        await deployed(world, "d1", fails=True)
        server = world.server("web1")
        if change == "maint":
            server.admin = AdminState.MAINT
        elif change == "weight":
            server.user_weight = 7
        else:
            server.has_agent = server.agent_enabled = True
        before = world.shown("web1")
        target = await deployed(world, "d2")
        assert (target["status"], target["in_traffic"]) == ("succeeded", False)
        assert world.shown("web1") == before


async def test_another_lanes_server_is_somebody_elses() -> None:
    async with one_instance(1) as world:
        await deployed(world, "d1", fails=True)
        await deployed(world, "d2", application="blog")
        assert world.shown("web1") == [DRAINED]


async def test_on_two_load_balancers_of_which_one_forgot() -> None:
    """A reload made one of them forget: it is in traffic there, and comes back on the other."""
    async with one_instance(1, balancers=2) as world:
        await deployed(world, "d1", fails=True)
        world.server("web1", lb=1).start()
        await deployed(world, "d2")
        assert world.shown("web1") == [READY, READY]


@pytest.mark.parametrize("kind", [RecordTraffic, Touch, MoveTarget])
@pytest.mark.parametrize("after", [True, False])
async def test_an_instance_that_dies_while_it_is_healed(kind: type[Change], after: bool) -> None:  # noqa: FBT001
    """The next owner brings it back, whatever the first one had recorded."""
    async with one_instance(1) as world:
        await deployed(world, "d1", fails=True)
        world.hosts.steps["switch"] = SUCCEEDED
        store = world.instances[0].store
        store.after_it, store.dies_with = after, lambda change: isinstance(change, kind)
        await world.accept("d2", traffic=True)
        await until(lambda: store.dead)
        world.instance()
        assert (await world.result("d2"))["status"] == "succeeded"
        assert world.shown("web1") == [READY]
        assert world.record.left_drained == {}
