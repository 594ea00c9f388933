"""One target from start to end, with everything that can be in its way, and in the middle of it another instance."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, one_instance

from vesemir.domain.failure import EpochRefusedError, FailedError, FailureCode, LeaseLostError
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction, StepResult, StepStatus
from vesemir.domain.traffic import AdminState
from vesemir.engine.ports.changes import RecordStep

LOST = FailedError(FailureCode.SSH_CONNECTION_LOST, "the connection is lost")
VIOLATED = FailedError(FailureCode.SSH_PROTOCOL_VIOLATED, "it said nan")
UNREACHABLE = FailedError(FailureCode.SSH_UNREACHABLE, "no route to host")
ALL_STEPS = ["drain", "unpack", "switch", "verify", "health", "enable"]


async def finished(world: World, **more: Any) -> dict[str, Any]:
    """The result of a deployment with traffic, and its only target's."""
    await world.accept(traffic=True, **more)
    result = await world.result()
    (target,) = result["targets"]
    assert isinstance(target, dict)
    return target


async def test_the_safe_order() -> None:
    async with one_instance(1) as world:
        target = await finished(world)
        assert (target["status"], target["failure"]) == ("succeeded", None)
        assert [event["step"] for event in world.told("step.finished")] == ALL_STEPS
        assert world.lbs[0].told == [
            "web1 state drain", "web1 state maint", "web1 state drain", "web1 state ready"
        ]  # fmt: skip
        assert world.names()[:3] == ["deployment.accepted", "deployment.started", "target.started"]


async def test_without_traffic_there_are_only_the_recipes_steps() -> None:
    async with one_instance(1) as world:
        await world.accept()
        assert (await world.result())["status"] == "succeeded"
        assert [event["step"] for event in world.told("step.finished")] == ["unpack", "switch", "verify"]
        assert world.lbs[0].told == []


async def test_a_failure_before_the_first_step_leaves_haproxy_as_it_was() -> None:
    async with one_instance(1) as world:
        world.server("web1").user_weight = 37
        world.server("web1").sessions = 1
        target = await finished(world)
        assert target["failure"]["code"] == "haproxy.drain_timed_out"
        assert "is as it was before" in target["failure"]["message"]
        assert world.shown("web1") == [(AdminState.READY, 37)]
        (drain,) = world.told("step.finished")
        assert (drain["step"], drain["status"]) == ("drain", "timed_out")


async def test_a_failure_later_leaves_it_drained_and_says_so() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = failed(1, b"no such release\n")
        target = await finished(world)
        assert target["failure"]["code"] == "step.failed"
        assert "no such release" in target["failure"]["message"]
        assert "left drained on lb1" in target["failure"]["message"]
        assert world.shown("web1") == [DRAINED]
        assert target["failure"] == world.told("target.finished")[0]["failure"]


async def test_an_unreachable_host_is_told_apart_and_its_server_untouched() -> None:
    async with one_instance(1) as world:
        world.hosts.unreachable["web1"] = UNREACHABLE
        target = await finished(world)
        assert (target["status"], target["failure"]["code"]) == ("unreachable", "ssh.unreachable")
        assert world.lbs[0].told == []
        assert world.told("step.finished") == []


async def test_who_was_in_maint_before_is_worked_on_and_left_there() -> None:
    async with one_instance(1) as world:
        world.server("web1").admin = AdminState.MAINT
        target = await finished(world)
        assert target["status"] == "succeeded"
        assert world.shown("web1") == [(AdminState.MAINT, 100)]
        assert "not by it: left as it was" in world.told("step.finished")[0]["output"]


async def test_who_was_drained_before_stays_so_after_a_failure() -> None:
    async with one_instance(1) as world:
        world.server("web1").admin = AdminState.MAINT
        world.hosts.steps["switch"] = failed(1)
        assert (await finished(world))["status"] == "failed"
        assert world.shown("web1") == [(AdminState.MAINT, 100)]


async def test_a_haproxy_that_is_away_at_the_end_is_said() -> None:
    async with one_instance(1) as world:

        def on_run(_target: str, key: Any, _ticket: object) -> None:
            world.lbs[0].away = key.step == "switch" or world.lbs[0].away

        world.hosts.on_run = on_run
        world.hosts.steps["switch"] = failed(1)
        assert "could not be drained on lb1" in (await finished(world))["failure"]["message"]


async def test_a_haproxy_that_is_away_when_it_is_to_be_put_back_is_said() -> None:
    async with one_instance(1) as world:
        world.server("web1").sessions = 1
        await world.accept(traffic=True)
        await until(lambda: world.server("web1").admin is AdminState.DRAIN)
        world.lbs[0].away = True
        target = (await world.result())["targets"][0]
        assert "could not be put right in HAProxy (lb1 does not answer): look there" in target["failure"]["message"]


async def test_a_haproxy_that_hangs_when_it_is_to_be_put_right_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = failed(1)

        async def hang(*_arguments: object) -> None:
            await asyncio.Event().wait()

        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "switch"))
        monkeypatch.setattr(world.lbs[0], "servers", hang)
        target = (await world.result())["targets"][0]
        assert "it did not answer in time" in target["failure"]["message"]


async def test_a_step_that_hangs_is_timed_out_by_its_own_time() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = HANGS
        target = await finished(world, timeouts={"step": 20})
        assert (target["status"], target["failure"]["code"]) == ("timed_out", "step.timed_out")
        assert [event["status"] for event in world.told("step.finished")] == ["succeeded", "succeeded", "timed_out"]


async def test_a_target_that_takes_too_long_is_timed_out_in_mid_step() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = HANGS
        target = await finished(world, timeouts={"step": 300, "target": 30})
        assert target["failure"]["code"] == "target.timed_out"
        last = world.told("step.finished")[-1]
        assert (last["step"], last["status"], last["exit_status"]) == ("switch", "timed_out", None)
        assert world.shown("web1") == [DRAINED]
        assert world.hosts.running == 0


async def test_holds_at_a_weight_do_not_count_against_the_target() -> None:
    async with one_instance(1) as world:
        target = await finished(world, haproxy={"weight": [5, 25], "degradation_seconds": 500}, timeouts={"target": 60})
        assert target["status"] == "succeeded"
        assert target["duration_seconds"] > 1000


async def test_waits_for_capacity_do_not_count_against_the_target() -> None:
    async with one_instance(2) as world:
        world.server("web2").admin = AdminState.DRAIN
        await world.accept(traffic=True, rollout={"min_available": 1}, timeouts={"target": 60})
        await asyncio.sleep(200)
        assert world.shown("web1") == [READY]
        world.server("web2").admin = AdminState.READY
        assert (await world.result())["status"] == "succeeded"


async def test_who_takes_a_server_out_while_it_waits_for_capacity_is_respected() -> None:
    """What was there before is what is there in the moment before the drain, not before a wait of minutes."""
    async with one_instance(2) as world:
        world.server("web2").admin = AdminState.DRAIN
        await world.accept(
            traffic=True, rollout={"min_available": 1, "on_failure": "continue"}, targets={"hosts": ["web1"]}
        )
        await asyncio.sleep(100)
        assert world.lbs[0].told == []
        world.server("web1").admin = AdminState.MAINT
        assert (await world.result())["status"] == "succeeded"
        assert world.shown("web1") == [(AdminState.MAINT, 100)]
        assert "was maint on lb1 before this deployment" in world.told("step.finished")[0]["output"]


async def test_what_was_never_drained_for_lack_of_capacity_is_not_put_back() -> None:
    """Nothing was touched, so there is nothing to give back: not to who set another weight meanwhile either."""
    async with one_instance(2) as world:
        world.server("web2").admin = AdminState.DRAIN
        await world.accept(traffic=True, rollout={"min_available": 1}, targets={"hosts": ["web1"]})
        await asyncio.sleep(100)
        world.server("web1").user_weight = 30
        (target,) = (await world.result())["targets"]
        assert target["failure"]["code"] == "haproxy.capacity"
        assert world.lbs[0].told == []
        assert world.server("web1").user_weight == 30


async def test_a_reload_from_a_dump_of_before_leaves_nobody_at_half_of_its_weight() -> None:
    """It is corrected at the next target's turn; after the last one, before the deployment ends."""
    async with one_instance(2) as world:

        def on_run(target: str, key: Any, _ticket: object) -> None:
            if (target, key.step) == ("web2", "switch"):
                world.lbs[0].reload(keep_state=True)
                world.server("web1").user_weight = 50

        world.hosts.on_run = on_run
        await world.accept(traffic=True, haproxy={"weight": [50], "degradation_seconds": 1})
        assert (await world.result())["status"] == "succeeded"
        assert [world.shown(name) for name in ("web1", "web2")] == [[READY], [READY]]


async def test_a_cancel_between_two_owners_says_what_is_left_drained() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["switch"] = HANGS
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "switch"))
        world.instances[0].kill()
        await world.control("cancel")
        await asyncio.sleep(100)
        world.instance()
        result = await world.result()
        assert (result["status"], world.statuses()) == ("cancelled", {"web1": "cancelled", "web2": "skipped"})
        assert "left drained on lb1" in result["targets"][0]["failure"]["message"]
        assert [world.shown(name) for name in ("web1", "web2")] == [[DRAINED], [READY]]


async def test_retries_are_made_and_counted() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["verify"] = [failed(1), SUCCEEDED]
        assert (await finished(world))["status"] == "succeeded"
        assert [key.attempt for key in _keys(world, "verify")] == [1, 2]
        assert [event["status"] for event in world.told("step.finished") if event["step"] == "verify"] == [
            "failed", "succeeded"
        ]  # fmt: skip


async def test_retries_come_to_an_end() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["verify"] = failed(1)
        assert (await finished(world))["failure"]["code"] == "step.failed"
        assert len(_keys(world, "verify")) == 2


def _keys(world: World, step: str) -> list[Any]:
    return [call.key for call in world.hosts.calls if call.what == "run" and call.step == step]


async def test_a_host_that_refuses_a_step_says_its_own_failure() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = FailedError(FailureCode.ARTIFACT_UNAVAILABLE, "no such file")
        target = await finished(world)
        assert target["failure"]["code"] == "artifact.unavailable"
        last = world.told("step.finished")[-1]
        assert (last["step"], last["status"], last["output"]) == ("unpack", "failed", "no such file")


async def test_a_bug_on_one_target_is_that_targets_failure() -> None:
    async with one_instance(2) as world:

        def on_run(target: str, _key: object, _ticket: object) -> None:
            if target == "web1":
                raise ZeroDivisionError("oops")

        world.hosts.on_run = on_run
        await world.accept(rollout={"on_failure": "continue"})
        await world.result()
        assert world.statuses() == {"web1": "failed", "web2": "succeeded"}
        failure = world.told("target.finished")[0]["failure"]
        assert failure["code"] == "internal.error"
        assert "ZeroDivisionError: oops" in failure["message"]
        assert world.instances[0].log.of("exception") == ["a bug"]


# --- a connection that is lost ----------------------------------------------------------------------------------------


async def test_a_lost_step_is_found_to_have_broken_off_and_done_again() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = [LOST, SUCCEEDED]
        result = await finished(world)
        assert result["status"] == "succeeded"
        assert len(_keys(world, "unpack")) == 2
        assert [event["step"] for event in world.told("step.finished")] == ALL_STEPS
        assert world.told("deployment.finished")[0]["metrics"]["redone_steps"] == 1


async def test_a_lost_step_that_is_not_idempotent_is_not_done_again() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = [LOST, SUCCEEDED]
        target = await finished(world)
        assert (target["status"], target["failure"]["code"]) == ("unknown", "target.state_unknown")
        assert "is not idempotent" in target["failure"]["message"]
        assert len(_keys(world, "switch")) == 1
        assert world.shown("web1") == [DRAINED]


async def test_a_result_that_the_host_remembers_is_adopted() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = [LOST, SUCCEEDED]
        await world.accept(traffic=True)
        await until(lambda: world.hosts.ran("unpack"))
        (key,) = _keys(world, "unpack")
        world.hosts.box("web1").finished[key] = SUCCEEDED
        assert (await world.result())["status"] == "succeeded"
        assert len(_keys(world, "unpack")) == 1
        adopted = world.told("step.finished")[1]
        assert "adopted from the host's own record" in adopted["output"]


async def test_a_result_that_was_only_an_end_is_not_adopted() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = [StepResult(StepStatus.CANCELLED, None, reason="no beat"), SUCCEEDED]
        assert (await finished(world))["status"] == "succeeded"
        assert len(_keys(world, "unpack")) == 2


async def test_a_step_that_never_began_is_simply_run() -> None:
    async with one_instance(1) as world:
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "unpack"))
        world.hosts.break_sessions("web1", LOST)
        world.hosts.box("web1").started.clear()
        await world.result()
        assert world.told("deployment.finished")[0]["metrics"]["redone_steps"] == 0
        assert world.statuses() == {"web1": "succeeded"}


async def test_a_host_that_does_not_come_back_is_unknown() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = LOST
        await world.accept(traffic=True)
        await until(lambda: world.hosts.ran("unpack"))
        world.hosts.unreachable["web1"] = UNREACHABLE
        target = (await world.result())["targets"][0]
        assert (target["status"], target["failure"]["code"]) == ("unknown", "target.state_unknown")
        assert "could not be reached again for 60 s (no route to host)" in target["failure"]["message"]
        assert 60 < target["duration_seconds"] < 65


async def test_a_host_that_is_gone_at_a_takeover_before_its_first_step_goes_back() -> None:
    async with one_instance(1) as world:
        world.server("web1").sessions = 1
        await world.accept(traffic=True)
        await until(lambda: world.server("web1").admin is AdminState.DRAIN)
        world.instances[0].kill()
        world.hosts.unreachable["web1"] = UNREACHABLE
        world.instance()
        target = (await world.result())["targets"][0]
        assert (target["status"], target["failure"]["code"]) == ("unreachable", "ssh.unreachable")
        assert world.shown("web1") == [READY]


async def test_a_host_that_knows_a_later_claim_ends_the_run() -> None:
    async with one_instance(1) as world:
        world.hosts.unreachable["web1"] = LeaseLostError("a later claim has come to web1")
        await world.accept(traffic=True)
        first = world.instances[0]
        await until(lambda: first.log.of("warning"))
        assert world.told("target.finished") == []
        assert world.row().owner == first.name
        del world.hosts.unreachable["web1"]
        assert (await world.result())["status"] == "succeeded"


async def test_a_lost_connection_is_no_cause_to_wait_for_a_wrong_key() -> None:
    async with one_instance(1) as world:
        world.hosts.unreachable["web1"] = FailedError(FailureCode.TARGET_BUSY, "somebody else works there")
        target = await finished(world)
        assert (target["status"], target["failure"]["code"]) == ("failed", "target.busy")
        assert target["duration_seconds"] < 1


# --- cancelled in each phase ------------------------------------------------------------------------------------------


async def _cancelled_when(world: World, event: Any) -> dict[str, Any]:
    await until(event)
    await world.control("cancel")
    result = await world.result()
    assert result["status"] == "cancelled"
    target = result["targets"][0]
    assert target["failure"]["code"] == "deployment.cancelled"
    assert isinstance(target, dict)
    return target


async def test_cancelled_while_it_drains_it_goes_back() -> None:
    async with one_instance(1) as world:
        world.server("web1").sessions = 1
        await world.accept(traffic=True)
        target = await _cancelled_when(world, lambda: world.server("web1").admin is AdminState.DRAIN)
        assert (target["status"], world.shown("web1")) == ("cancelled", [READY])
        assert world.told("step.finished")[-1]["status"] == "cancelled"


async def test_cancelled_in_mid_step_it_stays_drained_and_nothing_runs() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = HANGS
        await world.accept(traffic=True)
        await _cancelled_when(world, lambda: world.hosts.begun("web1", "switch"))
        assert world.shown("web1") == [DRAINED]
        assert world.hosts.running == 0
        assert world.told("step.finished")[-1]["status"] == "cancelled"


async def test_cancelled_at_a_reduced_weight_it_gets_no_traffic() -> None:
    async with one_instance(1) as world:
        await world.accept(traffic=True, haproxy={"weight": 10, "degradation_seconds": 900})
        await _cancelled_when(world, lambda: world.shown("web1") == [(AdminState.READY, 10)])
        assert world.shown("web1") == [DRAINED]


# --- another instance goes on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commits", range(1, 12))
async def test_another_instance_finishes_whatever_commit_was_the_last(commits: int, *, after: bool) -> None:
    """Nothing is done twice but a step whose result was not recorded, and that one is adopted."""
    async with one_instance(1) as world:
        store = world.instances[0].store
        store.dies_at, store.after_it = commits, after
        await world.accept(traffic=True)
        await until(lambda: store.dead)
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.shown("web1") == [READY]
        for step in ("unpack", "switch", "verify"):
            assert len(_keys(world, step)) == 1
        assert world.told("deployment.taken_over")[0]["previous_instance"] == "host/1"


async def test_a_target_that_was_back_but_not_finished_is_finished_without_a_step() -> None:
    async with one_instance(1) as world:
        await _die_with_enable_recorded(world)
        calls = len(world.hosts.ran())
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert len(world.hosts.ran()) == calls


async def test_a_target_that_was_back_and_was_then_drained_is_put_back() -> None:
    """Its owner died when it had begun to leave it drained for a cancel that it could not record."""
    async with one_instance(1) as world:
        await _die_with_enable_recorded(world)
        world.server("web1").admin = AdminState.DRAIN
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.shown("web1") == [READY]


async def _die_with_enable_recorded(world: World) -> None:
    store = world.instances[0].store
    store.after_it = True
    store.dies_with = lambda change: isinstance(change, RecordStep) and change.record.step == "enable"
    await world.accept(traffic=True)
    await until(lambda: store.dead)
    assert world.state("web1") is TargetState.RUNNING
    assert world.shown("web1") == [READY]


async def test_an_instance_that_is_cut_off_stops_before_another_begins() -> None:
    async with one_instance(1) as world:
        world.hosts.step_seconds = 200
        await world.accept(traffic=True, timeouts={"step": 900, "target": 1800})
        await until(lambda: world.hosts.begun("web1", "unpack"))
        world.instances[0].store.cut_off = True
        await until(lambda: world.hosts.running == 0)
        assert world.row().owner == "host/1"
        world.hosts.step_seconds = 1
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert {call.epoch for call in world.hosts.calls if call.what == "open"} == {1, 2}
        assert world.told("step.finished")[1]["status"] == "succeeded"


async def test_the_record_goes_away_in_a_section_and_the_next_owner_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_instance(1) as world:
        first = world.instances[0].store

        @asynccontextmanager
        async def section(_name: str) -> AsyncIterator[None]:
            first.cut_off = True
            await first.ping()
            yield

        monkeypatch.setattr(first, "section", section)
        await world.accept(traffic=True)
        await until(lambda: first.cut_off)
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.lbs[0].told[0] == "web1 state drain"


async def test_what_somebody_else_cancels_is_not_said_to_have_timed_out() -> None:
    """The whole instance is torn down: its step is for the next owner to find out about."""
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = [HANGS, SUCCEEDED]
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "switch"))
        await asyncio.sleep(2)
        for task in world.instances[0].tasks:
            task.cancel()
        await asyncio.sleep(1)
        assert [event["step"] for event in world.told("step.finished")] == ["drain", "unpack"]
        assert world.row().targets[Direction.FORWARD, "web1"].state is TargetState.RUNNING


async def test_a_takeover_in_the_ramp_takes_nothing_out_again() -> None:
    """It serves at a share of its weight: another one's capacity may count it already."""
    async with one_instance(1) as world:
        await world.accept(traffic=True, haproxy={"weight": 10, "degradation_seconds": 5})
        await until(lambda: world.shown("web1") == [(AdminState.READY, 10)])
        told = len(world.lbs[0].told)
        world.instances[0].kill()
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert not [line for line in world.lbs[0].told[told:] if "drain" in line or "maint" in line]
        assert world.shown("web1") == [READY]
        assert [event["step"] for event in world.told("step.finished")] == ALL_STEPS


async def test_a_host_that_breaks_the_protocol_fails_alone_and_is_not_asked_again() -> None:
    async with one_instance(3) as world:
        world.hosts.steps["web2:switch"] = VIOLATED
        await world.accept(rollout={"concurrency": 3, "max_failures": "100%"})
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "failed", "web3": "succeeded"}
        assert [each["failure"] and each["failure"]["code"] for each in result["targets"]] == [
            None, "ssh.protocol_violated", None
        ]  # fmt: skip
        assert result["metrics"]["takeovers"] == 0
        assert len([call for call in world.hosts.calls if (call.what, call.target) == ("open", "web2")]) == 1


async def test_a_host_that_claims_our_lease_is_lost_fails_alone() -> None:
    """Before, this instance believed it and let go of the deployment, and the next one met the same host."""
    async with one_instance(3) as world:
        world.hosts.unreachable["web2"] = EpochRefusedError("web2: a later claim of this lane has come")
        world.hosts.steps["web3:switch"] = EpochRefusedError("web3: a later claim of this lane has come")
        await world.accept(rollout={"concurrency": 3, "max_failures": "100%"})
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "failed", "web3": "failed"}
        assert {each["failure"]["code"] for each in result["targets"] if each["failure"]} == {"ssh.protocol_violated"}
        assert result["metrics"]["takeovers"] == 0


async def test_a_host_that_hangs_up_in_each_try_of_a_step_is_not_tried_for_ever() -> None:
    """Before, each connection that came about began the patience anew: once a second until ``timeouts.target``."""
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = LOST
        target = await finished(world)
        assert (target["status"], target["failure"]["code"]) == ("unknown", "target.state_unknown")
        assert "5 times in the same step" in target["failure"]["message"]
        assert len(_keys(world, "unpack")) == 6
        logged = [text for text in world.instances[0].log.of("warning") if "is connected to again" in text]
        assert len(logged) == 5
        assert "loss 5 of 5" in logged[-1]
        assert target["duration_seconds"] < 30


async def test_losses_in_different_steps_do_not_add_up() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = [LOST, LOST, LOST, LOST, SUCCEEDED]
        world.hosts.steps["verify"] = [LOST, LOST, LOST, LOST, SUCCEEDED]
        assert (await finished(world))["status"] == "succeeded"
