"""What a run reports to the meters: each end once, with its failure's code, whoever began it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import LEASE_SECONDS, World

from vesemir.adapters.observe import PrometheusMeters
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.step import StepResult, StepStatus

FAILED = StepResult(StepStatus.FAILED, 1, b"no", 2)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(3) as world:
        world.meters = PrometheusMeters()
        yield world


def counted(world: World, name: str) -> dict[str, float]:
    """Label values (one label at most) to numbers, without what is 0."""
    assert isinstance(world.meters, PrometheusMeters)
    return {
        "".join(sample.labels.values()): sample.value
        for family in world.meters._registry.restricted_registry([name]).collect()  # asked very often
        for sample in family.samples
        if sample.name == name and sample.value
    }


async def test_a_deployment_that_fails(world: World) -> None:
    world.instance()
    world.hosts.steps["web2:switch"] = FAILED
    await world.accept(traffic=True)
    await world.result()
    await until(lambda: counted(world, "vesemir_deployments_finished_total"))
    assert counted(world, "vesemir_deployments_finished_total") == {"failed": 1}
    assert counted(world, "vesemir_deployment_failures_total") == {"rollout.too_many_failures": 1}
    assert counted(world, "vesemir_targets_finished_total") == {"succeeded": 1, "failed": 1, "skipped": 1}
    assert counted(world, "vesemir_target_failures_total") == {"step.failed": 1}
    assert counted(world, "vesemir_targets_left_drained_total") == {"": 1}
    assert counted(world, "vesemir_target_duration_seconds_count") == {"": 2}
    assert counted(world, "vesemir_phase_duration_seconds_count") == {
        "queue": 1, "resolve": 1, "connect": 2, "drain": 2
    }  # fmt: skip
    steps = [body["status"] for body in world.told("step.finished")]
    assert counted(world, "vesemir_steps_finished_total") == {"succeeded": len(steps) - 1, "failed": 1}


async def test_a_dry_run_is_counted_nowhere_else(world: World) -> None:
    world.instance()
    world.hosts.unreachable["web1"] = Failure(FailureCode.SSH_UNREACHABLE, "web1 does not answer")
    await world.accept(dry_run=True)
    await world.result()
    await until(lambda: counted(world, "vesemir_dry_runs_finished_total"))
    assert counted(world, "vesemir_dry_runs_finished_total") == {"failed": 1}
    for name in ("deployments_finished", "deployment_failures", "targets_finished"):
        assert counted(world, f"vesemir_{name}_total") == {}


async def test_a_takeover_after_a_death_is_told_from_one_after_a_hand_over(world: World) -> None:
    """And what the dead one had begun is a step redone."""
    world.hosts.step_seconds = 10
    await world.accept(rollout={"concurrency": 3})
    dead = world.instance()
    await until(lambda: world.hosts.begun("web1", "unpack"))
    dead.kill()
    stopping = world.instance()
    await until(lambda: counted(world, "vesemir_takeovers_total"))
    assert counted(world, "vesemir_takeovers_total") == {"expired": 1}
    await until(lambda: counted(world, "vesemir_steps_redone_total"))
    await stopping.working.drain(5)
    world.instance()
    await world.result()
    assert counted(world, "vesemir_takeovers_total") == {"expired": 1, "handed_back": 1}
    assert counted(world, "vesemir_leases_lost_total") == {}


async def test_a_lease_that_is_lost_is_counted_once(world: World) -> None:
    """The database is away for longer than the lease is trusted; renewals without answer are no loss yet."""
    world.hosts.step_seconds = 1000
    instance = world.instance()
    await world.accept(timeouts={"target": 3000, "deployment": 7000, "step": 3000})
    await until(lambda: world.hosts.begun("web1", "unpack"))
    instance.store.cut_off = True
    await asyncio.sleep(LEASE_SECONDS / 3)
    assert counted(world, "vesemir_leases_lost_total") == {}
    assert counted(world, "vesemir_lease_renewals_total")["unanswered"] > 0
    await asyncio.sleep(LEASE_SECONDS)
    assert counted(world, "vesemir_leases_lost_total") == {"": 1}


async def test_given_up_for_good_it_counts_as_unknown_and_left_drained(world: World) -> None:
    world.hosts.step_seconds = 1000
    await world.accept(traffic=True, timeouts={"target": 3000, "deployment": 7000, "step": 3000})
    for _ in range(3):
        instance = world.instance(max_expiries=2)
        await until(lambda owner=instance: world.row().owner == owner.name)
        await asyncio.sleep(5)
        instance.kill()
    world.instance(max_expiries=2)
    await world.result()
    await until(lambda: counted(world, "vesemir_deployment_failures_total"))
    assert counted(world, "vesemir_deployment_failures_total") == {"internal.error": 1}
    assert counted(world, "vesemir_targets_finished_total") == {"unknown": 1, "skipped": 2}
    assert counted(world, "vesemir_targets_left_drained_total") == {"": 1}
