"""How a deployment ends: what each of its phases may return, and what the one place that closes it writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vesemir.domain.failure import Failure
from vesemir.domain.states import DeploymentState
from vesemir.engine.ownership.stop_signal import StopReason
from vesemir.engine.target.row import Row

_STATES_OF_STOP = {
    StopReason.CANCELLED: DeploymentState.CANCELLED,
    StopReason.NOT_RESUMED: DeploymentState.CANCELLED,
    StopReason.DEPLOYMENT_TIMED_OUT: DeploymentState.TIMED_OUT,
    StopReason.BUDGET: DeploymentState.TIMED_OUT,
}
"""What is handed over or lost has no end here."""


@dataclass(frozen=True, slots=True)
class Ending:
    """``back`` has the rows of the way back by name; ``plan`` is that of a dry run, as JSON."""

    state: DeploymentState
    failure: Failure | None = None
    back: Mapping[str, Row] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None

    @classmethod
    def failed(cls, failure: Failure) -> "Ending":
        return cls(DeploymentState.FAILED, failure)

    @classmethod
    def stopped(cls, reason: StopReason, failure: Failure) -> "Ending":
        """By a person or by its time."""
        return cls(_STATES_OF_STOP[reason], failure)
