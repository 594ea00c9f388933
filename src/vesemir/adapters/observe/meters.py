"""The engine's measures as Prometheus has them. docs/metrics.md lists them; a test compares it with a real scrape.

Names and units follow Prometheus' conventions. A label's values come from this program's own enumerations, so there are
as many series on the last day as on the first. Each exists from the beginning: a rate needs a first value.
"""

import asyncio
import math
import platform
from collections.abc import Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from vesemir import __version__
from vesemir.domain.control import COMMANDS
from vesemir.domain.failure import FailureCode
from vesemir.domain.states import FINAL, TARGET_TRANSITIONS, DeploymentState, TargetState
from vesemir.domain.step import StepStatus
from vesemir.engine.ports.broker import PublishOutcome
from vesemir.engine.ports.observe import Backlog, IntakeOutcome, Phase, WaitsFor
from vesemir.engine.upkeep.health import HealthRegistry, PartState

UNKNOWN_COMMAND = "unknown"
AWAY = "away"
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds of what takes milliseconds while all is well."""
LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Seconds of work on hosts, up to the default limits of the settings."""


class PrometheusMeters:
    """Has a registry of its own, so that two services in one process (tests) do not meet."""

    def __init__(self) -> None:
        # The times at which counters were made say nothing here, and double what every scrape costs.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._make_counters(registry)
        self._make_times(registry)
        self._make_gauges(registry)
        self._begin_at_zero()
        self.backlog(None)

    def exposition(self, health: HealthRegistry) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type."""
        for part in health.parts:
            self._part_up.labels(part.name).set(part.state is PartState.UP)
        self._takes_work.set(health.takes_work)
        self._draining.set(health.draining)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    # --- the engine's Meters ---------------------------------------------------------------------------------------

    def event_received(self, outcome: IntakeOutcome, code: FailureCode | None = None) -> None:
        self._events.labels(outcome.value).inc()
        if code is not None:
            self._events_rejected.labels(code.value).inc()

    def control_received(self, command: str, *, accepted: bool) -> None:
        # A command that is none of ours is a requester's text, and no label may be that.
        known = command if command in COMMANDS else UNKNOWN_COMMAND
        self._controls.labels(known, "accepted" if accepted else "rejected").inc()

    def glass_broken(self) -> None:
        self._broken_glass.inc()

    def deployment_finished(self, status: DeploymentState, code: FailureCode | None, *, seconds: float | None) -> None:
        self._deployments.labels(status.value).inc()
        if code is not None:
            self._deployment_failures.labels(code.value).inc()
        if seconds is not None:
            self._deployment_seconds.labels(status.value).observe(seconds)

    def dry_run_finished(self, status: DeploymentState) -> None:
        self._dry_runs.labels(status.value).inc()

    def target_finished(self, status: TargetState, code: FailureCode | None, *, seconds: float | None) -> None:
        self._targets.labels(status.value).inc()
        if code is not None:
            self._target_failures.labels(code.value).inc()
        if seconds is not None:
            self._target_seconds.observe(seconds)

    def left_drained(self) -> None:
        self._targets_left_drained.inc()

    def step_finished(self, status: StepStatus, *, seconds: float, redone: bool) -> None:
        self._steps.labels(status.value).inc()
        self._step_seconds.observe(seconds)
        if redone:
            self._steps_redone.inc()

    def phase_finished(self, phase: Phase, *, seconds: float) -> None:
        self._phase_seconds.labels(phase.value).observe(seconds)

    def lease_renewed(self, *, ok: bool) -> None:
        self._lease_renewals.labels("renewed" if ok else "unanswered").inc()

    def lease_lost(self) -> None:
        self._leases_lost.inc()

    def taken_over(self, *, expired: bool) -> None:
        self._takeovers.labels("expired" if expired else "handed_back").inc()

    def running(self, deployments: int) -> None:
        self._running.set(deployments)

    def ssh(self, *, sessions: int, handshakes: int) -> None:
        self._ssh_sessions.set(sessions)
        self._ssh_handshakes.set(handshakes)

    def ssh_login_repeated(self) -> None:
        self._ssh_logins_repeated.inc()

    def backlog(self, backlog: Backlog | None) -> None:
        known = backlog is not None
        seen = backlog or Backlog()
        for gauge, value in (
            (self._outbox_events, seen.events),
            (self._outbox_oldest, seen.oldest_seconds),
            (self._destinations_failing, seen.failing),
            (self._destinations_parked, seen.parked),
            (self._waiting_oldest, seen.waiting_oldest_seconds),
            (self._servers_left_drained, seen.left_drained),
            (self._lanes_locked, seen.locked_lanes),
        ):
            gauge.set(value if known else math.nan)
        for waits_for in WaitsFor:
            self._waiting.labels(waits_for.value).set(seen.waiting.get(waits_for, 0) if known else math.nan)

    def published(self, outcome: str, *, seconds: float) -> None:
        self._published.labels(outcome).inc()
        self._publish_seconds.observe(seconds)

    def parked(self) -> None:
        self._parked.inc()

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    # --- what only this process knows ------------------------------------------------------------------------------

    def gc_paused(self, seconds: float) -> None:
        """The interpreter stood still for a full collection of garbage."""
        self._gc_pauses.observe(seconds)

    # --- what they are ---------------------------------------------------------------------------------------------

    def _make_counters(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"vesemir_{name}", text, labels, registry=registry)

        self._events = counter("events_received", "Deploy events read, by what became of them.", "outcome")
        self._events_rejected = counter("events_rejected", "Deploy events refused, by failure code.", "code")
        self._controls = counter("control_received", "Control messages read.", "command", "outcome")
        self._broken_glass = counter("break_glass", "Deployments accepted that go past locks and freezes.")
        self._deployments = counter("deployments_finished", "Deployments ended, by status.", "status")
        self._dry_runs = counter("dry_runs_finished", "Dry runs ended; they are counted nowhere else.", "status")
        self._deployment_failures = counter("deployment_failures", "Failures of deployments, by code.", "code")
        self._targets = counter("targets_finished", "Targets ended, by status.", "status")
        self._target_failures = counter("target_failures", "Failures of targets, by code.", "code")
        self._targets_left_drained = counter("targets_left_drained", "Targets whose server was left drained.")
        self._steps = counter("steps_finished", "Tries of steps ended, by status.", "status")
        self._steps_redone = counter("steps_redone", "Of these, begun before by an instance or connection that died.")
        self._lease_renewals = counter("lease_renewals", "Leases renewed, and renewals without answer.", "outcome")
        self._leases_lost = counter("leases_lost", "Leases lost: the deployment was stopped here at once.")
        self._takeovers = counter("takeovers", "Deployments of other instances gone on with, by why.", "reason")
        self._ssh_logins_repeated = counter("ssh_logins_repeated", "Logins refused as credentials were replaced.")
        self._published = counter("events_published", "Events published, by the broker's answer.", "outcome")
        self._parked = counter("destinations_parked", "Destinations given up, undeliverable for too long.")

    def _make_times(self, registry: CollectorRegistry) -> None:
        def times(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"vesemir_{name}_seconds", text, labels, registry=registry, buckets=buckets)

        self._deployment_seconds = times("deployment_duration", "From claimed to finished.", LONG, "status")
        self._target_seconds = times("target_duration", "All work on one target.", LONG)
        self._step_seconds = times("step_duration", "One try of a step on one target.", LONG)
        self._phase_seconds = times("phase_duration", "Queue, resolve (per deployment), connect, drain.", LONG, "phase")
        self._publish_seconds = times("publish_duration", "From handing an event to the broker to its answer.", SHORT)
        self._loop_lag = times("loop_lag", "How late the event loop comes back to a waiting task.", SHORT)
        self._gc_pauses = times("gc_pause", "Full collections of garbage: nothing else runs meanwhile.", SHORT)

    def _make_gauges(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"vesemir_{name}", text, labels, registry=registry)

        self._running = gauge("deployments_running", "Deployments that this instance runs now.")
        self._ssh_sessions = gauge("ssh_sessions", "SSH connections to targets open now.")
        self._ssh_handshakes = gauge("ssh_handshakes", "SSH connections being made now.")
        self._waiting = gauge("deployments_waiting", "Deployments that nobody works on (record).", "waits_for")
        self._waiting_oldest = gauge("deployments_waiting_oldest_seconds", "Since when the oldest waits (record).")
        self._outbox_events = gauge("outbox_events", "Events that wait to be published (record).")
        self._outbox_oldest = gauge("outbox_oldest_seconds", "Since when the oldest waits (record).")
        self._destinations_failing = gauge("outbox_failing_destinations", "Destinations tried again (record).")
        self._destinations_parked = gauge("outbox_parked_destinations", "Destinations given up (record).")
        self._servers_left_drained = gauge("servers_left_drained", "Servers out because of a result (record).")
        self._lanes_locked = gauge("lanes_locked", "Lanes in which nothing new begins (record).")
        self._part_up = gauge("part_up", "1 while a part (broker, database) works.", "part")
        self._takes_work = gauge("takes_work", "1 while this instance takes work; what /health says.")
        self._draining = gauge("draining", "1 from when this instance was told to stop.")
        gauge("tasks", "Tasks of the event loop now.").set_function(_tasks)
        gauge("build_info", "Always 1.", "version", "python").labels(__version__, platform.python_version()).set(1)

    def _begin_at_zero(self) -> None:
        ends = [state for state, following in TARGET_TRANSITIONS.items() if not following]
        for meter, values in (
            (self._events, IntakeOutcome),
            (self._events_rejected, FailureCode),
            (self._deployments, FINAL),
            (self._dry_runs, FINAL),
            (self._deployment_failures, FailureCode),
            (self._deployment_seconds, FINAL),
            (self._targets, [*ends, TargetState.UNKNOWN]),
            (self._target_failures, FailureCode),
            (self._steps, StepStatus),
            (self._lease_renewals, ("renewed", "unanswered")),
            (self._takeovers, ("expired", "handed_back")),
            (self._published, (*PublishOutcome, AWAY)),
            (self._phase_seconds, Phase),
        ):
            _begin(meter, values)
        for command in (*COMMANDS, UNKNOWN_COMMAND):
            for outcome in ("accepted", "rejected"):
                self._controls.labels(command, outcome)


def _begin(meter: Counter | Histogram, values: Iterable[str]) -> None:
    for value in values:
        meter.labels(str(value))


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked outside the event loop
        return 0
