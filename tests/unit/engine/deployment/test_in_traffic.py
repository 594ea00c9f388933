"""What a target's server really is at its end stands in its event, in the result and in the record."""

import asyncio
from typing import Any

import pytest
from tests.unit.engine.deployment.situations import UNREACHABLE, slow_inventory
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import READY, World, one_instance

from vesemir.domain.step import Direction, StepResult, StepStatus
from vesemir.domain.traffic import AdminState
from vesemir.domain.traffic_prior import LEFT_DRAINED

BROKEN = StepResult(StepStatus.FAILED, 1, b"no", 2)
Seen = dict[str, bool | None]


def in_result(result: dict[str, Any]) -> Seen:
    return {target["name"]: target["in_traffic"] for target in result["targets"]}


def in_events(world: World) -> Seen:
    return {event["target"]: event["in_traffic"] for event in world.told("target.finished")}


def in_record(world: World) -> Seen:
    rows = world.row().targets
    return {name: row.in_traffic for (direction, name), row in rows.items() if direction is Direction.FORWARD}


async def test_a_target_that_succeeded_serves_and_one_that_somebody_took_out_does_not() -> None:
    async with one_instance(3, balancers=2) as world:
        await world.lbs[1].set_state("shop", "web2", AdminState.DRAIN)
        world.server("web3").user_weight = 0
        await world.accept(traffic=True)
        result = await world.result()
        assert set(world.statuses().values()) == {"succeeded"}
        assert in_result(result) == in_events(world) == in_record(world) == {"web1": True, "web2": False, "web3": False}


async def test_a_failed_target_has_none_and_those_that_were_not_begun_are_read_once_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with one_instance(4) as world:
        world.hosts.steps["switch"] = BROKEN
        world.server("web3").healthy = False
        world.server("web3").health = 0
        await world.accept(traffic=True)
        await until(lambda: world.told("target.finished") != [])
        looks, servers = [], world.lbs[0].servers

        async def counted(backend: str) -> Any:
            looks.append(backend)
            return await servers(backend)

        monkeypatch.setattr(world.lbs[0], "servers", counted)
        result = await world.result()
        assert world.statuses() == {"web1": "failed", "web2": "skipped", "web3": "skipped", "web4": "skipped"}
        assert in_events(world) == {"web1": False}
        assert LEFT_DRAINED in result["targets"][0]["failure"]["message"]
        expected = {"web1": False, "web2": True, "web3": False, "web4": True}
        assert in_result(result) == in_record(world) == expected
        assert len(looks) <= 1


async def test_one_that_was_put_back_as_it_was_is_read_again() -> None:
    async with one_instance(2) as world:
        world.server("web1").sessions = 1
        await world.lbs[0].set_state("shop", "web2", AdminState.MAINT)
        world.hosts.unreachable["web2"] = UNREACHABLE
        await world.accept(traffic=True, rollout={"max_failures": 2})
        await world.result()
        assert world.statuses() == {"web1": "failed", "web2": "unreachable"}
        assert world.shown("web1") == [READY]
        assert in_events(world) == {"web1": True, "web2": False}


async def test_the_targets_of_a_rollback_tell_it_too() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["web2:switch"] = BROKEN
        await world.accept(traffic=True, rollout={"on_failure": "rollback"})
        result = await world.result()
        assert result["status"] == "rolled_back"
        told = [(event["target"], event["direction"], event["in_traffic"]) for event in world.told("target.finished")]
        assert told[:2] == [("web1", "forward", True), ("web2", "forward", False)]
        assert sorted(told[2:]) == [("web1", "back", True), ("web2", "back", True)]
        assert in_result(result) == {"web1": True, "web2": True}


async def test_without_haproxy_nothing_is_said() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["web2:switch"] = BROKEN
        await world.accept()
        result = await world.result()
        assert in_result(result) == {"web1": None, "web2": None}
        assert in_events(world) == {"web1": None, "web2": None}


async def test_where_haproxy_cannot_be_asked_nothing_is_said() -> None:
    async with one_instance(2, balancers=2) as world:
        world.lbs[1].away = True
        await world.accept(traffic=True)
        result = await world.result()
        assert world.statuses() == {"web1": "failed", "web2": "skipped"}
        assert in_result(result) == {"web1": None, "web2": None}


async def test_a_load_balancer_that_hangs_holds_the_end_up_no_longer_than_settle_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the other one says is enough to know that a server gets no traffic."""

    async def hangs(_backend: str) -> Any:
        await asyncio.Event().wait()

    async with one_instance(3, balancers=2) as world:
        await world.lbs[0].set_state("shop", "web3", AdminState.DRAIN)
        await world.accept(traffic=True, rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        monkeypatch.setattr(world.lbs[1], "servers", hangs)
        await world.control("cancel")
        async with asyncio.timeout(40):
            result = await world.result()
        assert in_result(result) == {"web1": True, "web2": None, "web3": False}


async def test_a_cancelled_deployment_tells_of_those_that_were_not_begun() -> None:
    async with one_instance(2) as world:
        world.hosts.step_seconds = 100
        await world.accept(traffic=True)
        await world.told_of("target.started")
        await world.control("cancel")
        result = await world.result()
        assert world.statuses() == {"web1": "cancelled", "web2": "skipped"}
        assert in_result(result)["web2"] is True


async def test_a_dry_run_tells_what_is_there_now() -> None:
    async with one_instance(2) as world:
        await world.lbs[0].set_state("shop", "web1", AdminState.DRAIN)
        world.hosts.unreachable["web2"] = UNREACHABLE
        await world.accept(traffic=True, dry_run=True)
        result = await world.result()
        assert in_result(result) == in_record(world) == {"web1": False, "web2": True}
        assert world.lbs[0].told == ["web1 state drain"]


async def test_given_up_a_target_is_read_too() -> None:
    async with World(2) as world:
        world.instance(max_expiries=1)
        world.hosts.step_seconds = 100
        await world.accept(traffic=True)
        for _ in range(2):
            await until(lambda: world.row().owner == world.instances[-1].name)
            await asyncio.sleep(2)
            world.instances[-1].kill()
            world.instance(max_expiries=1)
        result = await world.result()
        assert world.statuses() == {"web1": "unknown", "web2": "skipped"}
        assert in_result(result) == {"web1": False, "web2": True}


async def test_before_its_targets_are_known_there_is_nothing_to_ask() -> None:
    async with one_instance(1) as world:
        slow_inventory(world, 1000)
        await world.accept(traffic=True)
        await until(lambda: world.row().owner is not None)
        await world.control("cancel")
        assert (await world.result())["targets"] == []


async def test_what_an_earlier_owner_recorded_is_told_in_the_result() -> None:
    async with one_instance(2) as world:
        world.hosts.step_seconds = 50
        await world.accept(traffic=True)
        await world.told_of("target.started", count=2)
        assert in_record(world) == {"web1": True, "web2": None}
        world.instances[0].kill()
        await world.lbs[0].set_state("shop", "web1", AdminState.DRAIN)
        world.instance()
        assert in_result(await world.result()) == {"web1": True, "web2": True}
