"""Without HAProxy finished targets are looked at again by the recipe's last check, and only where the contract asks."""

import asyncio
from typing import Any

import pytest
from tests.fakes.hosts import SUCCEEDED, failed
from tests.unit.engine.deployment.situations import UNREACHABLE, now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import World, words

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.recipe import Check, Recipe, Step

FIRST = Step("first-check", Check(words("first-check")))
CHECKED = Recipe("checked", steps=(FIRST, Step("check", Check(words("check"))), Step("notify", words("notify"))))
UNCHECKED = Recipe("unchecked", steps=(Step("switch", words("switch")),))
AGAIN = "check.again"
SICK = failed(1, b"connection refused\n")


async def accept(world: World, *, recipe: str = "checked", **rollout: Any) -> None:
    world.instance()
    await world.accept(recipe=recipe, rollout=rollout)


def a_world(count: int) -> World:
    return World(count, recipes=(CHECKED, UNCHECKED))


def looked_at(world: World) -> list[str]:
    assert not world.hosts.ran("first-check.again"), "the last check tells"
    return world.hosts.ran(AGAIN)


async def test_those_of_the_batch_before_and_all_once_before_the_end() -> None:
    async with a_world(6) as world:
        await accept(world, concurrency=2)
        assert (await world.result())["status"] == "succeeded"
        assert [sorted(looked_at(world)[:2]), sorted(looked_at(world)[2:4])] == [["web1", "web2"], ["web3", "web4"]]
        assert sorted(looked_at(world)[4:]) == [f"web{number}" for number in range(1, 7)]
        assert not [event for event in world.told("step.finished") if event["step"] == AGAIN]
        assert len(world.row().steps) == 6 * 3


async def test_all_every_minute_in_a_pause() -> None:
    async with a_world(4) as world:
        await accept(world, concurrency=1, canary=2, approve_after="canary")
        await world.told_of("deployment.paused")
        seen = len(looked_at(world))
        began = now()
        await until(lambda: len(looked_at(world)) == seen + 2)
        assert 60 <= now() - began < 62
        await until(lambda: len(looked_at(world)) == seen + 4)
        assert 120 <= now() - began < 123


async def test_one_whose_check_fails_twice_is_a_failure() -> None:
    async with a_world(3) as world:
        world.hosts.steps[f"web1:{AGAIN}"] = SICK
        await accept(world)
        assert (await world.result())["status"] == "failed"
        assert world.statuses() == {"web1": "failed", "web2": "skipped", "web3": "skipped"}
        (event,) = world.told("target.regressed")
        assert (event["failure"]["code"], event["in_traffic"]) == ("health.failed", None)
        assert event["failure"]["message"] == (
            "web1 was deployed and its check check does not pass any more: ended with 1: connection refused; it is "
            "left as it is"
        )


async def test_one_that_passes_the_second_time_is_well() -> None:
    async with a_world(2) as world:
        world.hosts.steps[f"web1:{AGAIN}"] = [SICK, SUCCEEDED, SICK, SUCCEEDED]
        await accept(world)
        assert (await world.result())["status"] == "succeeded"
        assert looked_at(world) == ["web1", "web1", "web1", "web2", "web1"]


@pytest.mark.parametrize(
    "reason",
    [UNREACHABLE, FailedError(FailureCode.TARGET_BUSY, "another session works there")],
    ids=["unreachable", "busy"],
)
async def test_a_host_that_cannot_be_asked_is_no_failure(reason: FailedError) -> None:
    async with a_world(2) as world:
        await accept(world, pause_seconds=30)
        await until(lambda: world.statuses_now().get("web1") == "succeeded")
        world.hosts.unreachable["web1"] = reason
        assert (await world.result())["status"] == "succeeded"


async def test_a_recipe_without_a_check_has_nothing_to_look_at() -> None:
    async with a_world(2) as world:
        await accept(world, recipe="unchecked", pause_seconds=300, min_healthy_seconds=60)
        assert (await world.result())["status"] == "succeeded"
        assert 300 < now() < 310
        assert [call.target for call in world.hosts.calls if call.what == "open"] == ["web1", "web2"]


async def test_a_claim_that_a_host_knows_better_of_ends_the_look_too() -> None:
    """The lease is lost as it is in a step; the owner that comes looks again."""
    async with a_world(2) as world:
        await accept(world, pause_seconds=5)
        await until(lambda: world.statuses_now().get("web1") == "succeeded")
        row = world.row()
        row.epoch = world.record.rows["d1"].epoch = row.epoch + 1
        world.hosts.box("web1").epochs["shop/production"] = row.epoch
        await asyncio.sleep(20)
        assert world.statuses_now() == {"web1": "succeeded", "web2": "pending"}
        assert not world.bugs()
