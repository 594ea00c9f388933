"""The result of a deployment: the numbers that ``deployment.finished`` carries as ``metrics`` (contract section 2)."""

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
