"""``deployment.finished`` as a requester reads it: what it does not know in the event is left alone. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vesemir.cli.rollout import RolloutProgress, TargetProgress
from vesemir.engine.ports.views import FailureView

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FinishedTarget:
    name: str
    address: str
    status: str
    failure: FailureView | None
    duration_seconds: float
    in_traffic: bool | None = None
    ended_at: str = ""
    out_before: str = ""

    @property
    def finished(self) -> bool:
        return True

    @classmethod
    def of_json(cls, target: Json, seen: TargetProgress | None = None) -> "FinishedTarget":
        """``seen`` is what earlier events told of it. Instances of 0.1 leave ``in_traffic`` out."""
        return cls(
            name=target["name"],
            address=target["address"],
            status=target["status"],
            failure=FailureView.of_json(target["failure"]),
            duration_seconds=target["duration_seconds"],
            in_traffic=target.get("in_traffic"),
            ended_at=seen.ended_at if seen else "",
            out_before=seen.out_before if seen else "",
        )


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """``server`` is BACKEND/SERVER in HAProxy, one for each backend with commas between; ``unchecked`` is what could
    not be looked at, and why; ``taken_out`` where somebody has taken it out of traffic."""

    name: str
    address: str
    source: str
    server: str | None
    steps: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    taken_out: str = ""

    @classmethod
    def of_json(cls, target: Json) -> "PlannedHost":
        """A plan of release 0.1 has neither ``unchecked`` nor ``taken_out``."""
        return cls(
            name=target["name"],
            address=target["address"],
            source=target["source"],
            server=target["server"],
            steps=tuple(target["steps"]),
            unchecked=tuple(target.get("unchecked", ())),
            taken_out=target.get("taken_out", ""),
        )


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """What a dry run would do."""

    batches: Sequence[Sequence[str]]
    targets: Sequence[PlannedHost]
    load_balancers: Sequence[str]
    promotion: Sequence[str] = ()

    @classmethod
    def of_json(cls, plan: Json) -> "FoundPlan":
        """Plans of earlier releases have no ``promotion``."""
        targets = [PlannedHost.of_json(each) for each in plan["targets"]]
        return cls(plan["batches"], targets, plan["load_balancers"], plan.get("promotion", ()))


@dataclass(frozen=True, slots=True)
class FinishedDeployment:
    """``plan`` is that of a dry run that came as far as to know its targets."""

    deployment_id: str
    what: str
    status: str
    failure: FailureView | None
    targets: Sequence[FinishedTarget]
    succeeded: int
    rolled_back: int
    total: int
    duration_seconds: float
    plan: FoundPlan | None
    dry_run: bool = False

    @classmethod
    def of_event(cls, event: Json, rollout: RolloutProgress | None = None) -> "FinishedDeployment":
        """``rollout`` is what the events before it told."""
        metrics, plan = event["metrics"], event.get("plan")
        seen = rollout.targets if rollout else {}
        return cls(
            deployment_id=event["deployment_id"],
            what=f"{event['version']} of {event['application']} in {event['environment']}",
            status=event["status"],
            failure=FailureView.of_json(event["failure"]),
            targets=[FinishedTarget.of_json(each, seen.get(each["name"])) for each in event["targets"]],
            succeeded=metrics["targets_succeeded"],
            rolled_back=metrics["targets_rolled_back"],
            total=metrics["targets_total"],
            duration_seconds=metrics["duration_seconds"],
            plan=None if plan is None else FoundPlan.of_json(plan),
            dry_run=plan is not None or (rollout is not None and rollout.dry_run),
        )
