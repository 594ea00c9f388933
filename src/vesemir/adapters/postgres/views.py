"""Rows to what people and programs see of the record."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncpg import Record as Row

from vesemir.adapters.postgres.rows import asker_of, moment_of, timestamp, wishes_of
from vesemir.domain.doing import Doing
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.engine.ports.views import (
    BalancerView,
    DeploymentSummary,
    DeploymentView,
    DestinationView,
    DrainedServerView,
    FailureView,
    InstanceState,
    InstanceView,
    LaneDeployment,
    PredecessorView,
    StepView,
    TargetView,
    UnfinishedView,
)


def summary_of(row: Row) -> DeploymentSummary:
    return DeploymentSummary(**_summary(row))


def unfinished_of(row: Row) -> UnfinishedView:
    how_far = ("before_it", "targets_total", "targets_done", "targets_failed", "due")
    shown = {name: row[name] for name in how_far}
    return UnfinishedView(**_summary(row), **shown, not_before=timestamp(row["not_before"]))


def deployment_of(
    row: Row,
    *,
    before: Sequence[Row],
    targets: Sequence[Row],
    destinations: Sequence[Row],
    doing: tuple[Doing, ...] | None,
) -> DeploymentView:
    wishes = wishes_of(row)
    return DeploymentView(
        **_summary(row),
        user_id=row["user_id"],
        request=row["request"],
        metrics=row["metrics"],
        last_owner=row["last_owner"],
        epoch=row["epoch"],
        lease_expires_at=timestamp(row["lease_expires_at"]),
        lease_expired=row["lease_expired"],
        awaits_approval=row["awaits_approval"],
        paused_for_seconds=row["paused_for_seconds"],
        expiries=row["expiries"],
        takeovers=row["takeovers"],
        cancel=wishes.cancel,
        pause=wishes.pause,
        approvals=wishes.approvals,
        queued_seconds=row["queued_seconds"],
        resolve_seconds=row["resolve_seconds"],
        steps_total=row["steps_total"],
        balancers=tuple(BalancerView(box["name"], box["variables"].get("haproxy_socket")) for box in row["balancers"]),
        last_sequence=row["next_sequence"] - 1,
        waits_for=tuple(map(_predecessor, before)),
        targets=tuple(map(_target, targets)),
        destinations=tuple(_destination(each, row["next_sequence"] - 1) for each in destinations),
        doing=doing,
        not_before=timestamp(row["not_before"]),
        not_after=timestamp(row["not_after"]),
        due=row["due"],
    )


def _summary(row: Row) -> dict[str, Any]:
    return {
        "deployment_id": row["deployment_id"],
        "application": row["application"],
        "environment": row["environment"],
        "version": row["version"],
        "recipe": row["recipe"],
        "team": row["team"],
        "requested_by": row["requested_by"],
        "identity": _identity(row),
        "state": DeploymentState(row["state"]),
        "dry_run": row["dry_run"],
        "owner": row["owner"],
        "failure": FailureView.of_json(row["failure"]),
        "accepted_at": moment_of(row["accepted_at"]),
        "started_at": timestamp(row["started_at"]),
        "finished_at": timestamp(row["finished_at"]),
        "duration_seconds": row["duration_seconds"],
    }


def _identity(row: Row) -> str | None:
    identity = asker_of(row).identity
    return None if identity is None else str(identity)


def _predecessor(row: Row) -> PredecessorView:
    return PredecessorView(
        deployment_id=row["deployment_id"],
        version=row["version"],
        state=DeploymentState(row["state"]),
        dry_run=row["dry_run"],
        requested_by=row["requested_by"],
        identity=_identity(row),
        accepted_at=moment_of(row["accepted_at"]),
    )


def _target(row: Row) -> TargetView:
    return TargetView(
        name=row["name"],
        direction=Direction(row["direction"]),
        address=row["address"],
        port=row["port"],
        user=row["login"],
        source=row["source"],
        batch=row["batch"],
        status=TargetState(row["state"]),
        finished=row["finished"],
        touched=row["touched"],
        failure=FailureView.of_json(row["failure"]),
        traffic=row["traffic"],
        duration_seconds=row["duration_seconds"],
        connect_seconds=row["connect_seconds"],
        in_traffic=row["in_traffic"],
        back_in_traffic_at=timestamp(row["back_in_traffic_at"]),
        left_drained=_left_drained(row),
    )


def _left_drained(row: Row) -> DrainedServerView | None:
    if row["drained_by"] is None:
        return None
    return _drained(row, row["drained_lane"], row["name"], row["drained_by"], row["drained_since"])


def _destination(row: Row, last_sequence: int) -> DestinationView:
    return DestinationView(
        reply_to=row["reply_to"],
        correlation_id=row["correlation_id"],
        delivered=row["cursor"],
        due=last_sequence - row["cursor"],
        failing_since=timestamp(row["failing_since"]),
        next_attempt_at=timestamp(row["next_attempt_at"]),
        reason=row["reason"],
        parked_at=timestamp(row["parked_at"]),
    )


def drained_of(row: Row) -> DrainedServerView:
    return _drained(row, row["lane"], row["target"], row["deployment_id"], row["since"])


def _drained(row: Row, lane: str, target: str, deployment_id: str, since: datetime) -> DrainedServerView:
    """With what the row says of the last look at it."""
    return DrainedServerView(
        lane=lane,
        target=target,
        deployment_id=deployment_id,
        since=moment_of(since),
        seen_at=timestamp(row["seen_at"]),
        seen_by=row["seen_by"],
        known_seconds_ago=row["known_seconds_ago"],
    )


def instance_of(row: Row) -> InstanceView:
    return InstanceView(
        name=row["name"],
        version=row["version"],
        state=InstanceState(row["state"]),
        since=moment_of(row["since"]),
        in_work=row["in_work"],
        renewed_at=moment_of(row["renewed_at"]),
    )


def step_of(row: Row) -> StepView:
    return StepView(
        step_id=row["step_id"],
        target=row["target"],
        direction=Direction(row["direction"]),
        step=row["step"],
        attempt=row["attempt"],
        status=StepStatus(row["status"]),
        exit_status=row["exit_status"],
        duration_seconds=row["duration_seconds"],
        output_bytes=row["output_bytes"],
        output_truncated=row["output_truncated"],
        redone=row["redone"],
        recorded_at=moment_of(row["recorded_at"]),
        output=row["output"],
    )


def lane_deployment_of(row: Row) -> LaneDeployment:
    return LaneDeployment(
        deployment_id=row["deployment_id"],
        application=row["application"],
        environment=row["environment"],
        version=row["version"],
        recipe=row["recipe"],
        state=DeploymentState(row["state"]),
        request=row["request"],
        started_at=timestamp(row["started_at"]),
        finished_at=timestamp(row["finished_at"]),
        targets=frozenset(row["targets"]),
        touched=frozenset(row["touched"]),
        brought_back=frozenset(row["brought_back"]),
    )
