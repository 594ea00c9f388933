"""The port to the record: what is committed, and in which one transaction.

Every write of a running deployment goes through ``commit`` and is fenced by (owner, epoch): it locks the deployment's
row where both still hold, or raises ``LeaseLostError``. Changes and the events that tell of them share the transaction.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, assert_never

from vesemir.domain.audit import AuditEntry, AuditHead
from vesemir.domain.control import (
    ControlDecision,
    ControlledDeployment,
    ControlledLane,
    DeploymentCommandName,
    OnceAnswer,
)
from vesemir.domain.doing import DOING_SECONDS, Doing
from vesemir.domain.events import DeploymentTakenOverEvent
from vesemir.domain.failure import FailureCode, VesemirError
from vesemir.domain.identity import UNPROVED, Asker, Identity
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.promotion import Success
from vesemir.domain.quota import HeldQuota, TooManyWaiting, Waiting
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.domain.turns import NO_QUOTAS
from vesemir.domain.wish import Wish
from vesemir.engine.ports.changes import Change
from vesemir.engine.ports.records import (
    DeploymentRecord,
    Destination,
    Json,
    KnownRequest,
    LaneCommand,
    NewDeployment,
    StepRecord,
    StepTotals,
    Wishes,
)
from vesemir.engine.ports.views import InstanceView

SILENT_SECONDS = 30.0
"""An instance that was not heard of for so long is taken for gone: it reports every 5 s."""


class StoreAwayError(VesemirError):
    """The record cannot be reached or cannot write now. What was being written may be there or not: read it again."""


class StoreBusyError(StoreAwayError):
    """Somebody else holds what this write needs; others may be possible."""


class WrongRecordError(StoreAwayError):
    """The record belongs to another installation (``amqp.namespace``): nothing of it may be touched."""


class AcceptKind(StrEnum):
    """``CLEANED``: it ended long ago, and of its record only the result is left (``kept_result``).

    ``CANCELLED``: it was accepted, and has ended as cancelled: a cancel had come before it.
    ``BEFORE_RESTORE``: the record was restored from a backup, does not know the id, and the event is older or does not
    say when it was sent: the lost record may have run it. Nothing was changed.
    """

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    CLEANED = "repeated after the clean-up"
    CONFLICT = "conflict"
    BEFORE_RESTORE = "sent before the record was restored"
    CANCELLED = "accepted and cancelled at once: its cancel came before it"


AcceptAnswer = AcceptKind | LaneLock | TooManyWaiting
"""A lock of the lane, or a quota, keeps it out: nothing was changed, and the id may be used again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of one deployment. ``previous`` is the instance that had it before, if it ran already.

    ``expired``: its lease had run out, it was not handed back. ``exhausted``: that happened too often; it is claimed a
    last time to clean up and fail.
    """

    deployment_id: str
    owner: str
    epoch: int
    previous: str | None = None
    expired: bool = False
    exhausted: bool = False

    @property
    def taken_over(self) -> DeploymentTakenOverEvent | None:
        """None if no instance had it before."""
        return None if self.previous is None else DeploymentTakenOverEvent(self.epoch, self.previous)


@dataclass(frozen=True, slots=True)
class DrainedServer:
    """A server that a result left drained. ``deployment_id`` names the deployment, in whose lane ``target`` is.

    ``backend`` is that of the places without one; empty where each place has its own.
    """

    deployment_id: str
    target: str
    backend: str
    traffic: PriorTraffic
    balancers: tuple[Target, ...]


EARLY_SECONDS = 24 * 3600.0
"""How long a cancel is kept that came before its deploy event."""

EARLY_CANCELS = 1000
"""So many are kept of one identity; more are answered as any command about what is not known."""

Permits = Callable[[ControlledDeployment], bool]
"""Whether a command may be given about a deployment; called within a transaction, so it only decides."""


def permits_all(_deployment: ControlledDeployment) -> bool:
    return True


class ControlAnswer(StrEnum):
    """``FINISHED``: a waiting deployment was cancelled at once. ``NOT_RUNNING``: it has ended, or cannot be paused.
    ``FORBIDDEN``: who asked may not; nothing was changed. ``KEPT``: a cancel waits for its deploy event.
    ``INVALID``: it answers what the deployment does not ask, or is over before it begins."""

    ACCEPTED = "accepted"
    FINISHED = "finished"
    UNKNOWN = "unknown"
    KEPT = "kept"
    NOT_RUNNING = "not_running"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"

    @classmethod
    def of(cls, decision: ControlDecision) -> "ControlAnswer":
        """To a command about a deployment that is known."""
        match decision:
            case ControlDecision.WISH | ControlDecision.REPEATED:
                return cls.ACCEPTED
            case ControlDecision.END_WAITING:
                return cls.FINISHED
            case ControlDecision.REFUSED:
                return cls.NOT_RUNNING
            case ControlDecision.NOT_ASKED:
                return cls.INVALID
            case _:
                assert_never(decision)


RuleOf = Callable[[ControlledDeployment], str | None]


def no_rule(_deployment: ControlledDeployment) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class ControlCommand:
    command: DeploymentCommandName
    deployment_id: str
    requested_by: str | None
    reason: str | None
    asker: Asker = UNPROVED
    policy_digest: str | None = None
    once: OnceAnswer | None = None
    rule_of: RuleOf = field(default=no_rule, compare=False, repr=False)
    """Which rule of the policy permits it, for the audit."""

    def audited(self, deployment: ControlledDeployment | None, outcome: str, *, rule: str | None = None) -> AuditEntry:
        """``outcome``: what was answered, or the failure code. ``rule``: why it was refused."""
        if rule is None and deployment is not None:
            rule = self.rule_of(deployment)
        approves = self.command == "resume" and deployment is not None and deployment.awaits_approval
        return AuditEntry(
            "approval" if approves else "control",
            outcome,
            self.asker,
            deployment_id=self.deployment_id,
            application=None if deployment is None else deployment.application,
            environment=None if deployment is None else deployment.environment,
            version=None if deployment is None else deployment.version,
            command=self.command,
            reason=self.reason,
            rule=rule,
            policy=self.policy_digest,
        )

    def judged(self, deployment: ControlledDeployment, *, permitted: bool) -> AuditEntry:
        """Of a cancel that was kept, when its deploy event has come."""
        if permitted:
            return self.audited(deployment, "accepted")
        rule = "the cancel was kept until its deploy event came, and no [[control]] permits it"
        return self.audited(deployment, FailureCode.CONTROL_FORBIDDEN.value, rule=rule)

    @property
    def wish(self) -> Wish:
        return Wish(self.requested_by, self.reason, self.asker.identity)


PermitsEarly = Callable[[ControlCommand, ControlledDeployment], bool]
"""Whether a cancel may be given that came before its deploy event; called within a transaction."""


def permits_early(_command: ControlCommand, _deployment: ControlledDeployment) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Expired:
    """A deployment that was not begun in time and has ended."""

    deployment_id: str
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A destination with events to publish: those after ``cursor``. ``reply_to`` None is the topic exchange."""

    destination_id: int
    deployment_id: str
    reply_to: str | None
    correlation_id: str | None
    cursor: int
    failing_seconds: float
    """Since when it could not be delivered (0: the last try went well)."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """``body`` is the whole event, ``sequence`` and ``occurred_at`` included."""

    deployment_id: str
    sequence: int
    name: str
    body: Json


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What one batch of the clean-up deleted: ``deployments`` as a whole, and ``rows`` in all."""

    deployments: int
    rows: int


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """What an instance says of itself. ``stopped``: its last words."""

    name: str
    version: str
    in_work: int
    draining: bool
    stopped: bool = False


class InstanceTable(Protocol):
    """Who works on this record. Instances of 0.1 do not write to it."""

    async def report_instance(self, report: InstanceReport) -> None:
        """Since when, and when last, is by the database's clock. Nothing comes after ``stopped``."""
        ...

    async def forget_instances(self, *, older_than_seconds: float) -> None:
        """Those that were last heard of longer ago."""
        ...

    async def instances(self, *, silent_seconds: float = SILENT_SECONDS) -> Sequence[InstanceView]:
        """Those that run first, then the last one heard of. Silent: not heard of for that long."""
        ...


class DoingTable(Protocol):
    """What the targets of running deployments do right now: a hint, which may be lost at any time."""

    async def write_doing(self, claim: Claim, doing: Sequence[Doing] | None) -> None:
        """Instead of what was written before; None at the end of a run. What a later owner has written stays."""
        ...

    async def doing_of(self, deployment_id: str, *, silent_seconds: float = DOING_SECONDS) -> tuple[Doing, ...] | None:
        """None while the owner of now has reported nothing for that long."""
        ...


class AuditTable(Protocol):
    """The audit: rows that are only added. ``Store.accept`` and ``Store.control`` write their own where something was
    accepted, in the transaction of what they tell."""

    async def audit(self, entry: AuditEntry) -> None:
        """A refusal: in a transaction of its own. One whose answer was lost may be there twice."""
        ...

    async def audit_heads(self) -> Sequence[AuditHead]:
        """The last row of each chain."""
        ...


class Cleaner(Protocol):
    async def clean_up(self, *, older_than_seconds: float, rows: int, keep_good: int = 0) -> Cleaned | None:
        """Delete about so many rows of what ended longer ago, in one short transaction; keep ids, hashes and results.

        The newest ``keep_good`` successes of each lane stay, dry runs not counted.
        Nothing deleted: there is nothing to do. None: another instance is at it. Raises ``StoreAwayError``.
        """
        ...


class Outbox(Protocol):
    async def lease_deliveries(self, publisher: str, *, seconds: float, limit: int) -> Sequence[Delivery]:
        """Destinations with something due that nobody else publishes to now (or whose publisher's lease ran out)."""
        ...

    async def events_after(self, deployment_id: str, cursor: int, *, limit: int) -> Sequence[StoredEvent]: ...

    async def advance(self, destination_id: int, publisher: str, cursor: int, *, release: bool) -> bool:
        """Confirmed up to ``cursor``. False if another publisher has it now."""
        ...

    async def postpone(self, destination_id: int, publisher: str, *, seconds: float, reason: str) -> None:
        """Could not be delivered: try again later."""
        ...

    async def park(self, destination_id: int, publisher: str, *, reason: str) -> None:
        """Given up until a repeat of the request asks again; visible in ``status`` and over HTTP."""
        ...


class EarlyCancelTable(Protocol):
    async def overlooked_cancels(self, deployment_id: str | None = None) -> Sequence[ControlCommand]:
        """Kept cancels of deployments that are there, of one or of any: an instance of a release that does not look
        for them has accepted them."""
        ...

    async def forget_cancels(self, deployment_id: str, identity: Identity | None) -> None:
        """That of one identity was judged."""
        ...


class PolicyQuestions(Protocol):
    """What the operator's rules ask of the record."""

    async def waiting(self, quotas: Collection[HeldQuota]) -> Sequence[tuple[Waiting, int]]:
        """What waits of what any of these count, and perhaps more: by identity and lane how many."""
        ...

    async def successes(self, application: str, version: str, environments: Sequence[str]) -> Sequence[Success]:
        """What brought the version there, dry runs not counted; of each artifact in an environment the first. What was
        cleaned up is not known any more."""
        ...


class LaneTable(Protocol):
    """Raises ``StoreAwayError`` when the database does not answer in time."""

    async def control_lane(self, command: LaneCommand) -> ControlAnswer:
        """Lock a lane, whether anything was ever deployed there or not, or unlock it; with its row of the audit.

        A second lock replaces the first, and what is unlocked may be unlocked. ``INVALID``: ``until`` is not in the
        future.
        """
        ...

    async def lane_lock(self, lane: ControlledLane) -> LaneLock | None:
        """The lock that holds now."""
        ...


class Appointments(Protocol):
    """What is done by the database's clock, by whichever instance looks first."""

    async def clock(self) -> float:
        """In seconds since 1970."""
        ...

    async def keep_appointments(self) -> Sequence[Expired]:
        """What has reached its ``not_before`` is due; what has not begun by its ``not_after``, and nobody works on,
        ends as failed with ``request.expired``. Some of each at once: there may be more, if any ended."""
        ...


class Store(
    Outbox,
    Cleaner,
    InstanceTable,
    DoingTable,
    AuditTable,
    EarlyCancelTable,
    PolicyQuestions,
    LaneTable,
    Appointments,
    Protocol,
):
    """Raises ``StoreAwayError`` when the database does not answer in time."""

    async def accept(
        self, new: NewDeployment, destination: Destination | None, *, permits: PermitsEarly = permits_early
    ) -> AcceptAnswer:
        """One transaction: lock the lane, insert with the next arrival, ``deployment.accepted`` and the destinations.

        A repeat from a known destination sets it back so that ``deployment.finished`` comes again (if there is one); a
        new destination starts at 0. The topic exchange is a destination of every deployment from the beginning.
        A kept cancel that ``permits`` permits ends it in the same transaction.
        """
        ...

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        """The ``deployment.finished`` of a deployment that was cleaned up."""
        ...

    async def known(self, deployment_id: str) -> KnownRequest | None:
        """None for an id that was never accepted."""
        ...

    async def control(
        self, command: ControlCommand, *, permits: Permits = permits_all
    ) -> tuple[ControlAnswer, ControlledDeployment | None]:
        """Set a wish and notify; a waiting deployment that is cancelled is finished here, with its events. A cancel of
        an id that was never accepted is kept for it.

        ``permits`` is asked in the same transaction, with the deployment as it is then: what it waits for may change.
        """
        ...

    async def claim(
        self, instance: str, *, lease_seconds: float, max_expiries: int, quotas: Mapping[str, int] = NO_QUOTAS
    ) -> Claim | None:
        """First what was handed back or has expired, with ``deployment.taken_over``. Then what waits, in turn: the
        requester whose last turn was longest ago, of its lanes the one after the last, there the first arrival that is
        due.

        Nothing of a locked lane but what may go past a lock, nothing after its ``not_after``, and nothing that counts
        for a quota (``TurnKey``) that is filled: ``quotas`` has, by the name of its limit, how many may run at once.
        """
        ...

    async def renew(
        self, owner: str, epochs: Mapping[str, int], *, lease_seconds: float
    ) -> Mapping[str, Wishes | None]:
        """Renew the leases that are still this owner's; those left out of the answer are lost. None: it was not
        renewed, because somebody else holds a lock on it, and may be this owner's still."""
        ...

    async def wishes(self, owner: str) -> Mapping[str, Wishes]:
        """The wishes of every deployment of this owner."""
        ...

    async def hand_back(self, claim: Claim) -> None:
        """Give the lease up: the one that is next may claim at once, and it does not count as an expiry."""
        ...

    async def load(self, deployment_id: str) -> DeploymentRecord | None: ...

    async def step_totals(self, deployment_id: str) -> StepTotals: ...

    async def finished_steps(self, deployment_id: str, target: str, direction: Direction) -> Sequence[StepRecord]:
        """What is recorded for one target, in the order it happened; only the step ``analysis`` with its output."""
        ...

    async def succeeded_steps(self, deployment_id: str) -> Mapping[str, frozenset[str]]:
        """By target, the steps that have succeeded on the way forward; only targets that have one."""
        ...

    async def commit(self, claim: Claim, changes: Sequence[Change]) -> None:
        """All or nothing, fenced. Raises ``LeaseLostError``."""
        ...

    async def left_drained(self) -> Sequence[DrainedServer]:
        """Every server that a result left drained and nobody has seen in traffic since."""
        ...

    async def earlier_drain(self, lane: str, target: str) -> DrainedServer | None:
        """The same of one target in a lane; None if no earlier deployment left its server drained."""
        ...

    async def seen_in_traffic(self, server: DrainedServer) -> None:
        """Somebody put it back: it is left drained no more, unless a later deployment has left it so."""
        ...

    async def seen_drained(self, server: DrainedServer) -> None:
        """This instance has looked: it still is, at this moment."""
        ...

    def section(self, name: str) -> AbstractAsyncContextManager[None]:
        """A section that one deployment at a time is in, across all instances; meant for well below a second.

        Ends with the one that is in it. Raises ``StoreAwayError``.
        """
        ...

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Payloads of NOTIFY (``work``, ``wish``, ``outbox``); only hints, may be lost or end at any time."""
        ...
