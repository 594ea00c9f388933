"""A deployment that outlived its instances is given up, and its targets are left in a known state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.hosts import HANGS, failed
from tests.unit.engine.deployment.situations import BACK, UNREACHABLE, lose, slow_inventory
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, one_instance

from vesemir.engine.ports.hosts import Ticket


async def _outlive(world: World, lives: int) -> None:
    """So many instances die over it; one more comes."""
    for _ in range(lives):
        await _owned(world)
        world.instances[-1].kill()
        world.instance(max_expiries=2)


async def _owned(world: World) -> None:
    """The last instance has it, and is at work."""
    await until(lambda: world.row().owner == world.instances[-1].name)
    await asyncio.sleep(2)


async def test_a_deployment_that_kills_its_instances_is_given_up() -> None:
    async with World(3) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept(traffic=True, rollout={"concurrency": 2})
        await _outlive(world, 3)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "internal.error")
        assert "outlived 2 instances" in result["failure"]["message"]
        assert world.statuses() == {"web1": "unknown", "web2": "unknown", "web3": "skipped"}
        assert [world.shown("web1"), world.shown("web3")] == [[DRAINED], [READY]]
        assert "left drained" in result["targets"][0]["failure"]["message"]
        assert len(world.told("target.finished")) == len(world.told("target.started"))


async def test_given_up_before_its_first_step_a_target_goes_back_into_traffic() -> None:
    async with World(1) as world:
        world.server("web1").sessions = 1
        world.instance(max_expiries=2)
        await world.accept(traffic=True, haproxy={"drain_seconds": 1000})
        await _outlive(world, 3)
        await world.result()
        assert (world.statuses(), world.shown("web1")) == ({"web1": "unknown"}, [READY])


async def test_given_up_before_it_started_nobody_is_asked_any_more() -> None:
    async with World(1) as world:
        slow_inventory(world, 1000)
        world.instance(max_expiries=2)
        await world.accept()
        await _outlive(world, 3)
        result = await world.result()
        assert (result["failure"]["code"], result["targets"]) == ("internal.error", [])
        assert len(world.inventory.asked) == 0


async def test_given_up_in_a_rollback_no_server_stays_drained_unsaid() -> None:
    async with World(2) as world:
        world.instance(max_expiries=2)
        world.hosts.steps |= {"web2:verify": failed(1), "switch-back": HANGS}
        await world.accept(traffic=True, rollout=BACK, timeouts={"step": 1000, "target": 3000})
        await until(lambda: world.hosts.begun("web2", "switch-back"))
        await _outlive(world, 3)
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "unknown"}
        assert world.shown("web2") == [DRAINED]
        assert "left drained" in result["targets"][1]["failure"]["message"]


async def test_a_host_that_is_away_when_it_is_given_up_is_said() -> None:
    async with World(2) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept(traffic=True, rollout={"concurrency": 2})
        await _outlive(world, 2)
        await _owned(world)
        world.hosts.unreachable["web1"] = UNREACHABLE
        plain = world.hosts.open
        world.hosts.open = lambda target, ticket: _stuck(plain, target, ticket)  # type: ignore[assignment,method-assign]
        world.instances[-1].kill()
        world.instance(max_expiries=2)
        targets = (await world.result())["targets"]
        assert "no route to host" in targets[0]["failure"]["message"]
        assert "it did not answer in time" in targets[1]["failure"]["message"]


@asynccontextmanager
async def _stuck(plain: Any, target: Any, ticket: Ticket) -> AsyncIterator[Any]:
    if target.name == "web2":
        await asyncio.Event().wait()
    async with plain(target, ticket) as host:
        yield host


async def test_without_traffic_giving_up_only_ends_what_runs() -> None:
    async with World(1) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept()
        await _outlive(world, 3)
        await world.result()
        assert world.statuses() == {"web1": "unknown"}
        assert world.hosts.running == 0


async def test_a_lease_that_is_lost_while_it_is_given_up_is_no_bug() -> None:
    async with World(1) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept()
        await _outlive(world, 2)
        await _owned(world)
        world.instances[-1].kill()
        last = world.instance(max_expiries=2)
        last.store.dies_with = lambda change: lose(world, change)
        await until(lambda: any("the lease was lost on the way" in line for line in last.log.of("warning")))
        assert last.log.of("exception") == []


async def test_a_recipe_that_the_next_owner_does_not_have() -> None:
    """What the first one left in work is put right, and said."""
    async with one_instance(2) as world:
        world.hosts.step_seconds = 100
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "unpack"))
        world.instances[0].kill()
        del world.book.known["release"]
        world.instance()
        result = await world.result()
        assert result["failure"]["code"] == "request.unknown_recipe"
        assert world.statuses() == {"web1": "unknown", "web2": "skipped"}
        assert world.shown("web1") == [DRAINED]
