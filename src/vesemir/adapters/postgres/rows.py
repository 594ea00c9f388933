"""Rows to the engine's values and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asyncpg import Record as Row

from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.traffic_place import found_of_json
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.domain.wish import Wish
from vesemir.engine.ports.records import DeploymentRecord, KnownRequest, StepRecord, TargetRecord, Wishes
from vesemir.engine.ports.store import DrainedServer, StoredEvent


def moment_of(moment: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def timestamp(moment: datetime | None) -> str | None:
    """The same for what may not have happened."""
    return None if moment is None else moment_of(moment)


def box_json(box: Target) -> dict[str, object]:
    return {
        "name": box.name,
        "address": box.address,
        "port": box.port,
        "user": box.user,
        "variables": dict(box.variables),
        "source": box.source,
    }


def failure_of(value: Mapping[str, str] | None) -> Failure | None:
    """A code of a later release, whose instances write into the same record, is an error of its own kind here."""
    if value is None:
        return None
    try:
        return Failure(FailureCode(value["code"]), value["message"])
    except ValueError:
        return Failure(FailureCode.INTERNAL_ERROR, f"{value['code']}: {value['message']}")


def traffic_of(value: Mapping[str, Any] | None) -> PriorTraffic | None:
    return None if value is None else PriorTraffic.of_json(value)


def failure_json(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else failure.as_json()


def wishes_of(row: Row) -> Wishes:
    cancel, pause, resume = (
        None if wish is None else Wish.of_json(wish)
        for wish in (row["cancel_wish"], row["pause_wish"], row["resume_wish"])
    )
    return Wishes(cancel, pause, resume, row["approvals"])


def asker_of(row: Row) -> Asker:
    """The release before knows RabbitMQ's user alone."""
    if row["asker"] is None:
        return Asker.by_amqp(row["user_id"], claimed=row["requested_by"])
    return Asker.of_json(row["asker"], claimed=row["requested_by"])


def known_request_of(row: Row) -> KnownRequest:
    identity = row["identity"]
    return KnownRequest(row["body_hash"], Identity.recorded(identity), certain=identity is not None)


def event_of(row: Row) -> StoredEvent:
    """With the common fields in front, in the contract's order."""
    body = {
        "event": row["name"],
        "deployment_id": row["deployment_id"],
        "sequence": row["sequence"],
        "occurred_at": timestamp(row["occurred_at"]),
        "application": row["application"],
        "environment": row["environment"],
        "version": row["version"],
        "instance": row["instance"],
    }
    return StoredEvent(row["deployment_id"], row["sequence"], row["name"], body | row["body"])


def target_of(row: Row) -> TargetRecord:
    return TargetRecord(
        name=row["name"],
        direction=Direction(row["direction"]),
        address=row["address"],
        port=row["port"],
        user=row["login"],
        variables=row["variables"],
        source=row["source"],
        batch=row["batch"],
        position=row["position"],
        state=TargetState(row["state"]),
        finished=row["finished"],
        touched=row["touched"],
        failure=failure_of(row["failure"]),
        traffic=traffic_of(row["traffic"]),
        duration_seconds=row["duration_seconds"],
        connect_seconds=row["connect_seconds"],
        in_traffic=row["in_traffic"],
    )


def step_of(row: Row) -> StepRecord:
    return StepRecord(
        target=row["target"],
        direction=Direction(row["direction"]),
        step=row["step"],
        attempt=row["attempt"],
        status=StepStatus(row["status"]),
        exit_status=row["exit_status"],
        duration_seconds=row["duration_seconds"],
        output=row["output"],
        output_bytes=row["output_bytes"],
        output_truncated=row["output_truncated"],
        redone=row["redone"],
    )


def deployment_of(row: Row, targets: tuple[TargetRecord, ...]) -> DeploymentRecord:
    return DeploymentRecord(
        deployment_id=row["deployment_id"],
        request=row["request"],
        state=DeploymentState(row["state"]),
        owner=row["owner"],
        epoch=row["epoch"],
        queued_seconds=row["queued_seconds"],
        clock_seconds=row["clock_seconds"],
        total_seconds=row["total_seconds"],
        resolve_seconds=row["resolve_seconds"],
        failure=failure_of(row["failure"]),
        wishes=wishes_of(row),
        takeovers=row["takeovers"],
        started=row["started"],
        targets=targets,
        balancers=tuple(Target(**box) for box in row["balancers"]),
        backends=None if row["found_backends"] is None else found_of_json(row["found_backends"]),
        awaits_approval=row["awaits_approval"],
        approved_batch=row["approved_batch"],
        asker=asker_of(row),
        recipe_source=row["recipe_source"],
        paused_seconds=row["paused_for_seconds"],
        sealed=row["sealed"],
        defaults=row["defaults"],
        not_after=timestamp(row["not_after"]),
        expires_in_seconds=row["expires_in_seconds"],
    )


def drained_server_of(row: Row) -> DrainedServer:
    return DrainedServer(
        deployment_id=row["deployment_id"],
        target=row["target"],
        backend=row["backend"],
        traffic=PriorTraffic.of_json(row["traffic"]),
        balancers=tuple(Target(**box) for box in row["balancers"]),
    )
