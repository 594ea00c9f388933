"""How many servers stay UP: the last one of several is never taken out, and what can never be is refused at once."""

import asyncio
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeServer
from tests.unit.engine.deployment.situations import now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, one_instance

from vesemir.contract import DEFAULTS
from vesemir.domain.traffic import AdminState
from vesemir.engine.traffic.capacity import CAPACITY_POLL_SECONDS

ALL_AT_ONCE = {"concurrency": "100%"}


def serving(world: World) -> int:
    return sum(server.state("").is_available for server in world.lbs[0].by_name.values())


def watched(world: World) -> list[int]:
    """How many served while a step of a recipe began."""
    seen: list[int] = []
    world.hosts.on_run = lambda _target, _key, _ticket: seen.append(serving(world))
    return seen


async def test_a_broken_release_on_all_at_once_leaves_one_serving_and_does_not_wait_for_it() -> None:
    """Before: all five drained; and with a ``min_available`` the last one waited 300 s for what could not come."""
    async with one_instance(5) as world:
        seen = watched(world)
        world.hosts.steps["switch"] = failed(1)
        await world.accept(traffic=True, rollout=ALL_AT_ONCE, defaults=DEFAULTS)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
        assert sorted(world.statuses().values()) == ["failed"] * 4 + ["skipped"]
        assert min(seen) == serving(world) == 1
        assert now() < 30
        (skipped,) = (each for each in result["targets"] if each["status"] == "skipped")
        assert (skipped["failure"], skipped["in_traffic"]) == (None, True)
        ends = [each for each in world.told("target.finished") if each["target"] == skipped["name"]]
        assert [each["status"] for each in ends] == ["skipped"], "its start was told, so its end is"
        assert not [each for each in world.told("step.finished") if each["target"] == skipped["name"]]


async def test_servers_that_are_down_after_a_bad_release_may_be_taken_out_for_a_good_one() -> None:
    async with one_instance(3) as world:
        for server in world.lbs[0].by_name.values():
            server.healthy, server.health = False, 0

        def heal(target: str, key: Any, _ticket: object) -> None:
            if key.step == "verify":
                world.server(target).healthy = True

        world.hosts.on_run = heal
        await world.accept(traffic=True, rollout=ALL_AT_ONCE, defaults=DEFAULTS)
        assert (await world.result())["status"] == "succeeded"
        assert serving(world) == 3


async def test_a_backend_of_one_server_needs_no_other() -> None:
    async with one_instance(1) as world:
        await world.accept(traffic=True, defaults=DEFAULTS)
        assert (await world.result())["status"] == "succeeded"


async def test_zero_is_asked_for_in_so_many_words() -> None:
    async with one_instance(2) as world:
        seen = watched(world)
        await world.accept(traffic=True, rollout={**ALL_AT_ONCE, "min_available": 0}, defaults=DEFAULTS)
        assert (await world.result())["status"] == "succeeded"
        assert min(seen) == 0


async def test_what_an_instance_of_the_release_before_accepted_keeps_its_default() -> None:
    async with one_instance(2) as world:
        seen = watched(world)
        await world.accept(traffic=True, rollout=ALL_AT_ONCE)
        assert (await world.result())["status"] == "succeeded"
        assert min(seen) == 0


@pytest.mark.parametrize("asked", [5, "81%", "100%"])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_more_than_there_can_be_is_refused_before_anything_is_touched(*, asked: int | str, dry_run: bool) -> None:
    """Before: each target waited 300 s in its turn (case template-slots)."""
    async with World(5) as world:
        slots = [FakeServer(f"slot{number}", slot=True) for number in range(10)]
        world.lbs[0] = FakeLoadBalancer("lb1", [*world.lbs[0].by_name.values(), *slots])
        world.instance()
        await world.accept(traffic=True, rollout={"min_available": asked}, dry_run=dry_run)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "haproxy.capacity")
        assert result["failure"]["message"] == (
            f"min_available {asked} asks for 5 servers of backend shop besides the one that is taken out, and the "
            "backend has 5 that count, of 15: 10 are empty slots, without an address: ask for at most 4"
        )
        assert world.lbs[0].told == []
        assert now() < 5


async def test_empty_slots_of_a_template_do_not_count() -> None:
    """Half of five servers are three, whatever else the backend has room for."""
    async with World(5) as world:
        slots = [FakeServer(f"slot{number}", slot=True) for number in range(10)]
        world.lbs[0] = FakeLoadBalancer("lb1", [*world.lbs[0].by_name.values(), *slots])
        world.instance()
        seen = watched(world)
        await world.accept(traffic=True, rollout={"concurrency": 2, "min_available": "50%"})
        assert (await world.result())["status"] == "succeeded"
        assert min(seen) == 3


async def waiting_for_capacity(world: World, **more: Any) -> None:
    """web1 waits: web2, the other server, is drained by somebody else."""
    world.server("web2").admin = AdminState.DRAIN
    await world.accept(traffic=True, targets={"hosts": ["web1"]}, defaults=DEFAULTS, **more)
    await until(lambda: bool(world.told("target.started")))
    await asyncio.sleep(10)


async def test_cancelled_while_it_waits_for_capacity_it_was_not_begun() -> None:
    async with one_instance(2) as world:
        await waiting_for_capacity(world)
        await world.control("cancel")
        asked = now()
        result = await world.result()
        assert (result["status"], world.statuses()) == ("cancelled", {"web1": "skipped"})
        assert now() - asked < CAPACITY_POLL_SECONDS
        assert (world.lbs[0].told, world.shown("web1")) == ([], [READY])


async def test_handed_over_while_it_waits_for_capacity_it_waits_on_elsewhere() -> None:
    async with one_instance(2) as world:
        await waiting_for_capacity(world)
        first = world.instances[0]
        began = now()
        await first.working.drain(60)
        assert now() - began < CAPACITY_POLL_SECONDS
        assert world.row().owner is None
        world.instance()
        world.server("web2").admin = AdminState.READY
        assert (await world.result())["status"] == "succeeded"


async def test_a_server_that_waits_on_the_way_back_keeps_serving_when_that_is_cancelled() -> None:
    """web1 has the new release and serves it; web2 failed and is down, so nothing may be taken from web1."""
    async with one_instance(2) as world:
        world.hosts.steps["web2:switch"] = failed(1)
        world.hosts.steps["web2:switch-back"] = failed(1)
        await world.accept(traffic=True, rollout={"on_failure": "rollback"}, defaults=DEFAULTS)
        await world.told_of("target.started", count=4)
        await asyncio.sleep(10)
        await world.control("cancel")
        result = await world.result()
        assert result["status"] == "cancelled"
        assert (world.shown("web1"), world.shown("web2")) == ([READY], [DRAINED])
        back = [each for each in world.told("target.finished") if each["direction"] == "back"]
        assert [(each["target"], each["status"]) for each in back] == [("web2", "failed"), ("web1", "skipped")]
