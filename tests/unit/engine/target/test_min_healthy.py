"""How long a target must stay well before it is done (``rollout.min_healthy_seconds``)."""

import asyncio
from typing import Any

import pytest
from tests.fakes.hosts import SUCCEEDED, failed
from tests.unit.engine.deployment.situations import now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, one_instance, words

from vesemir.domain.recipe import Check, Recipe, Step

CHECKED = Recipe(
    "checked",
    steps=(Step("check", Check(words("check"), interval=5.0)), Step("notify", words("notify"))),
    rollback=(Step("back", words("back")), Step("check-back", Check(words("check"), interval=5.0))),
)
AGAIN = "check.again"


def steps_of(world: World, target: str) -> list[str]:
    return [each["step"] for each in world.told("step.finished") if each["target"] == target]


async def back_in_traffic(world: World, target: str = "web1") -> None:
    await until(lambda: "enable" in steps_of(world, target))


def waited(world: World, target: str = "web1") -> float:
    """What is left of its seconds without its steps; the three of the recipe take one each, though they say 0."""
    (end,) = [each for each in world.told("target.finished") if each["target"] == target]
    steps = [each["duration_seconds"] for each in world.told("step.finished") if each["target"] == target]
    return float(end["duration_seconds"] - 3 - sum(steps))


async def accept(world: World, seconds: float, *, haproxy: dict[str, Any] | None = None, **more: Any) -> None:
    rollout = {"min_available": 0, "min_healthy_seconds": seconds, **more.pop("rollout", {})}
    await world.accept(traffic=True, haproxy=haproxy or {}, rollout=rollout, **more)


async def test_a_batch_waits_together() -> None:
    async with one_instance(4) as world:
        await accept(world, 100, rollout={"concurrency": 2})
        assert (await world.result())["status"] == "succeeded"
        assert 200 < now() < 215
        assert waited(world) == pytest.approx(100, abs=0.5)


async def test_holds_at_a_weight_count_towards_it() -> None:
    async with one_instance(1) as world:
        await accept(world, 100, haproxy={"weight": [5, 25], "degradation_seconds": 30})
        await world.result()
        assert waited(world) == pytest.approx(40, abs=1)
        assert 100 < now() < 106


@pytest.mark.parametrize(("seconds", "more"), [(50, 0), (61, 1), (100, 40)])
async def test_so_does_the_analysis(seconds: float, more: float) -> None:
    async with one_instance(2) as world:
        analysis = {"min_requests": 0, "hold_seconds": 60, "max_error_ratio": 0.5}
        await accept(world, seconds, rollout={"canary": 1, "analysis": analysis})
        await world.told_of("target.finished")
        assert waited(world) == pytest.approx(more, abs=0.5)


async def test_one_that_goes_down_in_that_time_has_failed_and_is_left_drained() -> None:
    async with one_instance(2) as world:
        await accept(world, 60)
        await back_in_traffic(world)
        await asyncio.sleep(30)
        world.server("web1").healthy, world.server("web1").health = False, 0
        died = now()
        assert (await world.result())["status"] == "failed"
        assert now() - died < 2
        assert world.statuses() == {"web1": "failed", "web2": "skipped"}
        failure = world.told("target.finished")[0]["failure"]
        assert failure["code"] == "haproxy.not_up"
        assert "web1 did not stay UP while it had 100 % of its weight" in failure["message"]
        assert "its server web1 is left drained on lb1" in failure["message"]
        assert world.shown("web1") == [DRAINED]


async def test_it_does_not_count_in_the_targets_time() -> None:
    async with one_instance(1) as world:
        await accept(world, 600, timeouts={"target": 10})
        assert (await world.result())["status"] == "succeeded"


async def test_one_that_somebody_else_keeps_out_does_not_wait_to_be_up() -> None:
    async with one_instance(1) as world:
        for lb in world.lbs:
            lb.by_name["web1"].admin = DRAINED[0]
        await accept(world, 3600)
        assert (await world.result())["status"] == "succeeded"
        assert now() < 60


async def test_an_owner_that_goes_on_counts_anew() -> None:
    async with World(1) as world:
        first = world.instance()
        await accept(world, 300)
        await back_in_traffic(world)
        await asyncio.sleep(200)
        first.kill()
        world.instance()
        await world.told_of("deployment.taken_over")
        taken_over = now()
        assert (await world.result())["status"] == "succeeded"
        assert 299 <= now() - taken_over < 305
        assert steps_of(world, "web1").count("enable") == 1
        assert world.shown("web1") == [READY]


async def test_it_does_not_hold_up_an_instance_that_stops() -> None:
    async with World(1) as world:
        first = world.instance()
        await accept(world, 600)
        await back_in_traffic(world)
        began = now()
        await first.working.drain(600)
        assert now() - began < 3
        first.kill()
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert now() - began > 600


async def test_a_cancel_ends_it_at_once() -> None:
    async with one_instance(2) as world:
        await accept(world, 3600)
        await back_in_traffic(world)
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"
        assert world.statuses() == {"web1": "cancelled", "web2": "skipped"}
        assert now() < 60


async def test_on_the_way_back_too() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["web2:switch"] = failed(1)
        await accept(world, 100, rollout={"on_failure": "rollback"})
        assert (await world.result())["status"] == "rolled_back"
        assert 300 < now() < 330


# --- without HAProxy --------------------------------------------------------------------------------------------------


async def plain(world: World, seconds: float, **rollout: Any) -> None:
    world.instance()
    await world.accept(recipe="checked", rollout={"min_healthy_seconds": seconds, **rollout}, timeouts={"target": 20})


def asked(world: World, name: str = "web1") -> int:
    """How often its last check was asked again."""
    return world.hosts.ran(AGAIN).count(name)


async def test_it_must_keep_passing_its_last_check() -> None:
    """Counted from its passed check, a second before; not in the target's time."""
    async with World(1, recipes=(CHECKED,)) as world:
        await plain(world, 60)
        await world.told_of("target.finished")
        assert 60 < now() < 80
        assert 8 <= asked(world) <= 11
        assert (await world.result())["status"] == "succeeded"


async def test_one_that_stops_to_pass_has_failed() -> None:
    async with World(2, recipes=(CHECKED,)) as world:
        world.hosts.steps[f"web1:{AGAIN}"] = [SUCCEEDED, SUCCEEDED, failed(1, b"refused\n")]
        await plain(world, 60)
        assert (await world.result())["status"] == "failed"
        assert world.statuses() == {"web1": "failed", "web2": "skipped"}
        failure = world.told("target.finished")[0]["failure"]
        assert failure["code"] == "health.failed"
        assert failure["message"] == (
            "web1 did not stay well for rollout.min_healthy_seconds: its check check passed, and then did not any "
            "more: ended with 1: refused; look at the application's log on the target"
        )


async def test_its_rollback_is_checked_by_its_own_check() -> None:
    async with World(2, recipes=(CHECKED,)) as world:
        world.hosts.steps["web2:check"] = failed(1)
        await plain(world, 60, on_failure="rollback")
        assert (await world.result())["status"] == "rolled_back"
        assert world.hosts.ran("check-back.again").count("web1") >= 8


async def test_an_owner_that_goes_on_without_haproxy_counts_anew() -> None:
    async with World(1, recipes=(CHECKED,)) as world:
        await plain(world, 300)
        await until(lambda: asked(world) > 10)
        world.instances[0].kill()
        world.instance()
        await world.told_of("deployment.taken_over")
        taken_over = now()
        assert (await world.result())["status"] == "succeeded"
        assert 299 <= now() - taken_over < 320
        assert steps_of(world, "web1") == ["check", "notify"]


async def test_an_instance_that_stops_leaves_it_to_the_next() -> None:
    async with World(1, recipes=(CHECKED,)) as world:
        await plain(world, 3600)
        await until(lambda: asked(world) > 3)
        began = now()
        await world.instances[0].working.drain(600)
        assert now() - began < 3
        assert world.statuses_now() == {"web1": "running"}
