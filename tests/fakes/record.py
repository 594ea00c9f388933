"""What the in-memory ``Store`` keeps: one ``Record`` is what several fake instances share, as they would a database."""

import asyncio
import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vesemir.domain.audit import AuditRow
from vesemir.domain.control import ControlledDeployment
from vesemir.domain.doing import Doing
from vesemir.domain.events import ProgressEvent
from vesemir.domain.failure import Failure
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.states import FINAL, DeploymentState
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.domain.traffic_place import FoundBackends
from vesemir.domain.wish import Wish
from vesemir.engine.clock import wall_time
from vesemir.engine.ports.records import (
    DeploymentRecord,
    Destination,
    Json,
    KnownRequest,
    NewDeployment,
    StepRecord,
    TargetRecord,
    Wishes,
)
from vesemir.engine.ports.server_orders import ServerOrder
from vesemir.engine.ports.store import EARLY_SECONDS, ControlCommand, InstanceReport, StoredEvent
from vesemir.engine.ports.views import InstanceState, InstanceView

TargetKey = tuple[Direction, str]


def moment_text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def second_text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Row:
    """One deployment with all that belongs to it. Times are seconds of ``Record.now``."""

    new: NewDeployment
    accepted_at: float
    arrival: int
    state: DeploymentState = DeploymentState.PENDING
    owner: str | None = None
    last_owner: str | None = None
    epoch: int = 0
    lease_expires_at: float | None = None
    expiries: int = 0
    takeovers: int = 0
    cancel: Wish | None = None
    pause: Wish | None = None
    resume: Wish | None = None
    approvals: int = 0
    awaits_approval: bool = False
    approved_batch: int = 0
    due: bool = True
    recipe_source: str | None = None
    recipe_for_older: str | None = None
    claimed_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    clock_started_at: float | None = None
    paused_since: float | None = None
    paused_seconds: float = 0.0
    resolve_seconds: float | None = None
    balancers: tuple[Target, ...] = ()
    backends: FoundBackends | None = None
    failure: Failure | None = None
    metrics: Json | None = None
    targets: dict[TargetKey, TargetRecord] = field(default_factory=dict)
    steps: list[StepRecord] = field(default_factory=list)
    events: list[StoredEvent] = field(default_factory=list)

    @property
    def lane(self) -> str:
        return f"{self.new.application}/{self.new.environment}"

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def controlled(self) -> ControlledDeployment:
        return replace(self.new.controlled, awaits_approval=self.awaits_approval)

    @property
    def wishes(self) -> Wishes:
        return Wishes(self.cancel, self.pause, self.resume, self.approvals)

    def emit(self, event: ProgressEvent, *, instance: str, now: float) -> None:
        sequence = len(self.events) + 1
        common = {
            "event": event.name,
            "deployment_id": self.new.deployment_id,
            "sequence": sequence,
            "occurred_at": moment_text(now),
            "application": self.new.application,
            "environment": self.new.environment,
            "version": self.new.version,
            "instance": instance,
        }
        body = {**common, **copy.deepcopy(event.body())}
        self.events.append(StoredEvent(self.new.deployment_id, sequence, event.name, body))

    def clock_seconds(self, now: float) -> float:
        if self.clock_started_at is None:
            return 0.0
        return (self.paused_since or self.finished_at or now) - self.clock_started_at - self.paused_seconds

    def as_record(self, now: float) -> DeploymentRecord:
        return DeploymentRecord(
            deployment_id=self.new.deployment_id,
            request=self.new.request,
            state=self.state,
            owner=self.owner,
            epoch=self.epoch,
            queued_seconds=(self.claimed_at or self.finished_at or now) - self.accepted_at,
            clock_seconds=self.clock_seconds(now),
            total_seconds=0.0 if self.claimed_at is None else (self.finished_at or now) - self.claimed_at,
            resolve_seconds=self.resolve_seconds,
            failure=self.failure,
            wishes=self.wishes,
            takeovers=self.takeovers,
            started=self.started_at is not None,
            targets=tuple(sorted(self.targets.values(), key=_plan_order)),
            balancers=self.balancers,
            backends=self.backends,
            awaits_approval=self.awaits_approval,
            approved_batch=self.approved_batch,
            asker=self.new.asker,
            recipe_source=self.recipe_source,
            paused_seconds=0.0 if self.paused_since is None else now - self.paused_since,
            sealed=None if self.final else self.new.sealed,
            defaults=self.new.defaults,
            not_after=None if self.new.not_after is None else moment_text(self.new.not_after),
            expires_in_seconds=None if self.new.not_after is None else self.new.not_after - now,
        )


def _plan_order(target: TargetRecord) -> tuple[bool, int, int, str]:
    return target.direction is Direction.BACK, target.batch, target.position, target.name


@dataclass(slots=True)
class FakeDestination:
    """Where events go; ``where`` None is the topic exchange."""

    destination_id: int
    deployment_id: str
    where: Destination | None
    next_attempt_at: float
    cursor: int = 0
    done: bool = False
    publisher: str | None = None
    publisher_expires_at: float = 0.0
    failing_since: float | None = None
    reason: str | None = None
    parked: bool = False

    def release(self) -> None:
        self.publisher = None
        self.publisher_expires_at = 0.0

    def set_back(self, *, cursor: int, now: float) -> None:
        """A repeat asks again."""
        self.cursor = min(self.cursor, cursor)
        self.done = self.parked = False
        self.reason = self.failing_since = None
        self.next_attempt_at = now
        self.release()


@dataclass(slots=True)
class FakeInstance:
    """One row of the instances; times are seconds of ``Record.now``."""

    report: InstanceReport
    since: float
    renewed_at: float

    def as_view(self, oldest: float) -> InstanceView:
        """``oldest``: who was heard of before then is silent."""
        state = InstanceState.DRAINING if self.report.draining else InstanceState.WORKING
        if self.renewed_at < oldest:
            state = InstanceState.SILENT
        if self.report.stopped:
            state = InstanceState.STOPPED
        return InstanceView(
            name=self.report.name,
            version=self.report.version,
            state=state,
            since=moment_text(self.since),
            in_work=self.report.in_work,
            renewed_at=moment_text(self.renewed_at),
        )


@dataclass(slots=True)
class Record:
    """``skip(seconds)`` lets leases run out; ``away`` makes every call fail as an unreachable database would."""

    away: bool = False
    restored_at: float | None = None
    """Since when only newer events are taken, in the messages' seconds; None: all are."""
    known: dict[str, KnownRequest] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    destinations: list[FakeDestination] = field(default_factory=list)
    left_drained: dict[tuple[str, str], str] = field(default_factory=dict)
    """By lane and target: the deployment that left it so."""
    seen_drained: dict[tuple[str, str], str] = field(default_factory=dict)
    """By lane and target: the instance that saw it so last."""
    orders: list[ServerOrder] = field(default_factory=list)
    """What people ordered for servers, the last one last."""
    kept: dict[str, StoredEvent] = field(default_factory=dict)
    """Results of what was cleaned up."""
    early: dict[tuple[str, str], tuple[float, ControlCommand]] = field(default_factory=dict)
    """Cancels of what has not come, by id and identity: since when, and the first one."""
    instances: dict[str, FakeInstance] = field(default_factory=dict)
    doing: dict[str, tuple[int, float, tuple[Doing, ...]]] = field(default_factory=dict)
    """By deployment: epoch, when it was written, what the targets do."""
    doing_written: list[tuple[float, tuple[Doing, ...]]] = field(default_factory=list)
    """Every write of it, of any deployment."""
    locks: dict[str, tuple[float | None, LaneLock]] = field(default_factory=dict)
    """By lane, with its end; also those that are over."""
    audit: list[AuditRow] = field(default_factory=list)
    turns: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """By requester and queue: when it had its last turn (an epoch), and in which lane."""
    reports: int = 0
    """How often an instance wrote its row."""
    listeners: list[Callable[[str], Any]] = field(default_factory=list)
    sections: dict[str, asyncio.Lock] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    epochs: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    skipped_seconds: float = 0.0

    def now(self) -> float:
        return wall_time() + self.skipped_seconds

    def skip(self, seconds: float) -> None:
        self.skipped_seconds += seconds

    def hint(self, payload: str) -> None:
        for listener in list(self.listeners):
            listener(payload)

    def open_in_lane(self, lane: str) -> list[Row]:
        """In the order of arrival; what is not due does not count."""
        found = [row for row in self.rows.values() if row.lane == lane and not row.final]
        due = [row for row in found if row.due or (row.new.not_before or 0) <= self.now()]
        return sorted(due, key=lambda row: row.arrival)

    def lock_of(self, lane: str) -> LaneLock | None:
        """The one that holds now."""
        until, lock = self.locks.get(lane, (0.0, None))
        return lock if until is None or until > self.now() else None

    def drop_old_cancels(self, now: float) -> None:
        self.early = {key: kept for key, kept in self.early.items() if kept[0] >= now - EARLY_SECONDS}

    def kept_cancels(self, deployment_id: str, now: float) -> list[ControlCommand]:
        """The oldest first."""
        self.drop_old_cancels(now)
        kept = [kept for (name, _), kept in self.early.items() if name == deployment_id]
        return [command for _, command in sorted(kept, key=lambda each: each[0])]

    def take_cancels(self, deployment_id: str, now: float) -> list[ControlCommand]:
        found = self.kept_cancels(deployment_id, now)
        self.early = {key: kept for key, kept in self.early.items() if key[0] != deployment_id}
        return found

    def forget(self, row: Row) -> None:
        """Its result is kept."""
        name = row.new.deployment_id
        self.kept[name] = row.events[-1]
        self.destinations = [place for place in self.destinations if place.deployment_id != name]
        del self.rows[name]
        self.doing.pop(name, None)

    def add_destination(self, deployment_id: str, where: Destination | None) -> None:
        self.destinations.append(FakeDestination(next(self.numbers), deployment_id, where, self.now()))
