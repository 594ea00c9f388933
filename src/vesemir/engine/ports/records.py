"""What the record holds, as a run and its neighbours read it: rows as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vesemir.domain.audit import AuditEntry
from vesemir.domain.control import ControlledDeployment, ControlledLane, LaneCommandName
from vesemir.domain.failure import Failure
from vesemir.domain.identity import UNPROVED, Asker, Identity
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.quota import HeldQuota, Waiting
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.traffic_place import FoundBackends
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.domain.turns import NO_TURN, TurnKey
from vesemir.domain.wish import Wish

Json = Mapping[str, Any]

BREAK_GLASS = "break_glass"
"""The audit's word in ``command`` for a request that goes past locks, freezes and missing promotions."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a requester wants the events: a queue by the default exchange, with its ``correlation_id``."""

    reply_to: str
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class NewDeployment:
    """``request`` is the event's body (parsed JSON) with its secrets shown as ``•••``, which stand in ``sealed``;
    ``body_hash`` is that of the canonical form of the body as it came."""

    deployment_id: str
    body_hash: bytes
    request: Json
    application: str
    environment: str
    version: str
    recipe: str
    team: str | None
    requested_by: str | None
    asker: Asker = UNPROVED
    sealed: bytes | None = None
    defaults: Json | None = None
    """What the request means where it is silent, by the release that accepted it; None: by release 0.1."""
    sent_at: float | None = None
    """When its message says that it was sent, in seconds since 1970; not kept."""
    policy_digest: str | None = None
    recipe_digest: str | None = None
    """Of the texts that it was judged by, for the audit."""
    break_glass: str | None = None
    """Why it goes past locks, freezes and missing promotions; the policy lets it."""
    rule: str | None = None
    """The policy's that allowed it, for the audit."""
    quotas: tuple[HeldQuota, ...] = ()
    """How many may wait, this one among them; not kept."""

    not_before: float | None = None
    not_after: float | None = None
    """When it may begin first, and must have begun: seconds since 1970, by the database's clock."""
    turn: TurnKey = NO_TURN

    @property
    def waiting(self) -> Waiting:
        """As a quota counts it."""
        return Waiting.of(self.asker, self)

    @property
    def dry_run(self) -> bool:
        return bool(self.request.get("dry_run"))

    def passes_lock(self, now: float) -> bool:
        """It may be accepted while its lane is locked: judged when it is due, if that is later than ``now``."""
        later = self.not_before is not None and self.not_before > now
        return self.dry_run or self.break_glass is not None or later

    def audited(self, outcome: str) -> AuditEntry:
        return AuditEntry(
            "request",
            outcome,
            self.asker,
            deployment_id=self.deployment_id,
            application=self.application,
            environment=self.environment,
            version=self.version,
            rule=self.rule,
            command=None if self.break_glass is None else BREAK_GLASS,
            reason=self.break_glass,
            policy=self.policy_digest,
            recipe=self.recipe_digest,
        )

    @property
    def controlled(self) -> ControlledDeployment:
        """As a control message finds it."""
        return ControlledDeployment(
            self.application,
            self.environment,
            self.version,
            self.dry_run,
            requester=self.asker.identity,
        )


@dataclass(frozen=True, slots=True)
class LaneCommand:
    """Lock or unlock a lane. ``until`` in seconds since the epoch; None: until somebody unlocks it.

    ``deployment_id``: a limit of the policy asks for it (``rule``), after that deployment.
    """

    command: LaneCommandName
    lane: ControlledLane
    requested_by: str | None
    reason: str
    until: float | None = None
    asker: Asker = UNPROVED
    policy_digest: str | None = None
    deployment_id: str | None = None
    rule: str | None = field(default=None, compare=False)
    """The policy's that permits it, for the audit."""

    def audited(self, outcome: str, *, rule: str | None = None) -> AuditEntry:
        """``outcome``: what was answered, or the failure code. ``rule``: why it was refused."""
        return AuditEntry(
            "lock",
            outcome,
            self.asker,
            deployment_id=self.deployment_id,
            application=self.lane.application,
            environment=self.lane.environment,
            command=self.command,
            reason=self.reason,
            rule=rule or self.rule,
            policy=self.policy_digest,
        )

    def lock(self, *, since: str, until: str | None) -> LaneLock:
        """What is recorded, with the record's own times."""
        who = self.requested_by, self.asker.identity
        return LaneLock(since, until, self.reason, *who, deployment=self.deployment_id)


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """Of an id that was ever accepted: its body's hash and the identity that sent it first, None where it had none.

    ``certain`` False: the release before accepted it and it was cleaned up since; nobody knows who sent it.
    """

    body_hash: bytes
    identity: Identity | None
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Wishes:
    """What control messages asked for. ``approvals`` counts resumes, so that one approval opens one gate."""

    cancel: Wish | None = None
    pause: Wish | None = None
    resume: Wish | None = None
    approvals: int = 0


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """A row of ``target``: one target in one direction."""

    name: str
    direction: Direction
    address: str
    port: int
    user: str
    variables: Mapping[str, str]
    source: str
    batch: int
    position: int
    state: TargetState = TargetState.PENDING
    finished: bool = False
    touched: bool = False
    """A recipe step began here."""
    failure: Failure | None = None
    traffic: PriorTraffic | None = None
    """What was in HAProxy before this deployment touched it."""
    duration_seconds: float | None = None
    connect_seconds: float | None = None
    in_traffic: bool | None = None
    """What HAProxy said of its server at its end; None: not known, or recorded by release 0.1."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A row of ``step``: one finished try of one step. ``output`` is text without NUL."""

    target: str
    direction: Direction
    step: str
    attempt: int
    status: StepStatus
    exit_status: int | None
    duration_seconds: float
    output: str
    output_bytes: int
    output_truncated: bool
    redone: bool = False


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """All that a run needs to go on from. Times are by the database's clock.

    ``clock_seconds``: how long the deployment's (or its rollback's) time has run, pauses excluded; 0 before ``Start``.
    ``queued_seconds``: from accepted to first claimed. ``total_seconds``: from first claimed to now (or the end).
    """

    deployment_id: str
    request: Json
    state: DeploymentState
    owner: str | None
    epoch: int
    queued_seconds: float
    clock_seconds: float
    total_seconds: float
    resolve_seconds: float | None
    failure: Failure | None
    wishes: Wishes
    takeovers: int
    started: bool
    targets: tuple[TargetRecord, ...] = ()
    balancers: tuple[Target, ...] = ()
    backends: FoundBackends | None = None
    """What ``haproxy.backend: "*"`` found at the start."""
    awaits_approval: bool = False
    approved_batch: int = 0
    """The gates before this batch and all earlier ones were opened (``rollout.approve_after``)."""
    paused_seconds: float = 0.0
    """For how long it has been paused now; 0 when it is not."""
    sealed: bytes | None = None
    """Its secret parameters, until it has ended."""
    asker: Asker = UNPROVED
    recipe_source: str | None = None
    """As ``Start`` recorded it, the whole text if there are two; None before, and where no text was recorded."""
    defaults: Json | None = None
    """As ``NewDeployment`` had them."""
    not_after: str | None = None
    """By when it must have begun, in RFC 3339."""
    expires_in_seconds: float | None = None
    """How long from now on it may still begin."""


@dataclass(frozen=True, slots=True)
class StepTotals:
    steps: int
    redone: int
    output_bytes: int
