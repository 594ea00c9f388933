"""Events for tests of the record, which keeps what it is given: of any name, with any fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.failure import Failure
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.changes import Emit


@dataclass(frozen=True, slots=True)
class AnyEvent:
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return dict(self.fields)


def emit(name: str, **fields: Any) -> Emit:
    return Emit(AnyEvent(name, fields))


def emit_result(
    status: DeploymentState = DeploymentState.SUCCEEDED, failure: Failure | None = None, **metrics: float
) -> Emit:
    """Of a deployment without targets."""
    return Emit(DeploymentFinishedEvent(status, failure, targets=(), metrics=metrics))
