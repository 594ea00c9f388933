"""The port to the record: what is committed, and in which one transaction.

Every write of a running deployment goes through ``commit`` and is fenced by (owner, epoch): it locks the deployment's
row where both still hold, or raises ``LeaseLostError``. Changes and the events that tell of them share the transaction.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from vesemir.domain.failure import Failure, VesemirError
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.target import Target

Json = Mapping[str, Any]


class StoreAwayError(VesemirError):
    """The record cannot be reached or cannot write now. What was being written may be there or not: read it again."""


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
    user_id: str | None
    sealed: bytes | None = None


class AcceptKind(StrEnum):
    """``CLEANED``: it ended long ago, and of its record only the result is left (``kept_result``)."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    CLEANED = "repeated after the clean-up"
    CONFLICT = "conflict"


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


@dataclass(frozen=True, slots=True)
class Wishes:
    """What control messages asked for. ``cancel`` is {"requested_by", "reason"} or None; ``pause`` likewise.

    ``approvals`` counts resumes, so that one approval opens one gate.
    """

    cancel: Json | None = None
    pause: Json | None = None
    resume: Json | None = None
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
    traffic: Json | None = None
    """What was in HAProxy before this deployment touched it, as ``vesemir.engine.traffic`` wrote it."""
    duration_seconds: float | None = None
    connect_seconds: float | None = None


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
    accepted_at: datetime
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
    awaits_approval: bool = False
    approved_batch: int = 0
    """The gates before this batch and all earlier ones were opened (``rollout.approve_after``)."""
    paused_seconds: float = 0.0
    """For how long it has been paused now; 0 when it is not."""
    sealed: bytes | None = None
    """Its secret parameters, until it has ended."""
    user_id: str | None = None
    recipe_source: str | None = None
    """As ``Start`` recorded it; None before, and of a deployment that an older version began."""


@dataclass(frozen=True, slots=True)
class StepTotals:
    steps: int
    redone: int
    output_bytes: int


# --- changes that a run commits, in the order given -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Emit:
    """An event: the store adds the common fields, ``sequence`` and ``occurred_at``."""

    event: str
    body: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MoveDeployment:
    """``failure`` is kept when given. ``resets_clock``: a rollback gets the deployment's time again.

    ``awaits_approval``: a move to ``paused`` that only a resume from now on ends; earlier approvals do not count.
    ``approves``: the batch whose gate is open from now on, so that no later owner asks for it again.
    """

    old: DeploymentState
    new: DeploymentState
    failure: Failure | None = None
    resets_clock: bool = False
    awaits_approval: bool = False
    approves: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """``deployment.started``: the clock begins; the plan's targets are there from now on.

    ``balancers`` are the load balancer boxes, kept so that a later owner can put HAProxy right without the inventory.
    ``recipe_source`` is the text of the recipe, so that a later owner goes on with the same steps.
    """

    targets: tuple[TargetRecord, ...]
    resolve_seconds: float
    balancers: tuple[Target, ...] = ()
    recipe_source: str = ""


@dataclass(frozen=True, slots=True)
class AddTargets:
    """Rows of a rollback (``direction`` back)."""

    targets: tuple[TargetRecord, ...]


@dataclass(frozen=True, slots=True)
class MoveTarget:
    """``old`` is expected; ``finished`` makes it final."""

    name: str
    direction: Direction
    old: TargetState
    new: TargetState
    finished: bool = False
    failure: Failure | None = None
    duration_seconds: float | None = None
    connect_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SkipPending:
    """Every pending target of that direction becomes ``skipped``, final."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Touch:
    """A recipe step is about to begin on this target."""

    name: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class RecordTraffic:
    name: str
    direction: Direction
    traffic: Json


@dataclass(frozen=True, slots=True)
class LeftDrained:
    """This target's server stays out of traffic beyond the deployment: counted until it is seen in traffic again."""

    name: str


@dataclass(frozen=True, slots=True)
class BackInTraffic:
    """This target's server was found in traffic, or put back into it."""

    name: str


@dataclass(frozen=True, slots=True)
class RecordStep:
    record: StepRecord


Change = (
    Emit
    | MoveDeployment
    | Start
    | AddTargets
    | MoveTarget
    | SkipPending
    | Touch
    | RecordTraffic
    | LeftDrained
    | BackInTraffic
    | RecordStep
)


@dataclass(frozen=True, slots=True)
class DrainedServer:
    """A server that a result left drained. ``deployment_id`` names the deployment, in whose lane ``target`` is."""

    deployment_id: str
    target: str
    backend: str
    traffic: Json
    balancers: tuple[Target, ...]


class ControlAnswer(StrEnum):
    """``FINISHED``: a waiting deployment was cancelled at once. ``NOT_RUNNING``: it has ended, or cannot be paused."""

    ACCEPTED = "accepted"
    FINISHED = "finished"
    UNKNOWN = "unknown"
    NOT_RUNNING = "not_running"


@dataclass(frozen=True, slots=True)
class ControlCommand:
    command: str
    deployment_id: str
    requested_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class DeploymentIdentity:
    """The common fields of an answer about a deployment."""

    application: str
    environment: str
    version: str


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


class Store(Outbox, Cleaner, Protocol):
    """Raises ``StoreAwayError`` when the database does not answer in time."""

    async def accept(self, new: NewDeployment, destination: Destination | None) -> AcceptKind:
        """One transaction: lock the lane, insert with the next arrival, ``deployment.accepted`` and the destinations.

        A repeat from a known destination sets it back so that ``deployment.finished`` comes again (if there is one); a
        new destination starts at 0. The topic exchange is a destination of every deployment from the beginning.
        """
        ...

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        """The ``deployment.finished`` of a deployment that was cleaned up."""
        ...

    async def known(self, deployment_id: str) -> bytes | None:
        """The body's hash of an id that was ever accepted."""
        ...

    async def control(self, command: ControlCommand) -> tuple[ControlAnswer, DeploymentIdentity | None]:
        """Set a wish and notify; a waiting deployment that is cancelled is finished here, with its events."""
        ...

    async def claim(self, instance: str, *, lease_seconds: float, max_expiries: int) -> Claim | None:
        """A lane's lowest arrival that is pending, handed back or expired; ``deployment.taken_over`` if it ran."""
        ...

    async def renew(self, owner: str, epochs: Mapping[str, int], *, lease_seconds: float) -> Mapping[str, Wishes]:
        """Renew the leases that are still this owner's; those left out of the answer are lost."""
        ...

    async def wishes(self, owner: str) -> Mapping[str, Wishes]:
        """The wishes of every deployment of this owner."""
        ...

    async def hand_back(self, claim: Claim) -> None:
        """Give the lease up: whoever is next may claim at once, and it does not count as an expiry."""
        ...

    async def load(self, deployment_id: str) -> DeploymentRecord | None: ...

    async def step_totals(self, deployment_id: str) -> StepTotals: ...

    async def finished_steps(self, deployment_id: str, target: str, direction: Direction) -> Sequence[StepRecord]:
        """What is recorded for one target, in the order it happened (without output)."""
        ...

    async def commit(self, claim: Claim, changes: Sequence[Change]) -> None:
        """All or nothing, fenced. Raises ``LeaseLostError``."""
        ...

    async def left_drained(self) -> Sequence[DrainedServer]:
        """Every server that a result left drained and nobody has seen in traffic since."""
        ...

    async def seen_in_traffic(self, server: DrainedServer) -> None:
        """Somebody put it back: it is left drained no more, unless a later deployment has left it so."""
        ...

    def section(self, name: str) -> AbstractAsyncContextManager[None]:
        """A section that one deployment at a time is in, across all instances; meant for well below a second.

        Ends with whoever is in it. Raises ``StoreAwayError``.
        """
        ...

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Payloads of NOTIFY (``work``, ``wish``, ``outbox``); only hints, may be lost or end at any time."""
        ...
