"""What a control message does, by the state its deployment is in: decided here, carried out by the record. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.identity import Identity
from vesemir.domain.result import empty_metrics
from vesemir.domain.states import ACTIVE, DeploymentState

DeploymentCommandName = Literal["cancel", "pause", "resume"]
LaneCommandName = Literal["lock", "unlock"]
CommandName = Literal["cancel", "pause", "resume", "lock", "unlock"]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)
LANE_COMMANDS: tuple[LaneCommandName, ...] = get_args(LaneCommandName)

OnceAnswer = Literal["done", "again", "failed"]
"""What a resume says of a run-once step whose end is not known."""

_MAY: Mapping[DeploymentCommandName, frozenset[DeploymentState]] = {
    "cancel": ACTIVE,
    # Nothing stops a rollback half-way but a cancel.
    "pause": frozenset({DeploymentState.PENDING, DeploymentState.RUNNING, DeploymentState.PAUSED}),
    "resume": ACTIVE | {DeploymentState.PENDING},
}
"""In which states a command becomes a wish."""


@dataclass(frozen=True, slots=True)
class ControlledDeployment:
    """What a control message is about: the common fields of its answer, and what its right is judged by.

    ``requester`` is the identity that asked for it, None where nothing was proved; ``awaits_approval``: a resume now
    opens a gate of ``rollout.approve_after``.
    """

    application: str
    environment: str
    version: str
    dry_run: bool = False
    requester: Identity | None = None
    awaits_approval: bool = False


@dataclass(frozen=True, slots=True)
class ControlledLane:
    """What a lock or unlock is about, whether anything was ever deployed there or not."""

    application: str
    environment: str

    @property
    def name(self) -> str:
        return f"{self.application}/{self.environment}"


class ControlDecision(StrEnum):
    """``WISH``: it is recorded, and the deployment's owner obeys. ``END_WAITING``: no instance works on it, so it is
    cancelled at once. ``REPEATED``: that is how it ended. ``REFUSED``: not in this state. ``NOT_ASKED``: it answers
    what the deployment does not ask."""

    WISH = "wish"
    END_WAITING = "end_waiting"
    REPEATED = "repeated"
    REFUSED = "refused"
    NOT_ASKED = "not asked"


def decide_control(
    command: DeploymentCommandName, state: DeploymentState, *, once: OnceAnswer | None = None
) -> ControlDecision:
    """``once`` answers a pause for a run-once step; none asks for it yet, and as a mere resume it might approve a gate
    that its sender does not mean. Raises ``KeyError`` for a command that the contract does not have."""
    if state in _MAY[command]:
        return ControlDecision.WISH if once is None else ControlDecision.NOT_ASKED
    match command, state:
        case "cancel", DeploymentState.PENDING:
            return ControlDecision.END_WAITING
        case "cancel", DeploymentState.CANCELLED:
            return ControlDecision.REPEATED
        case _:
            return ControlDecision.REFUSED


def waiting_cancelled(requested_by: str | None, reason: str | None) -> Failure:
    """The failure of a deployment that was cancelled before any instance began it."""
    who = f" by {requested_by}" if requested_by else ""
    why = f": {reason}" if reason else ""
    return Failure(FailureCode.DEPLOYMENT_CANCELLED, f"cancelled{who} while it waited for its turn{why}")


def waiting_result(failure: Failure, waited_seconds: float) -> DeploymentFinishedEvent:
    """Its result."""
    metrics = empty_metrics(waited_seconds)
    return DeploymentFinishedEvent(DeploymentState.CANCELLED, failure, targets=(), metrics=metrics)
