"""Every measure of the engine's port arrives in the exposition, and no label can be made up by a requester."""

import asyncio
import inspect
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vesemir.adapters.observe import PrometheusMeters, watch_backlog, watch_loop_lag
from vesemir.engine.health import Part, PartState
from vesemir.engine.observe import Meters, Outcome, Phase, SilentLog, SilentMeters
from vesemir.engine.store import StoreAwayError

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def samples(meters: PrometheusMeters, *parts: Part) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text, _ = meters.exposition(parts, takes_work=False)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(meters: PrometheusMeters, name: str, **labels: str) -> float:
    return samples(meters)[name, frozenset(labels.items())]


def test_what_is_reported_is_shown() -> None:
    meters = PrometheusMeters()
    meters.event_received(Outcome.ACCEPTED)
    meters.event_received(Outcome.REJECTED)
    meters.event_received(Outcome.REPEATED)
    meters.deployment_finished("failed", "step.failed", seconds=12, queued_seconds=3)
    meters.target_finished("succeeded", None, seconds=4)
    meters.step_finished("timed_out", seconds=300)
    meters.phase_finished(Phase.DRAIN, seconds=5)
    meters.lease_renewed(ok=True)
    meters.lease_renewed(ok=False)
    meters.taken_over()
    meters.running(2)
    meters.ssh(sessions=40, handshakes=5)
    meters.outbox(depth=9, oldest_seconds=1.5, parked=1)
    meters.published("confirmed", seconds=0.002)
    meters.loop_lag(0.004)
    expected = {
        ("vesemir_events_received_total", "rejected"): 1.0,
        ("vesemir_lease_renewals_total", "lost"): 1.0,
        ("vesemir_events_published_total", "confirmed"): 1.0,
        ("vesemir_events_published_total", "away"): 0.0,
    }
    for (name, outcome), number in expected.items():
        assert value(meters, name, outcome=outcome) == number
    assert value(meters, "vesemir_deployments_finished_total", status="failed", code="step.failed") == 1
    assert value(meters, "vesemir_deployment_seconds_sum") == 12
    assert value(meters, "vesemir_deployment_queued_seconds_sum") == 3
    assert value(meters, "vesemir_targets_finished_total", status="succeeded", code="") == 1
    assert value(meters, "vesemir_steps_finished_total", status="timed_out") == 1
    assert value(meters, "vesemir_phase_seconds_sum", phase="drain") == 5
    assert value(meters, "vesemir_takeovers_total") == 1
    assert value(meters, "vesemir_deployments_running") == 2
    assert value(meters, "vesemir_ssh_sessions") == 40
    assert value(meters, "vesemir_ssh_handshakes") == 5
    assert value(meters, "vesemir_outbox_events") == 9
    assert value(meters, "vesemir_outbox_oldest_seconds") == 1.5
    assert value(meters, "vesemir_outbox_parked_destinations") == 1
    assert value(meters, "vesemir_loop_lag_seconds_count") == 1


def test_the_instance_itself_is_measured() -> None:
    shown = {name for name, _ in samples(PrometheusMeters())}
    assert {"process_cpu_seconds_total", "process_open_fds", "vesemir_build_info"} <= shown


def test_a_part_that_is_not_up_is_0() -> None:
    meters = PrometheusMeters()
    shown = samples(
        meters,
        Part("broker", PartState.UP, since=SINCE),
        Part("database", PartState.STARTING, since=SINCE),
    )
    assert shown["vesemir_part_up", frozenset({("part", "broker")})] == 1
    assert shown["vesemir_part_up", frozenset({("part", "database")})] == 0


def test_a_command_that_is_none_is_counted_as_unknown() -> None:
    meters = PrometheusMeters()
    meters.control_received("cancel", accepted=True)
    meters.control_received('x"} 1\n\ud800', accepted=False)
    assert value(meters, "vesemir_control_received_total", command="cancel", outcome="accepted") == 1
    assert value(meters, "vesemir_control_received_total", command="unknown", outcome="rejected") == 1


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
    seen: asyncio.Queue[tuple[int, float, int]] = asyncio.Queue()
    answers: list[Mapping[str, Any] | Exception] = [
        StoreAwayError("away"),
        {},
        {"events": 3, "oldest_seconds": None, "parked": 1},
    ]

    class Meter(SilentMeters):
        def outbox(self, *, depth: int, oldest_seconds: float, parked: int) -> None:
            seen.put_nowait((depth, oldest_seconds, parked))

    async def read() -> Mapping[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = asyncio.create_task(watch_backlog(read, Meter(), seconds=0.001))
    assert await asyncio.wait_for(seen.get(), 5) == (3, 0.0, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
