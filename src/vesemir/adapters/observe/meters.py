"""The engine's measures as Prometheus has them. Names follow its conventions; no label has more than a few values."""

import asyncio
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
    generate_latest,
)

from vesemir import __version__
from vesemir.engine.health import Part, PartState
from vesemir.engine.observe import Outcome, Phase

COMMANDS = frozenset({"cancel", "pause", "resume"})
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class PrometheusMeters:
    """Has a registry of its own, so that two services in one process (tests) do not meet."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._make_counters(registry)
        self._make_times(registry)
        self._make_gauges(registry)
        self._begin_at_zero()

    def exposition(self, parts: Iterable[Part], *, takes_work: bool) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type."""
        for part in parts:
            self._part_up.labels(part.name).set(part.state is PartState.UP)
        self._takes_work.set(takes_work)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    # --- the engine's Meters ---------------------------------------------------------------------------------------

    def event_received(self, outcome: Outcome) -> None:
        self._events.labels(outcome.value).inc()

    def control_received(self, command: str, *, accepted: bool) -> None:
        # A command that is none of ours is a requester's text, and no label may be that.
        known = command if command in COMMANDS else "unknown"
        self._controls.labels(known, "accepted" if accepted else "rejected").inc()

    def deployment_finished(self, status: str, code: str | None, *, seconds: float, queued_seconds: float) -> None:
        self._deployments.labels(status, code or "").inc()
        self._deployment_seconds.observe(seconds)
        self._queued_seconds.observe(queued_seconds)

    def target_finished(self, status: str, code: str | None, *, seconds: float) -> None:
        self._targets.labels(status, code or "").inc()
        self._target_seconds.observe(seconds)

    def step_finished(self, status: str, *, seconds: float) -> None:
        self._steps.labels(status).inc()
        self._step_seconds.observe(seconds)

    def phase_finished(self, phase: Phase, *, seconds: float) -> None:
        self._phase_seconds.labels(phase.value).observe(seconds)

    def lease_renewed(self, *, ok: bool) -> None:
        self._leases.labels("renewed" if ok else "lost").inc()

    def taken_over(self) -> None:
        self._takeovers.inc()

    def running(self, deployments: int) -> None:
        self._running.set(deployments)

    def ssh(self, *, sessions: int, handshakes: int) -> None:
        self._ssh_sessions.set(sessions)
        self._ssh_handshakes.set(handshakes)

    def outbox(self, *, depth: int, oldest_seconds: float, parked: int) -> None:
        self._outbox_events.set(depth)
        self._outbox_oldest.set(oldest_seconds)
        self._outbox_parked.set(parked)

    def published(self, outcome: str, *, seconds: float) -> None:
        self._published.labels(outcome).inc()
        self._publish_seconds.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    # --- what they are ---------------------------------------------------------------------------------------------

    def _make_counters(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"vesemir_{name}", text, labels, registry=registry)

        self._events = counter("events_received", "Deploy events read, by what became of them.", "outcome")
        self._controls = counter("control_received", "Control messages read.", "command", "outcome")
        self._deployments = counter("deployments_finished", "Deployments ended here.", "status", "code")
        self._targets = counter("targets_finished", "Targets ended here.", "status", "code")
        self._steps = counter("steps_finished", "Steps ended here.", "status")
        self._leases = counter("lease_renewals", "Renewals of leases; lost: another instance may go on.", "outcome")
        self._takeovers = counter("takeovers", "Deployments of other instances that this one went on with.")
        self._published = counter("events_published", "Events published, by the broker's answer.", "outcome")

    def _make_times(self, registry: CollectorRegistry) -> None:
        def times(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"vesemir_{name}_seconds", text, labels, registry=registry, buckets=buckets)

        self._queued_seconds = times("deployment_queued", "From accepted to started.", LONG)
        self._deployment_seconds = times("deployment", "From started to finished.", LONG)
        self._target_seconds = times("target", "All work on one target.", LONG)
        self._step_seconds = times("step", "One step on one target.", LONG)
        self._phase_seconds = times("phase", "Resolving, draining, connecting.", LONG, "phase")
        self._publish_seconds = times("publish", "From handing an event to the broker to its answer.", SHORT)
        self._loop_lag = times("loop_lag", "How late the event loop comes back to a waiting task.", SHORT)

    def _make_gauges(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"vesemir_{name}", text, labels, registry=registry)

        self._running = gauge("deployments_running", "Deployments that this instance runs now.")
        self._ssh_sessions = gauge("ssh_sessions", "SSH connections open now.")
        self._ssh_handshakes = gauge("ssh_handshakes", "SSH connections being made now.")
        self._outbox_events = gauge("outbox_events", "Events that wait to be published, of all instances.")
        self._outbox_oldest = gauge("outbox_oldest_seconds", "For how long the oldest of them has waited.")
        self._outbox_parked = gauge(
            "outbox_parked_destinations", "Destinations given up until they are asked for again."
        )
        self._part_up = gauge("part_up", "1 while a part (broker, database) works.", "part")
        self._takes_work = gauge("takes_work", "1 while this instance takes work; what /health says.")
        gauge("tasks", "Tasks of the event loop now.").set_function(_tasks)
        gauge("build_info", "Always 1.", "version", "python").labels(__version__, platform.python_version()).set(1)

    def _begin_at_zero(self) -> None:
        """A rate needs a first value; what has few labels has one from the beginning."""
        for outcome in Outcome:
            self._events.labels(outcome.value)
        for outcome_of_lease in ("renewed", "lost"):
            self._leases.labels(outcome_of_lease)
        for answer in ("confirmed", "returned", "refused", "away"):
            self._published.labels(answer)
        for phase in Phase:
            self._phase_seconds.labels(phase.value)


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked outside the event loop
        return 0
