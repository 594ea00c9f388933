"""A dry run tells the plan and what is in the way, and changes nothing."""

import pytest
from tests.unit.engine.deployment.situations import UNREACHABLE, lose, never
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import one_instance

from vesemir.domain.step import Direction
from vesemir.domain.traffic import AdminState


async def test_a_dry_run_changes_nothing_and_tells_the_plan() -> None:
    async with one_instance(2) as world:
        await world.accept(traffic=True, dry_run=True)
        result = await world.result()
        assert result["status"] == "succeeded"
        assert result["plan"]["load_balancers"] == ["lb1"]
        assert result["plan"]["targets"][0] == {
            "name": "web1",
            "address": "127.0.0.1",
            "source": "test",
            "server": "shop/web1",
            "steps": ["drain", "unpack", "switch", "verify", "health", "enable"],
            "unchecked": [],
            "taken_out": "",
        }
        assert world.statuses() == {"web1": "skipped", "web2": "skipped"}
        assert {call.what for call in world.hosts.calls} == {"login"}
        assert world.lbs[0].told == []
        assert "dry run finished: succeeded, 0 of 2 targets in " in world.instances[0].log.of("info")[-1]


async def test_a_dry_run_says_what_is_taken_out_of_traffic_already() -> None:
    async with one_instance(2, balancers=2) as world:
        for lb in world.lbs:
            lb.by_name["web2"].admin = AdminState.DRAIN
        await world.accept(traffic=True, dry_run=True)
        targets = (await world.result())["plan"]["targets"]
        assert [target["taken_out"] for target in targets] == ["", "drain on lb1, drain on lb2"]


async def test_a_dry_run_says_what_is_in_the_way() -> None:
    async with one_instance(3) as world:
        world.hosts.unreachable["web2"] = UNREACHABLE
        await world.accept(dry_run=True)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "ssh.unreachable")
        assert world.statuses()["web2"] == "unreachable"
        assert result["plan"]["targets"][0]["server"] is None


async def test_a_host_that_does_not_answer_is_in_the_way_too() -> None:
    async with one_instance(1) as world:
        world.hosts.login = never  # type: ignore[assignment,method-assign]
        await world.accept(dry_run=True, timeouts={"target": 30})
        assert (await world.result())["failure"]["code"] == "target.timed_out"


@pytest.mark.parametrize("how", ["cancel", "time", "hand over", "kill"])
async def test_a_dry_run_obeys_like_any_other(how: str) -> None:
    async with one_instance(2) as world:
        login = world.hosts.login
        world.hosts.unreachable["web2"] = UNREACHABLE
        world.hosts.login = lambda target, ticket: (
            never(target, ticket) if target.name == "web1" else login(target, ticket)
        )  # type: ignore[assignment,method-assign]
        await world.accept(dry_run=True, timeouts={"deployment": 100})
        await until(
            lambda: (Direction.FORWARD, "web2") in world.row().targets and world.state("web2").value != "pending"
        )
        first = world.instances[0]
        if how == "cancel":
            await world.control("cancel")
        elif how == "hand over":
            await first.working.drain(20)
        elif how == "kill":
            first.kill()
        if how in {"hand over", "kill"}:
            world.hosts.login = login  # type: ignore[method-assign]
            world.instance()
        result = await world.result()
        assert result["status"] == {"cancel": "cancelled", "time": "timed_out"}.get(how, "failed")
        assert world.statuses()["web2"] == "unreachable"


async def test_a_lease_that_is_lost_in_a_dry_run_is_no_bug() -> None:
    async with one_instance(1) as world:
        world.hosts.unreachable["web1"] = UNREACHABLE
        first = world.instances[0]
        first.store.dies_with = lambda change: lose(world, change)
        await world.accept(dry_run=True)
        await until(lambda: first.log.of("warning"))
        assert first.log.of("exception") == []
