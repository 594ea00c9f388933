"""What people and programs see of the record: a deployment in full, lines of a list, steps. Times are RFC 3339 text.

``as_json`` is what ``--json`` and the HTTP interface show: the fields in the order in which they stand here. A field
that is added here is shown at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from typing import Any

from vesemir.domain.doing import Doing
from vesemir.domain.identity import Identity
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.wish import Wish
from vesemir.engine.ports.records import Json


@dataclass(frozen=True, slots=True)
class View:
    """A part of what is shown."""

    def as_json(self) -> dict[str, Any]:
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class FailureView(View):
    """As it was recorded or published; the code may be one that only another version knows."""

    code: str
    message: str
    runbook: str

    @classmethod
    def of_json(cls, failure: Mapping[str, Any] | None) -> "FailureView | None":
        return None if failure is None else cls(failure["code"], failure["message"], failure["runbook"])


@dataclass(frozen=True, slots=True)
class DeploymentSummary(View):
    """One line of a list. ``duration_seconds``: since it was first claimed, until now or its end.

    ``requested_by`` is what the request claims, ``identity`` (``amqp:NAME``) what was proved.
    """

    deployment_id: str
    application: str
    environment: str
    version: str
    recipe: str
    team: str | None
    requested_by: str | None
    identity: str | None
    state: DeploymentState
    dry_run: bool
    owner: str | None
    failure: FailureView | None
    accepted_at: str
    started_at: str | None
    finished_at: str | None
    duration_seconds: float

    @property
    def what(self) -> str:
        return f"{self.version} of {self.application} in {self.environment}"


@dataclass(frozen=True, slots=True)
class UnfinishedView(DeploymentSummary):
    """With how many of its lane are before it, and how far it is on its way forward."""

    before_it: int
    targets_total: int
    targets_done: int
    targets_failed: int
    not_before: str | None = None
    due: bool = True
    """Its ``not_before``, if it has one, has come."""


@dataclass(frozen=True, slots=True)
class BalancerView(View):
    """``socket`` is None where the setting says which."""

    name: str
    socket: str | None


@dataclass(frozen=True, slots=True)
class PredecessorView(View):
    """A deployment of the same lane that comes before and has not ended."""

    deployment_id: str
    version: str
    state: DeploymentState
    dry_run: bool
    requested_by: str | None
    identity: str | None
    accepted_at: str


@dataclass(frozen=True, slots=True)
class DrainedServerView(View):
    """A server that gets no traffic because of a result.

    ``seen_at`` is when an instance last saw it still drained; None: none has looked since. ``known_seconds_ago`` is how
    old that knowledge is.
    """

    lane: str
    target: str
    deployment_id: str
    since: str
    seen_at: str | None
    seen_by: str | None
    known_seconds_ago: float


@dataclass(frozen=True, slots=True)
class LockedLaneView(View):
    """``until`` None: until somebody unlocks it. ``deployment_id``: it was locked by a limit of the policy, after that
    deployment. ``requested_by`` is what was claimed, ``identity`` what was proved."""

    lane: str
    since: str
    until: str | None
    reason: str
    requested_by: str | None
    identity: str | None
    deployment_id: str | None

    @classmethod
    def of(cls, lane: str, lock: LaneLock) -> "LockedLaneView":
        identity = None if lock.identity is None else str(lock.identity)
        return cls(lane, lock.since, lock.until, lock.reason, lock.requested_by, identity, lock.deployment)

    @property
    def by(self) -> str:
        return LaneLock("", None, "", self.requested_by, Identity.recorded(self.identity), self.deployment_id).by


@dataclass(frozen=True, slots=True)
class TargetView(View):
    """One target in one direction. ``traffic`` is the recorded JSON of ``PriorTraffic``.

    ``in_traffic`` is what HAProxy said at its end. ``left_drained`` is what is known now of its server, which some
    deployment of the lane left drained; ``back_in_traffic_at`` when the one that this deployment left so was seen back.
    """

    name: str
    direction: Direction
    address: str
    port: int
    user: str
    source: str
    batch: int
    status: TargetState
    finished: bool
    touched: bool
    failure: FailureView | None
    traffic: Json | None
    duration_seconds: float | None
    connect_seconds: float | None
    in_traffic: bool | None
    back_in_traffic_at: str | None
    left_drained: DrainedServerView | None


@dataclass(frozen=True, slots=True)
class DestinationView(View):
    """``delivered`` is the last sequence that it has, ``due`` how many events it has not."""

    reply_to: str | None
    correlation_id: str | None
    delivered: int
    due: int
    failing_since: str | None
    next_attempt_at: str | None
    reason: str | None
    parked_at: str | None


@dataclass(frozen=True, slots=True)
class DeploymentView(DeploymentSummary):
    """All of one deployment. ``request`` is the event's body as it was recorded.

    ``doing`` is what its targets in work do right now; None while its owner does not tell.
    """

    user_id: str | None
    request: Json
    metrics: Json | None
    last_owner: str | None
    epoch: int
    lease_expires_at: str | None
    lease_expired: bool
    awaits_approval: bool
    paused_for_seconds: float | None
    expiries: int
    takeovers: int
    cancel: Wish | None
    pause: Wish | None
    approvals: int
    queued_seconds: float
    resolve_seconds: float | None
    steps_total: int
    balancers: tuple[BalancerView, ...]
    last_sequence: int
    waits_for: tuple[PredecessorView, ...]
    targets: tuple[TargetView, ...]
    destinations: tuple[DestinationView, ...]
    doing: tuple[Doing, ...] | None = None
    lock: LockedLaneView | None = None
    """Of its lane, while it waits."""
    not_before: str | None = None
    not_after: str | None = None
    due: bool = True

    @property
    def held_by_lock(self) -> LockedLaneView | None:
        """The lock, if it may not go past it."""
        return None if self.dry_run or self.request.get("break_glass") else self.lock

    @property
    def approve_after(self) -> str | None:
        """``rollout.approve_after`` of the request."""
        found: str | None = self.request.get("rollout", {}).get("approve_after")
        return found


class InstanceState(StrEnum):
    """``STOPPED``: it said so. ``SILENT``: it was not heard of for a while."""

    WORKING = "working"
    DRAINING = "draining"
    STOPPED = "stopped"
    SILENT = "silent"

    @property
    def runs(self) -> bool:
        """Draining counts: it still works on what it has."""
        return self in {InstanceState.WORKING, InstanceState.DRAINING}


@dataclass(frozen=True, slots=True)
class InstanceView(View):
    """One instance by what it says of itself: since when, deployments in work, and its last renewal."""

    name: str
    version: str
    state: InstanceState
    since: str
    in_work: int
    renewed_at: str


@dataclass(frozen=True, slots=True)
class StepView(View):
    """One recorded try of one step; ``output`` is None unless it was asked for."""

    step_id: int
    target: str
    direction: Direction
    step: str
    attempt: int
    status: StepStatus
    exit_status: int | None
    duration_seconds: float
    output_bytes: int
    output_truncated: bool
    redone: bool
    recorded_at: str
    output: str | None


@dataclass(frozen=True, slots=True)
class LaneDeployment:
    """What was deployed in a lane: the names of its targets, of those that a recipe step began on, and of those that
    its own rollback brought back."""

    deployment_id: str
    application: str
    environment: str
    version: str
    recipe: str
    state: DeploymentState
    request: Json
    started_at: str | None
    finished_at: str | None
    targets: frozenset[str]
    touched: frozenset[str]
    brought_back: frozenset[str]


def _plain(value: object) -> object:
    match value:
        case View() | Wish() | Doing():
            return value.as_json()
        case tuple():
            return [_plain(each) for each in value]
        case Enum():
            return value.value
    return value
