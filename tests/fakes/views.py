"""Views of deployments for tests of what shows them: a running deployment ``d1``, and whatever a test changes of it."""

from dataclasses import replace
from typing import Any

from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.engine.ports.views import DeploymentSummary, DeploymentView, DrainedServerView, StepView, TargetView

SUMMARY: dict[str, Any] = {
    "deployment_id": "d1",
    "application": "shop",
    "environment": "production",
    "version": "1.4.2",
    "recipe": "symlink",
    "team": None,
    "requested_by": "anna",
    "identity": None,
    "state": DeploymentState.RUNNING,
    "dry_run": False,
    "owner": "a/1",
    "failure": None,
    "accepted_at": "2026-11-23T12:00:00.000000Z",
    "started_at": "2026-11-23T12:00:01.000000Z",
    "finished_at": None,
    "duration_seconds": 12.0,
}
MORE: dict[str, Any] = {
    "user_id": None,
    "request": {},
    "metrics": None,
    "last_owner": "a/1",
    "epoch": 7,
    "lease_expires_at": "2026-11-23T12:01:00.000000Z",
    "lease_expired": False,
    "awaits_approval": False,
    "paused_for_seconds": None,
    "expiries": 0,
    "takeovers": 0,
    "cancel": None,
    "pause": None,
    "approvals": 0,
    "queued_seconds": 0.5,
    "resolve_seconds": 0.1,
    "steps_total": 0,
    "balancers": (),
    "last_sequence": 2,
    "waits_for": (),
    "targets": (),
    "destinations": (),
}


def a_summary(**changes: Any) -> DeploymentSummary:
    return DeploymentSummary(**{**SUMMARY, **changes})


def a_view(**changes: Any) -> DeploymentView:
    return DeploymentView(**{**SUMMARY, **MORE, **changes})


def a_drained_view(target: str, by: str = "d1", **changes: Any) -> DrainedServerView:
    """An instance saw it so, 12 seconds ago."""
    values: dict[str, Any] = {
        "lane": "shop/production",
        "target": target,
        "deployment_id": by,
        "since": "2026-11-23T12:00:10.000000Z",
        "seen_at": "2026-11-23T12:05:00.000000Z",
        "seen_by": "a/1",
        "known_seconds_ago": 12.3,
    }
    return DrainedServerView(**{**values, **changes})


def a_target_view(
    name: str,
    status: TargetState,
    *,
    direction: Direction = Direction.FORWARD,
    finished: bool | None = None,
    **changes: Any,
) -> TargetView:
    """``finished`` is what its status says, unless given."""
    view = TargetView(
        name=name,
        direction=direction,
        address="127.0.0.2",
        port=22,
        user="deploy",
        source="inventory",
        batch=1,
        status=status,
        finished=status not in {TargetState.PENDING, TargetState.RUNNING} if finished is None else finished,
        touched=False,
        failure=None,
        traffic=None,
        duration_seconds=None,
        connect_seconds=None,
        in_traffic=None,
        back_in_traffic_at=None,
        left_drained=None,
    )
    return replace(view, **changes)


def a_step_view(number: int, target: str, *, output: str | None = None) -> StepView:
    return StepView(
        step_id=number,
        target=target,
        direction=Direction.FORWARD,
        step="switch",
        attempt=1,
        status=StepStatus.SUCCEEDED,
        exit_status=0,
        duration_seconds=1.0,
        output_bytes=0,
        output_truncated=False,
        redone=False,
        recorded_at="2026-11-23T12:00:02.000000Z",
        output=output,
    )
