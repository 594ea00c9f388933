"""Every measure of the engine's port arrives in the exposition, and no label can be made up by a requester."""

import asyncio
import gc
import inspect
import math
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from vesemir.adapters.observe import PrometheusMeters, gc_spared, gc_watched, watch_backlog, watch_loop_lag
from vesemir.domain.failure import FailureCode
from vesemir.domain.states import FINAL, DeploymentState, TargetState
from vesemir.domain.step import StepStatus
from vesemir.engine.ports.observe import Backlog, IntakeOutcome, Meters, Phase, SilentLog, SilentMeters, WaitsFor
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.health import HealthRegistry, PartState

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def exposed(meters: PrometheusMeters, health: HealthRegistry | None = None) -> list[Metric]:
    text, _ = meters.exposition(health or HealthRegistry())
    return list(text_string_to_metric_families(text.decode()))


def samples(
    meters: PrometheusMeters, health: HealthRegistry | None = None
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in exposed(meters, health)
        for sample in family.samples
    }


def value(meters: PrometheusMeters, name: str, **labels: str) -> float:
    return samples(meters)[name, frozenset(labels.items())]


def report_everything(meters: Meters) -> None:
    """Each measure of the port once, twice or with each of its meanings."""
    meters.event_received(IntakeOutcome.ACCEPTED)
    meters.event_received(IntakeOutcome.REJECTED, FailureCode.REQUEST_INVALID)
    meters.event_received(IntakeOutcome.REPEATED)
    meters.control_received("cancel", accepted=True)
    meters.deployment_finished(DeploymentState.FAILED, FailureCode.STEP_FAILED, seconds=12)
    meters.deployment_finished(DeploymentState.CANCELLED, FailureCode.DEPLOYMENT_CANCELLED, seconds=None)
    meters.dry_run_finished(DeploymentState.SUCCEEDED)
    meters.target_finished(TargetState.SUCCEEDED, None, seconds=4)
    meters.target_finished(TargetState.UNKNOWN, FailureCode.TARGET_STATE_UNKNOWN, seconds=None)
    meters.left_drained()
    meters.step_finished(StepStatus.TIMED_OUT, seconds=300, redone=False)
    meters.step_finished(StepStatus.SUCCEEDED, seconds=1, redone=True)
    meters.phase_finished(Phase.DRAIN, seconds=5)
    meters.lease_renewed(ok=True)
    meters.lease_renewed(ok=False)
    meters.lease_lost()
    meters.taken_over(expired=True)
    meters.taken_over(expired=False)
    meters.running(2)
    meters.ssh(sessions=40, handshakes=5)
    meters.ssh_login_repeated()
    meters.backlog(
        Backlog(
            events=9,
            oldest_seconds=1.5,
            failing=2,
            parked=1,
            waiting={WaitsFor.LANE: 7},
            waiting_oldest_seconds=60,
            left_drained=3,
        )
    )
    meters.published("confirmed", seconds=0.002)
    meters.parked()
    meters.loop_lag(0.004)


def test_what_is_reported_is_shown() -> None:
    meters = PrometheusMeters()
    report_everything(meters)
    expected = {
        ("vesemir_events_received_total", "outcome=rejected"): 1,
        ("vesemir_events_rejected_total", "code=request.invalid"): 1,
        ("vesemir_control_received_total", "command=cancel outcome=accepted"): 1,
        ("vesemir_deployments_finished_total", "status=cancelled"): 1,
        ("vesemir_deployment_failures_total", "code=step.failed"): 1,
        ("vesemir_deployment_duration_seconds_sum", "status=failed"): 12,
        ("vesemir_deployment_duration_seconds_count", "status=cancelled"): 0,
        ("vesemir_dry_runs_finished_total", "status=succeeded"): 1,
        ("vesemir_targets_finished_total", "status=succeeded"): 1,
        ("vesemir_target_failures_total", "code=target.state_unknown"): 1,
        ("vesemir_target_duration_seconds_sum", ""): 4,
        ("vesemir_targets_left_drained_total", ""): 1,
        ("vesemir_steps_finished_total", "status=timed_out"): 1,
        ("vesemir_steps_redone_total", ""): 1,
        ("vesemir_step_duration_seconds_sum", ""): 301,
        ("vesemir_phase_duration_seconds_sum", "phase=drain"): 5,
        ("vesemir_lease_renewals_total", "outcome=renewed"): 1,
        ("vesemir_lease_renewals_total", "outcome=unanswered"): 1,
        ("vesemir_leases_lost_total", ""): 1,
        ("vesemir_takeovers_total", "reason=expired"): 1,
        ("vesemir_takeovers_total", "reason=handed_back"): 1,
        ("vesemir_events_published_total", "outcome=confirmed"): 1,
        ("vesemir_events_published_total", "outcome=away"): 0,
        ("vesemir_destinations_parked_total", ""): 1,
        ("vesemir_deployments_running", ""): 2,
        ("vesemir_ssh_sessions", ""): 40,
        ("vesemir_ssh_handshakes", ""): 5,
        ("vesemir_ssh_logins_repeated_total", ""): 1,
        ("vesemir_outbox_events", ""): 9,
        ("vesemir_outbox_oldest_seconds", ""): 1.5,
        ("vesemir_outbox_failing_destinations", ""): 2,
        ("vesemir_outbox_parked_destinations", ""): 1,
        ("vesemir_deployments_waiting", "waits_for=lane"): 7,
        ("vesemir_deployments_waiting", "waits_for=instance"): 0,
        ("vesemir_deployments_waiting_oldest_seconds", ""): 60,
        ("vesemir_servers_left_drained", ""): 3,
        ("vesemir_loop_lag_seconds_count", ""): 1,
    }
    for (name, labels), number in expected.items():
        assert value(meters, name, **dict(each.split("=") for each in labels.split())) == number, (name, labels)


def test_the_series_are_the_same_on_the_last_day_as_on_the_first() -> None:
    """A rate needs a first value, and nobody who sends requests can make up a label."""
    meters = PrometheusMeters()
    before = samples(meters).keys()
    report_everything(meters)
    for code in FailureCode:
        meters.event_received(IntakeOutcome.REJECTED, code)
        meters.target_finished(TargetState.FAILED, code, seconds=1)
        for status in FINAL:
            meters.deployment_finished(status, code, seconds=1)
    meters.control_received('x"} 1\n\ud800', accepted=False)
    assert samples(meters).keys() == before
    assert len(before) < 1000


def test_the_instance_itself_is_measured() -> None:
    shown = {name for name, _ in samples(PrometheusMeters())}
    assert {"process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes"} <= shown
    assert {"vesemir_build_info", "vesemir_gc_pause_seconds_count"} <= shown


def test_what_is_in_the_record_is_not_known_while_the_database_is_away() -> None:
    """An instance that is cut off must not go on saying what was true when it was."""
    meters = PrometheusMeters()
    meters.backlog(Backlog(events=9, left_drained=3, waiting={WaitsFor.LANE: 7}))
    meters.backlog(None)
    for name in ("vesemir_outbox_events", "vesemir_servers_left_drained"):
        assert math.isnan(value(meters, name))
    assert math.isnan(value(meters, "vesemir_deployments_waiting", waits_for="lane"))


def test_a_part_that_is_not_up_is_0() -> None:
    health = HealthRegistry()
    health.report("broker", PartState.UP)
    health.expect("database")
    shown = samples(PrometheusMeters(), health)
    assert shown["vesemir_part_up", frozenset({("part", "broker")})] == 1
    assert shown["vesemir_part_up", frozenset({("part", "database")})] == 0
    assert (shown["vesemir_takes_work", frozenset()], shown["vesemir_draining", frozenset()]) == (0, 0)
    health.drain()
    assert samples(PrometheusMeters(), health)["vesemir_draining", frozenset()] == 1


def test_a_command_that_is_none_is_counted_as_unknown() -> None:
    meters = PrometheusMeters()
    meters.control_received('x"} 1\n\ud800', accepted=False)
    assert value(meters, "vesemir_control_received_total", command="unknown", outcome="rejected") == 1


def test_what_is_there_at_the_start_is_no_garbage_to_look_for() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with gc_spared():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen + 1000
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_a_full_collection_of_garbage_is_a_pause() -> None:
    paused: list[float] = []
    with gc_watched(paused.append):
        gc.collect(0)
        assert paused == []
        gc.collect()
    gc.collect()
    assert [seconds > 0 for seconds in paused] == [True]


@pytest.mark.parametrize("implementation", [PrometheusMeters, SilentMeters])
def test_both_meters_have_the_whole_port(implementation: type) -> None:
    for name, method in inspect.getmembers(Meters, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(implementation, name)) == inspect.signature(method), name


def test_the_silent_log_takes_everything() -> None:
    log = SilentLog()
    with log.context(deployment_id="d1"):
        for say in (log.debug, log.info, log.warning, log.error, log.exception):
            say("{x}", x=1)


async def test_a_blocked_loop_is_noticed() -> None:
    seen: asyncio.Queue[float] = asyncio.Queue()

    class Meter(SilentMeters):
        def loop_lag(self, seconds: float) -> None:
            seen.put_nowait(seconds)

    task = asyncio.create_task(watch_loop_lag(Meter(), seconds=0.01))
    await seen.get()
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.2
    while loop.time() < until:  # holds the loop up, on purpose
        pass
    lags = [await asyncio.wait_for(seen.get(), 5) for _ in range(2)]
    task.cancel()
    assert max(lags) > 0.1


async def test_the_backlog_is_read_again_after_the_database_was_away() -> None:
    seen: asyncio.Queue[Backlog | None] = asyncio.Queue()
    answers: list[Backlog | Exception] = [StoreAwayError("away"), Backlog(events=3)]

    class Meter(SilentMeters):
        def backlog(self, backlog: Backlog | None) -> None:
            seen.put_nowait(backlog)

    async def read() -> Backlog:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = asyncio.create_task(watch_backlog(read, Meter(), seconds=0.001))
    told = [await asyncio.wait_for(seen.get(), 5) for _ in range(2)]
    assert told == [None, Backlog(events=3)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
