"""The result of a deployment: what ``deployment.finished`` carries, its ``metrics`` included (contract section 2)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vesemir.domain.states import TargetState

RESULT_STATES = (
    TargetState.SUCCEEDED,
    TargetState.FAILED,
    TargetState.UNREACHABLE,
    TargetState.TIMED_OUT,
    TargetState.CANCELLED,
    TargetState.SKIPPED,
    TargetState.ROLLED_BACK,
    TargetState.UNKNOWN,
)
"""What a target can end as, in the contract's order; each has its ``targets_STATUS`` count."""


def empty_metrics(queued_seconds: float) -> dict[str, float]:
    """Every metric, zero but for the wait: what a deployment reports that never started."""
    return {
        "queued_seconds": queued_seconds,
        "resolve_seconds": 0.0,
        "duration_seconds": 0.0,
        "targets_total": 0,
        **{f"targets_{state.value}": 0 for state in RESULT_STATES},
        "target_seconds_p50": 0.0,
        "target_seconds_p95": 0.0,
        "target_seconds_max": 0.0,
        "steps_total": 0,
        "ssh_connect_seconds_p50": 0.0,
        "ssh_connect_seconds_max": 0.0,
        "output_bytes": 0,
        "takeovers": 0,
        "redone_steps": 0,
    }


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a deployment. Durations and connect times have one entry per target that has one."""

    queued_seconds: float
    resolve_seconds: float
    duration_seconds: float
    states: Sequence[TargetState]
    target_seconds: Sequence[float]
    connect_seconds: Sequence[float]
    steps: int
    redone: int
    output_bytes: int
    takeovers: int


def deployment_metrics(measured: Measured) -> dict[str, float]:
    """The ``metrics`` of ``deployment.finished``; times in seconds, to the millisecond."""
    counts = Counter(measured.states)
    times, connects = sorted(measured.target_seconds), sorted(measured.connect_seconds)
    return {
        "queued_seconds": round(measured.queued_seconds, 3),
        "resolve_seconds": round(measured.resolve_seconds, 3),
        "duration_seconds": round(measured.duration_seconds, 3),
        "targets_total": len(measured.states),
        **{f"targets_{state.value}": counts[state] for state in RESULT_STATES},
        "target_seconds_p50": round(percentile(times, 50), 3),
        "target_seconds_p95": round(percentile(times, 95), 3),
        "target_seconds_max": round(percentile(times, 100), 3),
        "steps_total": measured.steps,
        "ssh_connect_seconds_p50": round(percentile(connects, 50), 3),
        "ssh_connect_seconds_max": round(percentile(connects, 100), 3),
        "output_bytes": measured.output_bytes,
        "takeovers": measured.takeovers,
        "redone_steps": measured.redone,
    }


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of a sorted sequence; 0 of an empty one."""
    if not ordered:
        return 0.0
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
