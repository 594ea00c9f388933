"""Targets are prepared while they have their traffic: each before its drain, or all before the first drain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.unit.engine.deployment.situations import BACK, UNREACHABLE, now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World, words

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.recipe import Recipe, Step
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction
from vesemir.engine.ports.changes import Emit, RecordStep

LOST = FailedError(FailureCode.SSH_CONNECTION_LOST, "the connection is lost")
MISMATCH = {4: FailureCode.ARTIFACT_CHECKSUM_MISMATCH}
RECIPE = Recipe(
    name="release",
    prepare=(Step("fetch", words("fetch"), failures=MISMATCH), Step("unpack", words("unpack"))),
    steps=(Step("switch", words("switch"), idempotent=False), Step("verify", words("verify"))),
    rollback=(Step("switch-back", words("switch", "--back")),),
)
AT_ONCE = {"concurrency": "100%", "min_available": 0}
ALL = {**AT_ONCE, "prepare": "all"}
EACH_OR_ALL = pytest.mark.parametrize("prepare", ["target", "all"])


@asynccontextmanager
async def prepared_world(targets: int = 3, **more: Any) -> AsyncIterator[World]:
    """A world with one instance, in which nothing of prepare may run on a server that is out of traffic."""
    async with World(targets, recipes=[RECIPE], **more) as world:
        seen: list[str] = []

        def look(target: str, key: Any, _ticket: Any) -> None:
            if key.step in {"fetch", "unpack"} and world.shown(target) != [READY] * len(world.lbs):
                seen.append(f"{key.step} on {target}")

        world.hosts.on_run = look
        world.instance()
        yield world
        assert not seen


def touched(world: World) -> list[str]:
    return [name for (_, name), row in world.row().targets.items() if row.touched]


def phases(world: World, target: str) -> list[tuple[str, str]]:
    return [(event["step"], event["phase"]) for event in world.told("step.finished") if event["target"] == target]


@EACH_OR_ALL
async def test_prepare_comes_before_the_drain_and_each_step_tells_its_phase(prepare: str) -> None:
    async with prepared_world() as world:
        await world.accept(traffic=True, rollout={"prepare": prepare})
        assert (await world.result())["status"] == "succeeded"
        assert phases(world, "web2") == [
            ("fetch", "prepare"),
            ("unpack", "prepare"),
            *((step, "target") for step in ("drain", "switch", "verify", "health", "enable")),
        ]
        assert [world.shown(name) for name in ("web1", "web2", "web3")] == [[READY]] * 3


@EACH_OR_ALL
@pytest.mark.parametrize("on_failure", ["stop", "rollback", "continue"])
async def test_a_wrong_checksum_at_full_concurrency_drains_no_server(prepare: str, on_failure: str) -> None:
    async with prepared_world(5) as world:
        drained: list[str] = []
        world.hosts.steps["fetch"] = failed(4)
        world.hosts.on_run = lambda target, _key, _ticket: (
            drained.append(target) if world.shown(target) != [READY] else None
        )
        await world.accept(traffic=True, rollout={**AT_ONCE, "prepare": prepare, "on_failure": on_failure})
        result = await world.result()
        assert {target["failure"]["code"] for target in result["targets"]} == {"artifact.checksum_mismatch"}
        assert {target["in_traffic"] for target in result["targets"]} == {True}
        assert set(world.statuses().values()) == {"failed"}
        assert not drained
        assert not [event for event in world.told("step.finished") if event["step"] == "drain"]
        assert [world.shown(target.name) for target in world.targets] == [[READY]] * 5
        assert not touched(world)
        assert world.record.left_drained == {}
        if on_failure != "rollback" or prepare == "all":
            assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")


async def test_all_are_prepared_at_once_before_the_first_is_drained() -> None:
    async with prepared_world(6) as world:
        await world.accept(traffic=True, rollout={"prepare": "all", "concurrency": 1})
        await world.result()
        names = [(event["event"], event.get("phase")) for event in world.events()]
        first_start = names.index(("target.started", None))
        prepared = [index for index, name in enumerate(names) if name == ("step.finished", "prepare")]
        assert len(prepared) == 12
        assert max(prepared) < first_start
        assert world.hosts.most_running == 6
        assert len(world.hosts.ran("fetch")) == len(world.hosts.ran("unpack")) == 6


async def test_no_more_are_prepared_at_once_than_hosts_may_be_connected_to() -> None:
    async with World(6, recipes=[RECIPE]) as world:
        world.instance(sessions=2)
        await world.accept(rollout={"prepare": "all", "concurrency": 1})
        assert (await world.result())["status"] == "succeeded"
        assert world.hosts.most_running == 2


@pytest.mark.parametrize("on_failure", ["stop", "rollback", "continue"])
async def test_more_failures_in_prepare_than_allowed_end_it_before_anything_began(on_failure: str) -> None:
    async with prepared_world(4) as world:
        world.hosts.steps |= {"web2:fetch": failed(4), "web3:unpack": failed(1)}
        await world.accept(traffic=True, rollout={**ALL, "max_failures": 1, "on_failure": on_failure})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
        assert "no target was begun" in result["failure"]["message"]
        assert world.statuses() == {"web1": "skipped", "web2": "failed", "web3": "failed", "web4": "skipped"}
        assert [
            (event["event"], event["target"]) for event in world.events() if event["event"].startswith("target")
        ] == [
            ("target.started", "web2"),
            ("target.finished", "web2"),
            ("target.started", "web3"),
            ("target.finished", "web3"),
        ]
        assert not world.hosts.ran("switch")


async def test_a_canary_that_fails_in_prepare_ends_it_however_many_failures_are_allowed() -> None:
    async with prepared_world(4) as world:
        world.hosts.steps["web1:fetch"] = failed(4)
        await world.accept(traffic=True, rollout={**ALL, "canary": 1, "max_failures": 3, **BACK})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
        assert world.statuses() == {"web1": "failed", "web2": "skipped", "web3": "skipped", "web4": "skipped"}


async def test_fewer_failures_in_prepare_are_finished_as_failed_and_the_others_go_on() -> None:
    async with prepared_world(4) as world:
        world.hosts.steps["web2:fetch"] = failed(4)
        await world.accept(traffic=True, rollout={**ALL, "max_failures": 1})
        assert (await world.result())["status"] == "succeeded"
        assert world.statuses() == {"web1": "succeeded", "web2": "failed", "web3": "succeeded", "web4": "succeeded"}
        assert world.shown("web2") == [READY]


@pytest.mark.parametrize("trouble", [LOST, UNREACHABLE], ids=["lost", "unreachable"])
@EACH_OR_ALL
async def test_a_host_that_is_lost_in_prepare_is_unreachable_and_not_unknown(
    prepare: str, trouble: FailedError
) -> None:
    async with prepared_world(2) as world:

        def vanish(target: str, key: Any, _ticket: Any) -> None:
            if (target, key.step) == ("web1", "unpack"):
                world.hosts.unreachable["web1"] = trouble
                world.hosts.break_sessions("web1", LOST)

        world.hosts.on_run = vanish
        await world.accept(traffic=True, rollout={**AT_ONCE, "prepare": prepare, "max_failures": 1})
        result = await world.result()
        assert world.statuses() == {"web1": "unreachable", "web2": "succeeded"}
        assert result["targets"][0]["failure"]["code"] in {"ssh.connection_lost", "ssh.unreachable"}
        assert world.shown("web1") == [READY]


@EACH_OR_ALL
async def test_a_connection_that_is_lost_for_a_moment_costs_nothing(prepare: str) -> None:
    async with prepared_world(1) as world:
        world.hosts.steps["unpack"] = [LOST, SUCCEEDED]
        await world.accept(traffic=True, rollout={**AT_ONCE, "prepare": prepare})
        assert (await world.result())["status"] == "succeeded"
        assert world.told("deployment.finished")[0]["metrics"]["redone_steps"] == 1
        assert len(world.told("target.started")) == 1


@EACH_OR_ALL
async def test_the_targets_time_runs_from_0_for_prepare_and_for_what_follows(prepare: str) -> None:
    async with prepared_world(1) as world:
        world.hosts.step_seconds = 6
        await world.accept(rollout={**AT_ONCE, "prepare": prepare}, timeouts={"target": 15, "step": 15})
        assert (await world.result())["status"] == "succeeded"
        assert 24 <= now() < 25


@EACH_OR_ALL
async def test_a_target_that_times_out_in_prepare_is_as_it_was(prepare: str) -> None:
    async with prepared_world(1) as world:
        world.hosts.steps["unpack"] = HANGS
        await world.accept(traffic=True, rollout={**AT_ONCE, "prepare": prepare}, timeouts={"target": 20, "step": 3600})
        result = await world.result()
        assert result["targets"][0]["failure"]["code"] == "target.timed_out"
        assert world.statuses() == {"web1": "timed_out"}
        assert world.told("step.finished")[-1]["phase"] == "prepare"
        assert world.shown("web1") == [READY]


@EACH_OR_ALL
async def test_a_cancel_in_prepare_leaves_every_target_as_it_was(prepare: str) -> None:
    async with prepared_world(3) as world:
        world.hosts.steps["web2:unpack"] = HANGS
        await world.accept(
            traffic=True, rollout={**AT_ONCE, "prepare": prepare, "concurrency": 3}, timeouts={"step": 60}
        )
        await until(lambda: world.hosts.begun("web2", "unpack"))
        if prepare == "all":
            await asyncio.sleep(5)
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"
        assert world.statuses()["web2"] == "cancelled"
        if prepare == "all":
            assert world.statuses() == {"web1": "skipped", "web2": "cancelled", "web3": "skipped"}
        assert [world.shown(target.name) for target in world.targets] == [[READY]] * 3
        assert not touched(world)


async def test_the_deployments_time_ends_a_prepare_of_all() -> None:
    async with prepared_world(2) as world:
        world.hosts.steps["web2:unpack"] = HANGS
        await world.accept(traffic=True, rollout=ALL, timeouts={"deployment": 30, "step": 3600})
        assert (await world.result())["status"] == "timed_out"
        assert world.statuses() == {"web1": "skipped", "web2": "timed_out"}


async def test_a_pause_lets_what_is_being_prepared_finish_and_nothing_more_begin() -> None:
    async with World(3, recipes=[RECIPE]) as world:
        world.instance(sessions=1)
        await world.accept(traffic=True, rollout=ALL)
        await until(lambda: world.hosts.begun("web1", "fetch"))
        await world.control("pause")
        await asyncio.sleep(100)
        assert world.hosts.ran("unpack") == ["web1"]
        assert world.hosts.ran("fetch") == ["web1"]
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"
        assert world.hosts.ran("fetch") == ["web1", "web2", "web3"]


async def test_the_first_gate_is_asked_after_the_first_batch_as_without_it() -> None:
    async with prepared_world(2) as world:
        await world.accept(traffic=True, rollout={"prepare": "all", "approve_after": "batch", "concurrency": 1})
        await world.told_of("deployment.paused")
        assert world.statuses_now() == {"web1": "succeeded", "web2": "pending"}
        assert len(world.hosts.ran("unpack")) == 2
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_the_next_owner_prepares_what_is_not_prepared_yet_and_nothing_twice() -> None:
    async with prepared_world(3) as world:
        world.hosts.steps["web3:fetch"] = [HANGS, SUCCEEDED]
        await world.accept(traffic=True, rollout=ALL, timeouts={"step": 3600})
        await until(lambda: len(world.hosts.ran("unpack")) == 2)
        await asyncio.sleep(5)
        assert set(world.statuses_now().values()) == {"pending"}
        world.instances[0].kill()
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert sorted(world.hosts.ran("fetch")) == ["web1", "web2", "web3", "web3"]
        assert sorted(world.hosts.ran("unpack")) == ["web1", "web2", "web3"]
        opened = [call.target for call in world.hosts.calls if call.what == "open"]
        assert {name: opened.count(name) for name in opened} == {"web1": 2, "web2": 2, "web3": 3}
        assert len(world.told("target.started")) == 3


async def test_a_hand_over_in_the_middle_of_prepare_leaves_it_to_the_next_owner() -> None:
    async with prepared_world(3) as world:
        world.hosts.steps["web3:fetch"] = [HANGS, SUCCEEDED]
        await world.accept(traffic=True, rollout=ALL, timeouts={"step": 3600})
        await until(lambda: len(world.hosts.ran("unpack")) == 2)
        await world.instances[0].working.drain(5)
        assert set(world.statuses_now().values()) == {"pending"}
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert sorted(world.hosts.ran("unpack")) == ["web1", "web2", "web3"]
        assert world.row().expiries == 0


async def test_failures_in_prepare_count_for_the_next_owner_too() -> None:
    async with prepared_world(3) as world:
        world.hosts.steps |= {"web1:fetch": failed(4), "web3:fetch": [HANGS, SUCCEEDED]}
        await world.accept(traffic=True, rollout={**ALL, **BACK}, timeouts={"step": 3600})
        await until(lambda: world.hosts.ran("unpack") == ["web2"] and world.state("web1") is TargetState.FAILED)
        await asyncio.sleep(5)
        world.instances[0].kill()
        world.instance()
        assert (await world.result())["status"] == "failed"
        assert world.statuses() == {"web1": "failed", "web2": "skipped", "web3": "skipped"}


async def test_failures_after_prepare_are_the_rollouts_for_the_next_owner_too() -> None:
    """What failed at its steps is not judged again as if it had failed in prepare: there is a way back."""
    async with prepared_world(3) as world:
        world.hosts.steps["web1:switch"] = failed(1)
        instance = world.instances[0]
        instance.store.dies_with = lambda change: isinstance(change, Emit) and change.event.name == "target.finished"
        instance.store.after_it = True
        await world.accept(traffic=True, rollout={"prepare": "all", **BACK})
        await until(lambda: not instance.alive)
        world.instance()
        assert (await world.result())["status"] == "rolled_back"
        assert world.statuses() == {"web1": "rolled_back", "web2": "skipped", "web3": "skipped"}


@EACH_OR_ALL
async def test_killed_between_prepare_and_drain(prepare: str) -> None:
    async with prepared_world(2) as world:
        instance = world.instances[0]
        instance.store.dies_with = lambda change: isinstance(change, RecordStep) and change.record.step == "drain"
        await world.accept(traffic=True, rollout={**AT_ONCE, "prepare": prepare})
        await until(lambda: not instance.alive)
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert sorted(world.hosts.ran("unpack")) == ["web1", "web2"]


async def test_a_target_that_an_older_instance_began_is_not_prepared_before_the_others() -> None:
    """It knows nothing of a prepare of all: what it left is gone on with, and the others are prepared in their turn."""
    async with prepared_world(3) as world:
        world.hosts.steps["fetch"] = [HANGS, SUCCEEDED]
        await world.accept(traffic=True, rollout=ALL, timeouts={"step": 3600})
        await until(lambda: len(world.hosts.ran("fetch")) == 3)
        world.instances[0].kill()
        row = world.row().targets[Direction.FORWARD, "web1"]
        assert row.state is TargetState.PENDING
        world.row().targets[Direction.FORWARD, "web1"] = replace(row, state=TargetState.RUNNING)
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert [world.shown(target.name) for target in world.targets] == [[READY]] * 3


async def test_a_target_that_is_prepared_when_the_rollout_has_failed_is_not_drained() -> None:
    async with prepared_world(2) as world:
        world.hosts.steps["web1:fetch"] = failed(4)
        await world.accept(traffic=True, rollout=AT_ONCE)
        assert (await world.result())["status"] == "failed"
        assert world.statuses() == {"web1": "failed", "web2": "skipped"}
        assert not [event for event in world.told("step.finished") if event["step"] == "drain"]
        assert not world.hosts.ran("switch")


TEXT = replace(RECIPE, source="prepared")
OLDER = replace(TEXT, prepare=(), steps=(*RECIPE.prepare, *RECIPE.steps))
"""As the release before reads what is recorded: it prepares after the drain, and knows no prepare of all."""


@EACH_OR_ALL
@pytest.mark.parametrize("step", ["fetch", "unpack", "switch"])
@pytest.mark.parametrize("first", [TEXT, OLDER], ids=["newer first", "older first"])
async def test_releases_take_over_from_each_other_in_prepare_and_after_it(
    prepare: str, step: str, first: Recipe
) -> None:
    async with World(3, recipes=[first]) as world:
        world.instance()
        await world.accept(traffic=True, rollout={"prepare": prepare, "concurrency": 2})
        await until(lambda: world.hosts.begun("web1", step))
        await asyncio.sleep(0.5)
        world.instances[0].kill()
        world.book.texts["release", "prepared"] = OLDER if first is TEXT else TEXT
        world.instance()
        if step == "switch":  # not idempotent, and it broke off
            assert (await world.result())["targets"][0]["failure"]["code"] == "target.state_unknown"
            return
        assert (await world.result())["status"] == "succeeded"
        assert [world.shown(target.name) for target in world.targets] == [[READY]] * 3
        assert len(world.told("target.finished")) == 3
        assert len(world.hosts.ran("switch")) == 3


async def test_a_failure_after_prepare_leaves_the_server_drained_as_ever() -> None:
    async with prepared_world(1) as world:
        world.hosts.steps["switch"] = failed(1)
        await world.accept(traffic=True, rollout=ALL)
        await world.result()
        assert world.shown("web1") == [DRAINED]
