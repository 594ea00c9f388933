"""A canary in traffic is judged by HAProxy's counters: held, told, failed, and what becomes of the rollout then."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, one_instance

from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.engine.ports.changes import Change, RecordStep

ALL_STEPS = ["drain", "unpack", "switch", "verify", "health", "enable", "analysis"]
ANALYSIS = {"min_requests": 200, "hold_seconds": 60, "max_error_ratio": 0.01}
GOOD, FLAKY = (20, 0), (20, 2)
"""Requests and errors among them between two looks."""


def loaded(world: World, **loads: tuple[int, int]) -> None:
    """Every server has traffic; those that are named have another."""
    for lb in world.lbs:
        for name, server in lb.by_name.items():
            server.load = loads.get(name, GOOD)


async def accept(world: World, *, analysis: dict[str, Any] | None = None, **more: Any) -> None:
    rollout = {
        "canary": 1,
        "analysis": ANALYSIS if analysis is None else ANALYSIS | analysis,
        **more.pop("rollout", {}),
    }
    await world.accept(traffic=True, rollout=rollout, **more)


def steps_of(world: World, target: str) -> list[tuple[str, str]]:
    return [(each["step"], each["status"]) for each in world.told("step.finished") if each["target"] == target]


def analyses(world: World) -> list[dict[str, Any]]:
    return [each for each in world.told("step.finished") if each["step"] == "analysis"]


async def in_the_hold(world: World, target: str = "web1") -> None:
    """Back at 100 %, the step ``enable`` recorded, and some of the hold over."""
    await until(lambda: ("enable", "succeeded") in steps_of(world, target))
    await asyncio.sleep(10)


async def test_a_good_canary_is_held_then_passes_and_the_others_are_not_judged() -> None:
    async with one_instance(3) as world:
        loaded(world)
        await accept(world)
        assert (await world.result())["status"] == "succeeded"
        assert steps_of(world, "web1") == [(step, "succeeded") for step in ALL_STEPS]
        assert steps_of(world, "web2") == [(step, "succeeded") for step in ALL_STEPS[:-1]]
        (analysis,) = analyses(world)
        assert analysis["duration_seconds"] == pytest.approx(60, abs=0.1)
        assert analysis["output"].startswith(
            "pass: web1 had 0 errors in 1200 requests (0 %), its 2 siblings 0 errors in 2400 requests (0 %)\n"
        )
        told = world.names()
        assert told.index("target.finished") < told.index("target.started", told.index("target.started") + 1)


async def test_a_regression_ends_the_hold_at_once_and_stops_the_rollout() -> None:
    async with one_instance(5) as world:
        loaded(world, web1=FLAKY)
        await accept(world)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "canary.regressed")
        assert list(world.statuses().values()) == ["failed", "skipped", "skipped", "skipped", "skipped"]
        (analysis,) = analyses(world)
        assert (analysis["status"], analysis["duration_seconds"] < 10) == ("failed", True)
        assert "\n5xx  " in analysis["output"]
        failure = result["targets"][0]["failure"]
        assert failure["code"] == "canary.regressed"
        assert failure["runbook"] == "docs/runbook.md#canary-regressed"
        assert failure["message"].startswith("the canary regressed: web1 had ")
        assert "its server web1 is left drained on lb1" in failure["message"]
        assert result["failure"]["message"].startswith("the canary regressed: web1 had "), "the numbers are there too"
        assert world.shown("web1") == [DRAINED]


async def test_rolled_back_the_canary_serves_again_and_is_not_judged_on_the_way_back() -> None:
    async with one_instance(3) as world:
        loaded(world, web1=FLAKY)
        await accept(world, rollout={"on_failure": "rollback"})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("rolled_back", "canary.regressed")
        assert world.statuses() == {"web1": "rolled_back", "web2": "skipped", "web3": "skipped"}
        assert len(analyses(world)) == 1
        assert world.shown("web1") == [READY]
        assert "left drained" not in result["failure"]["message"], "it is not any more"
        (turned,) = world.told("deployment.rolling_back")
        assert turned["failure"]["code"] == "canary.regressed"


async def test_continued_the_others_are_done_too_and_it_fails_all_the_same() -> None:
    async with one_instance(3) as world:
        loaded(world, web1=FLAKY)
        await accept(world, rollout={"on_failure": "continue"})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "canary.regressed")
        assert world.statuses() == {"web1": "failed", "web2": "succeeded", "web3": "succeeded"}


async def test_a_regression_on_the_ramp_never_gets_all_the_traffic() -> None:
    async with one_instance(3) as world:
        loaded(world, web1=FLAKY)
        await accept(world, haproxy={"weight": [5, 25], "degradation_seconds": 30})
        assert (await world.result())["failure"]["code"] == "canary.regressed"
        assert steps_of(world, "web1")[-2:] == [("enable", "failed"), ("analysis", "failed")]
        (enable,) = [each for each in world.told("step.finished") if each["step"] == "enable"]
        assert enable["output"] == world.told("target.finished")[0]["failure"]["message"].partition("; its server")[0]
        (analysis,) = analyses(world)
        assert "held: 5 % for " in analysis["output"]
        told = world.lbs[0].told
        assert "web1 weight 25%" not in told
        assert told[told.index("web1 state ready") :] == ["web1 state ready", "web1 state drain", "web1 weight 100%"]


async def test_all_holds_count_and_each_is_told() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world, haproxy={"weight": [5, 25], "degradation_seconds": 30})
        assert (await world.result())["status"] == "succeeded"
        (analysis,) = analyses(world)
        assert (
            "held: 5 % for 30.0 s (600 requests, 0 errors), 25 % for 30.0 s (600 requests, 0 errors), "
            "100 % for 60.0 s (1200 requests, 0 errors)\n"
        ) in analysis["output"]


async def test_too_little_traffic_goes_on_and_says_so() -> None:
    async with one_instance(2) as world:
        loaded(world, web1=(1, 0))
        await accept(world)
        assert (await world.result())["status"] == "succeeded"
        (analysis,) = analyses(world)
        assert analysis["output"].startswith("too little traffic: web1 had 0 errors in 60 requests")


async def test_only_errors_are_not_too_little_traffic() -> None:
    async with one_instance(5) as world:
        loaded(world, **{f"web{number}": (1, int(number == 1)) for number in range(1, 6)})
        await accept(world)
        assert (await world.result())["failure"]["code"] == "canary.regressed"
        assert analyses(world)[0]["duration_seconds"] < 10


async def test_siblings_that_are_as_bad_clear_it() -> None:
    async with one_instance(3) as world:
        loaded(world, web1=FLAKY, web2=FLAKY, web3=FLAKY)
        await accept(world)
        assert (await world.result())["status"] == "succeeded"
        assert "so the release is not blamed: look at what they share" in analyses(world)[0]["output"]


async def test_a_slow_one_fails_at_the_end_of_its_hold() -> None:
    async with one_instance(3) as world:
        loaded(world)
        for server in world.lbs[0].by_name.values():
            server.response_ms = 50
        await accept(world)
        await in_the_hold(world)
        world.server("web1").response_ms = 900
        result = await world.result()
        assert result["failure"]["code"] == "canary.regressed"
        assert analyses(world)[0]["duration_seconds"] == pytest.approx(60, abs=0.1)
        assert "ms on average to answer, its 2 siblings" in result["failure"]["message"]


async def test_two_canaries_are_judged_each_and_not_against_each_other() -> None:
    async with one_instance(4) as world:
        loaded(world, web1=(20, 0), web2=FLAKY)
        await accept(world, rollout={"canary": 2, "concurrency": 2})
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "failed", "web3": "skipped", "web4": "skipped"}
        assert result["failure"]["message"].startswith("the canary regressed: web2 had ")
        assert all("its 2 siblings" in each["output"] for each in analyses(world))
        assert all("shared by 2 canaries" in each["output"] for each in analyses(world))


async def test_without_analysis_a_canary_is_not_held() -> None:
    async with one_instance(2) as world:
        loaded(world, web1=FLAKY)
        await world.accept(traffic=True, rollout={"canary": 1})
        assert (await world.result())["status"] == "succeeded"
        assert analyses(world) == []


async def test_the_targets_budget_stands_still() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world, timeouts={"target": 30})
        assert (await world.result())["status"] == "succeeded"


async def test_a_canary_that_was_out_before_gets_no_traffic_and_cannot_be_judged() -> None:
    async with one_instance(2) as world:
        loaded(world)
        world.server("web1").user_weight = 0
        await accept(world)
        assert (await world.result())["status"] == "succeeded"
        assert analyses(world)[0]["output"].startswith("too little traffic: web1 had 0 errors in 0 requests")


async def test_a_reload_in_the_hold_is_told_and_what_comes_after_it_counts() -> None:
    async with one_instance(3) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        world.lbs[0].reload()
        world.server("web1").load = FLAKY
        assert (await world.result())["failure"]["code"] == "canary.regressed"
        assert "HAProxy on lb1 was reloaded or its counters cleared" in analyses(world)[0]["output"]


async def test_a_load_balancer_that_is_away_for_a_moment_does_not_end_the_hold() -> None:
    async with one_instance(3, balancers=2) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        world.lbs[1].away = True
        await asyncio.sleep(5)
        world.lbs[1].away = False
        assert (await world.result())["status"] == "succeeded"
        assert analyses(world)[0]["output"].startswith("pass: web1 had 0 errors in 2")


async def test_a_canary_that_goes_down_in_the_hold_fails_as_ever() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        world.server("web1").healthy = False
        result = await world.result()
        assert result["targets"][0]["failure"]["code"] == "haproxy.not_up"
        assert result["failure"]["code"] == "rollout.too_many_failures"
        assert steps_of(world, "web1")[-1] == ("analysis", "failed")


# --- in the middle of a hold ------------------------------------------------------------------------------------------


async def test_a_cancel_ends_the_hold() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"
        assert steps_of(world, "web1")[-1] == ("analysis", "cancelled")
        assert world.shown("web1") == [DRAINED]
        assert world.statuses() == {"web1": "cancelled", "web2": "skipped"}


async def test_a_pause_lets_the_hold_end_and_starts_nothing_after_it() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        await world.control("pause")
        await world.told_of("target.finished")
        await asyncio.sleep(100)
        assert world.state("web2") is TargetState.PENDING
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_an_approval_is_asked_for_after_the_verdict() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world, rollout={"approve_after": "canary"})
        await world.told_of("deployment.paused")
        assert steps_of(world, "web1")[-1] == ("analysis", "succeeded")
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_the_deployments_time_runs_in_a_hold() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world, timeouts={"deployment": 30})
        assert (await world.result())["status"] == "timed_out"
        assert steps_of(world, "web1")[-1] == ("analysis", "timed_out")


async def test_another_instance_begins_the_window_anew_and_says_so() -> None:
    async with one_instance(3) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        world.instances[0].kill()
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert steps_of(world, "web1") == [(step, "succeeded") for step in ALL_STEPS], "nothing else is done again"
        (analysis,) = analyses(world)
        assert analysis["duration_seconds"] == pytest.approx(60, abs=0.1)
        assert "counted since an instance went on with this target" in analysis["output"]


async def test_handed_over_in_the_hold() -> None:
    async with one_instance(2) as world:
        loaded(world)
        await accept(world)
        await in_the_hold(world)
        await world.instances[0].working.drain(5)
        assert analyses(world) == [], "it has not ended: the next owner holds"
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert len(analyses(world)) == 1


def _verdict_recorded(change: Change) -> bool:
    return isinstance(change, RecordStep) and change.record.step == "analysis"


@pytest.mark.parametrize("weights", [(), (50,)])
@pytest.mark.parametrize(("load", "status"), [(GOOD, StepStatus.SUCCEEDED), (FLAKY, StepStatus.FAILED)])
async def test_a_verdict_that_is_recorded_is_not_asked_for_again(
    load: tuple[int, int], status: StepStatus, weights: Sequence[int]
) -> None:
    """A bad release least of all: its clients had enough of it."""
    async with one_instance(2) as world:
        loaded(world, web1=load)
        store = world.instances[0].store
        store.after_it, store.dies_with = True, _verdict_recorded
        more = {"haproxy": {"weight": list(weights), "degradation_seconds": 30}} if weights else {}
        await accept(world, **more)
        await until(lambda: store.dead)
        told = len(world.lbs[0].told)
        world.instance()
        result = await world.result()
        assert [each["status"] for each in analyses(world)] == [status.value]
        if status is StepStatus.SUCCEEDED:
            assert result["status"] == "succeeded"
        else:
            assert result["failure"]["code"] == "canary.regressed"
            assert result["failure"]["message"].startswith("the canary regressed: web1 had ")
            assert "web1 state ready" not in world.lbs[0].told[told:]
            assert world.shown("web1") == [DRAINED]


async def test_a_rollback_after_a_takeover_knows_its_cause() -> None:
    async with one_instance(2) as world:
        loaded(world, web1=FLAKY)
        world.hosts.step_seconds = 20
        await accept(world, rollout={"on_failure": "rollback"})
        await until(lambda: (Direction.BACK, "web1") in world.row().targets)
        await asyncio.sleep(5)
        world.instances[0].kill()
        world.instance()
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("rolled_back", "canary.regressed")


# --- beforehand -------------------------------------------------------------------------------------------------------


async def test_a_dry_run_tells_who_would_be_judged() -> None:
    async with one_instance(2) as world:
        await accept(world, dry_run=True)
        steps = [target["steps"] for target in (await world.result())["plan"]["targets"]]
        assert steps == [ALL_STEPS, ALL_STEPS[:-1]]
