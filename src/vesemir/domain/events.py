"""What a running deployment tells: one value per event of the contract, with its name and its own fields as JSON; pure.

The store adds the common fields, ``sequence`` and ``occurred_at``. The models of ``vesemir.contract.events`` judge the
whole; the order of the fields is the contract's. Durations are given in seconds and told to the millisecond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from vesemir.domain.doing import PhaseName
from vesemir.domain.failure import Failure
from vesemir.domain.plan import Plan
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.wish import Wish


class ProgressEvent(Protocol):
    @property
    def name(self) -> str:
        """On the wire: ``step.finished``."""
        ...

    def body(self) -> dict[str, Any]:
        """Its own fields, without the common ones."""
        ...


@dataclass(frozen=True, slots=True)
class DeploymentStartedEvent:
    """``targets`` in the plan's order."""

    name: ClassVar[str] = "deployment.started"
    targets: Sequence[Target]
    plan: Plan

    def body(self) -> dict[str, Any]:
        return {
            "targets": [{"name": target.name, "address": target.address} for target in self.targets],
            "batches": [list(batch.names) for batch in self.plan.batches],
        }


@dataclass(frozen=True, slots=True)
class TargetStartedEvent:
    name: ClassVar[str] = "target.started"
    target: str
    batch: int
    direction: Direction

    def body(self) -> dict[str, Any]:
        return {"target": self.target, "batch": self.batch, "direction": self.direction.value}


@dataclass(frozen=True, slots=True)
class StepFinishedEvent:
    """``output`` is what an event has room for: the end of it (``verdict.event_output``)."""

    name: ClassVar[str] = "step.finished"
    target: str
    step: str
    phase: PhaseName
    status: StepStatus
    exit_status: int | None
    duration_seconds: float
    output: str
    output_truncated: bool

    def body(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "step": self.step,
            "phase": self.phase,
            "status": self.status.value,
            "exit_status": self.exit_status,
            "duration_seconds": round(self.duration_seconds, 3),
            "output": self.output,
            "output_truncated": self.output_truncated,
        }


@dataclass(frozen=True, slots=True)
class TargetFinishedEvent:
    name: ClassVar[str] = "target.finished"
    target: str
    direction: Direction
    status: TargetState
    failure: Failure | None
    duration_seconds: float | None
    in_traffic: bool | None = None

    def body(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "direction": self.direction.value,
            "status": self.status.value,
            "failure": _failure_json(self.failure),
            "duration_seconds": round(self.duration_seconds or 0.0, 3),
            "in_traffic": self.in_traffic,
        }


@dataclass(frozen=True, slots=True)
class TargetRegressedEvent:
    """``in_traffic`` is None where no traffic is moved."""

    name: ClassVar[str] = "target.regressed"
    target: str
    failure: Failure
    in_traffic: bool | None

    def body(self) -> dict[str, Any]:
        return {"target": self.target, "failure": self.failure.as_json(), "in_traffic": self.in_traffic}


@dataclass(frozen=True, slots=True)
class DeploymentPausedEvent:
    name: ClassVar[str] = "deployment.paused"
    wish: Wish

    def body(self) -> dict[str, Any]:
        return _asked(self.wish)


@dataclass(frozen=True, slots=True)
class DeploymentResumedEvent:
    name: ClassVar[str] = "deployment.resumed"
    wish: Wish

    def body(self) -> dict[str, Any]:
        return _asked(self.wish)


@dataclass(frozen=True, slots=True)
class DeploymentCancellingEvent:
    name: ClassVar[str] = "deployment.cancelling"
    wish: Wish

    def body(self) -> dict[str, Any]:
        return _asked(self.wish)


@dataclass(frozen=True, slots=True)
class DeploymentRollingBackEvent:
    """Nobody asked for it: a failure made it."""

    name: ClassVar[str] = "deployment.rolling_back"
    failure: Failure

    def body(self) -> dict[str, Any]:
        return {**_asked(Wish()), "failure": self.failure.as_json()}


@dataclass(frozen=True, slots=True)
class DeploymentTakenOverEvent:
    name: ClassVar[str] = "deployment.taken_over"
    epoch: int
    previous_instance: str

    def body(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "previous_instance": self.previous_instance}


@dataclass(frozen=True, slots=True)
class TargetEnd:
    """What one target ended as, in the deployment's result."""

    target: Target
    status: TargetState
    failure: Failure | None
    duration_seconds: float | None
    in_traffic: bool | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.target.name,
            "address": self.target.address,
            "status": self.status.value,
            "failure": _failure_json(self.failure),
            "duration_seconds": round(self.duration_seconds or 0.0, 3),
            "in_traffic": self.in_traffic,
        }


@dataclass(frozen=True, slots=True)
class DeploymentFinishedEvent:
    """The result. ``plan`` is that of a dry run."""

    name: ClassVar[str] = "deployment.finished"
    status: DeploymentState
    failure: Failure | None
    targets: Sequence[TargetEnd]
    metrics: Mapping[str, float]
    plan: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        return {
            "status": self.status.value,
            "failure": _failure_json(self.failure),
            "targets": [end.as_json() for end in self.targets],
            "metrics": dict(self.metrics),
            **({} if self.plan is None else {"plan": self.plan}),
        }


def _asked(wish: Wish) -> dict[str, Any]:
    return {"requested_by": wish.requested_by, "reason": wish.reason}


def _failure_json(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else failure.as_json()
