"""Finished targets are looked at again by HAProxy: when, what is a failure and what is not, and what becomes of it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.unit.engine.deployment.situations import BACK, now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import READY, World, one_instance

from vesemir.domain.failure import FailureCode
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction
from vesemir.domain.traffic import AdminState, ServerState
from vesemir.engine.ports.changes import Regress
from vesemir.engine.traffic.traffic import Traffic


async def accept(world: World, **rollout: Any) -> None:
    await world.accept(traffic=True, rollout={"min_available": 0, **rollout})


def die(world: World, name: str) -> None:
    """Its application does not answer any more, and HAProxy has seen it."""
    for lb in world.lbs:
        lb.by_name[name].healthy, lb.by_name[name].health = False, 0


async def is_done(world: World, *names: str) -> None:
    await until(lambda: all(world.statuses_now().get(name) == "succeeded" for name in names))


def regressed(world: World) -> list[str]:
    return [event["target"] for event in world.told("target.regressed")]


async def test_one_that_died_is_found_before_the_next_batch() -> None:
    async with one_instance(3) as world:
        await accept(world, max_failures=0)
        await until(lambda: world.statuses_now().get("web2") == "running")
        die(world, "web1")
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
        assert world.statuses() == {"web1": "failed", "web2": "succeeded", "web3": "skipped"}
        (event,) = world.told("target.regressed")
        assert (event["target"], event["in_traffic"], event["failure"]["code"]) == ("web1", False, "health.failed")
        assert event["failure"]["message"] == (
            "web1 was deployed and is not UP any more: HAProxy shows 'DOWN' on lb1; look at the application's log on "
            "the target; its server web1 is left ready: HAProxy's checks keep it out of traffic while it is DOWN and "
            "take it back when it recovers"
        )
        assert result["targets"][0]["failure"] == event["failure"]
        assert [target["in_traffic"] for target in result["targets"]] == [False, True, True]
        assert world.row().targets[Direction.FORWARD, "web1"].in_traffic is False
        assert (result["metrics"]["targets_failed"], result["metrics"]["targets_succeeded"]) == (1, 1)
        assert world.shown("web1") == [READY]
        assert world.record.left_drained == {}


@pytest.mark.parametrize("where", ["pause_seconds", "approval", "by hand"])
async def test_one_that_dies_in_a_pause_is_found_within_seconds(where: str) -> None:
    """By hand: what is rolled back is not waited for until somebody resumes."""
    async with one_instance(3) as world:
        more = {"pause_seconds": {"pause_seconds": 600}, "approval": {"approve_after": "batch"}}.get(where, {})
        await accept(world, **BACK, **more)
        if where == "by hand":
            await until(lambda: world.statuses_now().get("web1") == "running")
            await world.control("pause")
        await is_done(world, "web1")
        await asyncio.sleep(33)
        die(world, "web1")
        died = now()
        await world.told_of("target.regressed")
        assert now() - died < 5 + 2 + 0.2
        world.server("web1").healthy = True
        result = await world.result()
        assert result["status"] == "rolled_back"
        assert world.statuses() == {"web1": "rolled_back", "web2": "skipped", "web3": "skipped"}
        assert world.names().count("deployment.resumed") == 0


async def dead_once_done(world: World, name: str) -> None:
    await is_done(world, name)
    die(world, name)


def on_done(world: World, name: str, then: Callable[[], None]) -> None:
    """In the very moment in which it has succeeded, before anything else is done."""

    def finished(status: TargetState, *_: object, **__: object) -> None:
        if world.statuses_now().get(name) == status.value == "succeeded":
            then()

    world.meters.target_finished = finished  # type: ignore[method-assign]


@pytest.mark.parametrize(("on_failure", "ended"), [("stop", "failed"), ("rollback", "rolled_back")])
async def test_the_last_one_is_looked_at_before_the_end(on_failure: str, ended: str) -> None:
    async with one_instance(2) as world:
        on_done(world, "web2", lambda: die(world, "web2"))
        await accept(world, on_failure=on_failure)
        await world.told_of("target.regressed")
        world.server("web2").healthy = True
        assert (await world.result())["status"] == ended
        assert regressed(world) == ["web2"]


async def test_one_that_is_up_again_two_seconds_later_is_well() -> None:
    async with one_instance(2) as world:
        await accept(world, pause_seconds=20)
        await is_done(world, "web1")
        await asyncio.sleep(4)
        die(world, "web1")
        await asyncio.sleep(2)
        world.server("web1").healthy, world.server("web1").health = True, 4
        assert (await world.result())["status"] == "succeeded"
        assert regressed(world) == []


def drained(world: World) -> None:
    world.server("web1").admin = AdminState.DRAIN


def in_maint(world: World) -> None:
    world.server("web1").admin = AdminState.MAINT


def at_weight_0(world: World) -> None:
    world.server("web1").user_weight = 0


def gone(world: World) -> None:
    del world.lbs[0].by_name["web1"]


def haproxy_away(world: World) -> None:
    world.lbs[0].away = True


@pytest.mark.parametrize("since", [drained, in_maint, at_weight_0, gone, haproxy_away])
async def test_what_somebody_took_out_since_or_cannot_be_asked_is_no_failure(since: Any) -> None:
    async with one_instance(2) as world:
        await accept(world, pause_seconds=20)
        await is_done(world, "web1")
        die(world, "web1")
        since(world)
        await asyncio.sleep(15)
        world.lbs[0].away = False
        if since is haproxy_away:
            world.server("web1").healthy, world.server("web1").health = True, 4
        await world.result()
        assert regressed(world) == []
        assert world.statuses() == {"web1": "succeeded", "web2": "succeeded"}


async def test_down_on_one_load_balancer_is_down_though_another_is_away() -> None:
    async with one_instance(2, balancers=2) as world:
        await accept(world, pause_seconds=60)
        await is_done(world, "web1")
        die(world, "web1")
        world.lbs[0].away = True
        event = await world.told_of("target.regressed")
        assert "HAProxy shows 'DOWN' on lb2;" in event["failure"]["message"]
        await world.result()


async def test_a_canary_that_died_is_a_canary_that_failed() -> None:
    async with one_instance(3) as world:
        await accept(world, canary=1, max_failures=2, pause_seconds=10)
        await dead_once_done(world, "web1")
        result = await world.result()
        assert (result["status"], result["failure"]["message"]) == (
            "failed",
            "the canary failed: web1; its own failure says why",
        )
        assert world.statuses() == {"web1": "failed", "web2": "skipped", "web3": "skipped"}


async def test_as_many_as_max_failures_may_die() -> None:
    async with one_instance(3) as world:
        await accept(world, max_failures=1, pause_seconds=10)
        await dead_once_done(world, "web1")
        result = await world.result()
        assert (result["status"], result["failure"]) == ("succeeded", None)
        assert world.statuses() == {"web1": "failed", "web2": "succeeded", "web3": "succeeded"}


async def test_continued_the_others_are_done_and_the_deployment_fails() -> None:
    async with one_instance(3) as world:
        await accept(world, on_failure="continue", pause_seconds=10)
        await dead_once_done(world, "web1")
        assert (await world.result())["status"] == "failed"
        assert world.statuses() == {"web1": "failed", "web2": "succeeded", "web3": "succeeded"}


async def test_not_during_a_rollback() -> None:
    async with one_instance(4) as world:
        await accept(world, **BACK, pause_seconds=1)
        world.hosts.steps["web3:switch"] = failed(1)
        await until(lambda: world.statuses_now().get("web3") == "failed")
        die(world, "web2")
        await until(lambda: world.row().targets.get(("back", "web1")) is not None)
        await asyncio.sleep(3)
        world.server("web2").healthy = True
        assert (await world.result())["status"] == "rolled_back"
        assert regressed(world) == []


async def between_two_looks(world: World, *, seconds: float = 3600) -> float:
    """web1 was seen to be DOWN once, so many seconds after the request. ``seconds`` are the deployment's."""
    world.instance()
    began = now()
    rollout = {"min_available": 0, "pause_seconds": 600}
    await world.accept(traffic=True, rollout=rollout, timeouts={"deployment": seconds})
    await is_done(world, "web1")
    looked = count_looks(world)
    die(world, "web1")
    await until(lambda: looked["lb1"])
    return now() - began


async def test_not_once_it_is_cancelled() -> None:
    async with World(2) as world:
        await between_two_looks(world)
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"
        await asyncio.sleep(10)
        assert regressed(world) == []
        assert world.statuses() == {"web1": "succeeded", "web2": "skipped"}


async def test_not_once_it_is_timed_out() -> None:
    async with World(2) as world:
        seconds = await between_two_looks(world)
    async with World(2) as world:
        await between_two_looks(world, seconds=seconds + 1)
        assert (await world.result())["status"] == "timed_out"
        assert regressed(world) == []


def count_looks(world: World) -> Counter[str]:
    """How often each HAProxy is asked for its servers from now on."""
    asked: Counter[str] = Counter()
    for lb in world.lbs:
        plain = lb.servers

        async def servers(backend: str, *, name: str = lb.name, plain: Any = plain) -> Mapping[str, ServerState]:
            asked[name] += 1
            found: Mapping[str, ServerState] = await plain(backend)
            return found

        lb.servers = servers  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("count", [2, 40])
async def test_a_look_is_one_reading_per_load_balancer_however_many_targets(count: int) -> None:
    async with one_instance(count + 1, balancers=2) as world:
        await accept(world, canary=count, concurrency=count, approve_after="canary")
        await world.told_of("deployment.paused")
        looked = count_looks(world)
        await asyncio.sleep(60.5)
        assert looked == {"lb1": 12, "lb2": 12}


async def test_in_a_window_it_is_looked_before_starts_but_every_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    plain = Traffic.not_up

    async def not_up(traffic: Traffic, names: Iterable[str]) -> Mapping[str, str]:
        looks.append(now())
        return await plain(traffic, names)

    monkeypatch.setattr(Traffic, "not_up", not_up)
    async with one_instance(30) as world:
        world.hosts.step_seconds = 0.2
        await accept(world, mode="window", concurrency=2)
        assert (await world.result())["status"] == "succeeded"
        finished = [event["sequence"] for event in world.told("target.finished")]
        assert len(finished) > 2 * len(looks)
    *before_starts, _before_the_end = looks
    assert len(before_starts) >= 4
    assert min(later - earlier for earlier, later in pairwise(before_starts)) >= 2


@pytest.mark.parametrize("after_it", [False, True])
async def test_the_next_owner_knows_what_regressed_or_finds_it_again(*, after_it: bool) -> None:
    async with World(3) as world:
        first = world.instance()
        first.store.dies_with, first.store.after_it = lambda change: isinstance(change, Regress), after_it
        await accept(world, **BACK, pause_seconds=20)
        await dead_once_done(world, "web1")
        await until(lambda: not first.alive)
        world.instance()
        await until(lambda: world.row().state.value == "rolling_back")
        world.server("web1").healthy = True
        assert (await world.result())["status"] == "rolled_back"
        assert regressed(world) == ["web1"]
        assert world.row().targets["forward", "web1"].state is TargetState.FAILED  # type: ignore[index]


async def test_the_code_of_a_regressed_target_counts_in_the_meters() -> None:
    async with one_instance(2) as world:
        counted: list[tuple[TargetState, FailureCode | None]] = []
        world.meters.target_finished = lambda status, code, **_: counted.append((status, code))  # type: ignore[method-assign]
        await accept(world, pause_seconds=10)
        await dead_once_done(world, "web1")
        await world.result()
        assert counted[:2] == [(TargetState.SUCCEEDED, None), (TargetState.FAILED, FailureCode.HEALTH_FAILED)]
