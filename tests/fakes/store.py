"""An in-memory ``Store`` for the engine's unit tests; it passes ``tests/contract/test_store_*`` like the real one."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import assert_never

from tests.fakes.events import AnyEvent
from tests.fakes.order import accepted_body, is_late, next_work
from tests.fakes.record import FakeDestination, FakeInstance, Record, Row, moment_text, second_text

from vesemir.domain.audit import AuditEntry, AuditHead, AuditRow, heads_json, row_after
from vesemir.domain.control import (
    ControlDecision,
    ControlledDeployment,
    ControlledLane,
    decide_control,
    waiting_cancelled,
    waiting_result,
)
from vesemir.domain.doing import DOING_SECONDS, Doing
from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.failure import LeaseLostError
from vesemir.domain.identity import Identity
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.promotion import Success
from vesemir.domain.quota import HeldQuota, Waiting, WaitingCount
from vesemir.domain.request import EVERY_BACKEND
from vesemir.domain.states import (
    FINAL,
    DeploymentState,
    IllegalTransitionError,
    TargetState,
    deployment_move,
    finishes_target,
    target_regression,
)
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.turns import NO_QUOTAS
from vesemir.domain.waiting import expired_result
from vesemir.engine.ports.changes import (
    AddTargets,
    BackInTraffic,
    Change,
    Emit,
    LeftDrained,
    LockLane,
    MoveDeployment,
    MoveTarget,
    RecordInTraffic,
    RecordStep,
    RecordTraffic,
    Regress,
    SkipPending,
    Start,
    Touch,
)
from vesemir.engine.ports.records import (
    DeploymentRecord,
    Destination,
    KnownRequest,
    LaneCommand,
    NewDeployment,
    StepRecord,
    StepTotals,
    TargetRecord,
    Wishes,
)
from vesemir.engine.ports.store import (
    EARLY_CANCELS,
    SILENT_SECONDS,
    AcceptAnswer,
    AcceptKind,
    Claim,
    Cleaned,
    ControlAnswer,
    ControlCommand,
    Delivery,
    DrainedServer,
    Expired,
    InstanceReport,
    Permits,
    PermitsEarly,
    StoreAwayError,
    StoredEvent,
    permits_all,
    permits_early,
)
from vesemir.engine.ports.views import InstanceView


class FakeOutbox:
    """The half that the publisher uses."""

    def __init__(self, record: Record, *, instance: str) -> None:
        self.record = record
        self._instance = instance
        self.locked: set[str] = set()
        """Deployments whose rows somebody else has locked, for renewals."""

    async def turn(self) -> float:
        """Before every answer: the others get their turn, as at any database call. Gives the record's time.

        A test's own store overrides it, to be late, away or dead.
        """
        await asyncio.sleep(0)
        if self.record.away:
            raise StoreAwayError("the fake database is away")
        return self.record.now()

    async def lease_deliveries(self, publisher: str, *, seconds: float, limit: int) -> Sequence[Delivery]:
        now = await self.turn()
        due = [place for place in self.record.destinations if self._is_due(place, publisher, now)]
        due.sort(key=lambda place: (place.next_attempt_at, place.destination_id))
        turn, before = dict[int, int](), Counter[str]()
        for place in due:
            application = self.record.rows[place.deployment_id].new.application
            queue = f"queue {place.where.reply_to}" if place.where else f"topic {application}"
            turn[place.destination_id] = before[queue]
            before[queue] += 1
        due.sort(key=lambda place: (place.publisher == publisher, turn[place.destination_id]))
        for place in due[:limit]:
            place.publisher, place.publisher_expires_at = publisher, now + seconds
        return [_delivery(place, now) for place in due[:limit]]

    def _is_due(self, place: FakeDestination, publisher: str, now: float) -> bool:
        free = place.publisher in {None, publisher} or place.publisher_expires_at < now
        behind = place.cursor < len(self.record.rows[place.deployment_id].events)
        return free and behind and not place.done and not place.parked and place.next_attempt_at <= now

    async def events_after(self, deployment_id: str, cursor: int, *, limit: int) -> Sequence[StoredEvent]:
        await self.turn()
        row = self.record.rows.get(deployment_id)
        return [] if row is None else row.events[cursor : cursor + limit]

    async def advance(self, destination_id: int, publisher: str, cursor: int, *, release: bool) -> bool:
        await self.turn()
        place = self._held(destination_id, publisher)
        if place is None:
            return False
        row = self.record.rows[place.deployment_id]
        place.cursor = max(place.cursor, cursor)
        place.done = row.final and place.cursor >= len(row.events)
        place.failing_since = place.reason = None
        if release:
            place.release()
        return True

    async def postpone(self, destination_id: int, publisher: str, *, seconds: float, reason: str) -> None:
        now = await self.turn()
        place = self._held(destination_id, publisher)
        if place is not None:
            self._fail(place, reason, now)
            place.next_attempt_at = now + seconds

    async def park(self, destination_id: int, publisher: str, *, reason: str) -> None:
        now = await self.turn()
        place = self._held(destination_id, publisher)
        if place is not None:
            self._fail(place, reason, now)
            place.parked = True

    def _held(self, destination_id: int, publisher: str) -> FakeDestination | None:
        for place in self.record.destinations:
            if place.destination_id == destination_id and place.publisher == publisher:
                return place
        return None

    @staticmethod
    def _fail(place: FakeDestination, reason: str, now: float) -> None:
        place.failing_since = now if place.failing_since is None else place.failing_since
        place.reason = reason
        place.release()


def _delivery(place: FakeDestination, now: float) -> Delivery:
    reply_to = place.where and place.where.reply_to
    correlation_id = place.where and place.where.correlation_id
    failing = 0.0 if place.failing_since is None else now - place.failing_since
    return Delivery(place.destination_id, place.deployment_id, reply_to, correlation_id, place.cursor, failing)


class FakeStore(FakeOutbox):
    """One instance's view of a ``Record``."""

    async def ping(self) -> None:
        await self.turn()

    async def accept(
        self, new: NewDeployment, destination: Destination | None, *, permits: PermitsEarly = permits_early
    ) -> AcceptAnswer:
        now = await self.turn()
        if new.deployment_id in self.record.known:
            return self._repeat(new, destination, now)
        restored_at = self.record.restored_at
        if restored_at is not None and (new.sent_at is None or new.sent_at <= restored_at):
            return AcceptKind.BEFORE_RESTORE
        full = WaitingCount(self._waiting()).admit(new.quotas, new.waiting)
        if full is not None:
            return full
        lock = self.record.lock_of(f"{new.application}/{new.environment}")
        if lock is not None and not new.passes_lock(now):
            return lock
        self.record.known[new.deployment_id] = KnownRequest(new.body_hash, new.asker.identity)
        due = (new.not_before or 0) <= now
        row = Row(copy.deepcopy(new), accepted_at=now, arrival=len(self.record.rows) + 1, due=due)
        event = AnyEvent("deployment.accepted", accepted_body(self.record, row))
        row.emit(event, instance=self._instance, now=now)
        self.record.rows[new.deployment_id] = row
        self.record.add_destination(new.deployment_id, None)
        if destination is not None:
            self.record.add_destination(new.deployment_id, destination)
        self.record.hint("outbox")
        self.record.hint("work")
        self._audit(new.audited("accepted"))
        for command in self.record.take_cancels(new.deployment_id, now):
            if row.final:
                continue
            permitted = permits(command, new.controlled)
            self._audit(command.judged(new.controlled, permitted=permitted))
            if permitted:
                self._control(row, command, now)
        return AcceptKind.CANCELLED if row.final else AcceptKind.ACCEPTED

    async def control_lane(self, command: LaneCommand) -> ControlAnswer:
        now = await self.turn()
        if command.command == "unlock":
            self.record.locks.pop(command.lane.name, None)
            self.record.hint("work")
        elif command.until is not None and command.until <= now:
            return ControlAnswer.INVALID
        else:
            until = None if command.until is None else second_text(command.until)
            self.record.locks[command.lane.name] = command.until, command.lock(since=second_text(now), until=until)
        self._audit(command.audited("accepted"))
        return ControlAnswer.ACCEPTED

    async def lane_lock(self, lane: ControlledLane) -> LaneLock | None:
        await self.turn()
        return self.record.lock_of(lane.name)

    async def overlooked_cancels(self, deployment_id: str | None = None) -> Sequence[ControlCommand]:
        now = await self.turn()
        names = [name for name in self.record.rows if deployment_id in {None, name}]
        return [each for name in names for each in self.record.kept_cancels(name, now)]

    async def forget_cancels(self, deployment_id: str, identity: Identity | None) -> None:
        await self.turn()
        self.record.early.pop((deployment_id, str(identity or "")), None)

    async def audit(self, entry: AuditEntry) -> None:
        await self.turn()
        self._audit(entry)

    def _audit(self, entry: AuditEntry) -> None:
        chains = {row.chain: row.head for row in self.record.audit}
        last = chains.get(self._instance)
        first = {"heads": heads_json(chains.values())} if last is None else {}
        written = {"at": moment_text(self.record.now()), **entry.as_json(), **first}
        self.record.audit.append(row_after(self._instance, last, written))

    async def audit_heads(self) -> Sequence[AuditHead]:
        await self.turn()
        return list({row.chain: row.head for row in self.record.audit}.values())

    async def audit_rows(self) -> list[AuditRow]:
        await self.turn()
        return list(self.record.audit)

    async def known(self, deployment_id: str) -> KnownRequest | None:
        await self.turn()
        return self.record.known.get(deployment_id)

    async def waiting(self, quotas: Collection[HeldQuota]) -> Sequence[tuple[Waiting, int]]:
        await self.turn()
        return [each for each in self._waiting() if any(quota.counts(each[0]) for quota in quotas)]

    def _waiting(self) -> list[tuple[Waiting, int]]:
        rows = self.record.rows.values()
        return list(Counter(row.new.waiting for row in rows if row.state is DeploymentState.PENDING).items())

    async def successes(self, application: str, version: str, environments: Sequence[str]) -> Sequence[Success]:
        now = await self.turn()
        first: dict[tuple[str, str | None], Success] = {}
        rows = [row for row in self.record.rows.values() if row.state is DeploymentState.SUCCEEDED]
        for row in sorted(rows, key=lambda each: each.finished_at or 0):
            new, request = row.new, row.new.request
            if (new.application, new.version) != (application, version) or request.get("dry_run"):
                continue
            if new.environment in environments:
                artifact = request.get("parameters", {}).get("artifact_sha256")
                found = Success(new.environment, new.deployment_id, now - (row.finished_at or 0), artifact)
                first.setdefault((new.environment, artifact), found)
        return list(first.values())

    def _repeat(self, new: NewDeployment, destination: Destination | None, now: float) -> AcceptKind:
        if self.record.known[new.deployment_id].body_hash != new.body_hash:
            return AcceptKind.CONFLICT
        self._audit(new.audited("repeated"))
        if new.deployment_id in self.record.kept:
            return AcceptKind.CLEANED
        row = self.record.rows.get(new.deployment_id)
        if row is None or destination is None:
            return AcceptKind.REPEATED
        for place in self.record.destinations:
            if place.deployment_id == new.deployment_id and place.where == destination:
                place.set_back(cursor=len(row.events) - 1 if row.final else place.cursor, now=now)
                break
        else:
            self.record.add_destination(new.deployment_id, destination)
        self.record.hint("outbox")
        return AcceptKind.REPEATED

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        await self.turn()
        return self.record.kept.get(deployment_id)

    async def clean_up(self, *, older_than_seconds: float, rows: int, keep_good: int = 0) -> Cleaned | None:
        """At least one deployment at once, and no part of one."""
        now = await self.turn()
        owed = {place.deployment_id for place in self.record.destinations if not place.done and not place.parked}
        left = set(self.record.left_drained.values())
        due = [
            row
            for name, row in self.record.rows.items()
            if row.finished_at is not None and row.finished_at < now - older_than_seconds and name not in owed | left
        ]
        due = [row for row in due if row not in self._newest_good(row.lane, keep_good)]
        gone = deployments = 0
        for row in sorted(due, key=lambda each: each.finished_at or 0):
            if gone >= rows:
                break
            deployments += 1
            gone += 1 + len(row.steps) + len(row.events) + len(row.targets)
            self.record.forget(row)
        return Cleaned(deployments, gone)

    def _newest_good(self, lane: str, count: int) -> list[Row]:
        rows = (row for row in self.record.rows.values() if row.lane == lane)
        good = [row for row in rows if row.state is DeploymentState.SUCCEEDED and not row.new.request.get("dry_run")]
        return sorted(good, key=lambda row: row.arrival)[-count:] if count else []

    async def control(
        self, command: ControlCommand, *, permits: Permits = permits_all
    ) -> tuple[ControlAnswer, ControlledDeployment | None]:
        now = await self.turn()
        row = self.record.rows.get(command.deployment_id)
        kept = self.record.kept.get(command.deployment_id)
        if row is None and kept is not None:
            requester, body = self.record.known[command.deployment_id].identity, kept.body
            place = (body["application"], body["environment"], body["version"])
            deployment = ControlledDeployment(*place, requester=requester)
            if not permits(deployment):
                return ControlAnswer.FORBIDDEN, deployment
            answer = ControlAnswer.of(decide_control(command.command, DeploymentState(body["status"])))
            self._audit_control(command, answer, deployment)
            return answer, deployment
        if row is None:
            fits = command.command == "cancel" and command.deployment_id not in self.record.known
            if not fits or not self._keep(command, now):
                return ControlAnswer.UNKNOWN, None
            self._audit(command.audited(None, "kept"))
            return ControlAnswer.KEPT, None
        if not permits(row.controlled):
            return ControlAnswer.FORBIDDEN, row.controlled
        deployment, answer = row.controlled, self._control(row, command, now)
        self.record.hint("outbox" if answer is ControlAnswer.FINISHED else "wish")
        self._audit_control(command, answer, deployment)
        return answer, deployment

    def _audit_control(self, command: ControlCommand, answer: ControlAnswer, deployment: ControlledDeployment) -> None:
        if answer in {ControlAnswer.ACCEPTED, ControlAnswer.FINISHED}:
            self._audit(command.audited(deployment, "accepted"))

    def _keep(self, command: ControlCommand, now: float) -> bool:
        self.record.drop_old_cancels(now)
        key = (command.deployment_id, str(command.asker.identity or ""))
        if key not in self.record.early and sum(who == key[1] for _, who in self.record.early) >= EARLY_CANCELS:
            return False
        first = self.record.early.get(key, (now, command))[1]
        self.record.early[key] = (now, first)
        return True

    def _control(self, row: Row, command: ControlCommand, now: float) -> ControlAnswer:
        decision = decide_control(command.command, row.state, once=command.once)
        match decision:
            case ControlDecision.WISH:
                self._set_wish(row, command)
            case ControlDecision.END_WAITING:
                self._set_wish(row, command)
                self._cancel_waiting(row, command, now)
            case ControlDecision.REPEATED | ControlDecision.REFUSED | ControlDecision.NOT_ASKED:
                pass
            case _:
                assert_never(decision)
        return ControlAnswer.of(decision)

    @staticmethod
    def _set_wish(row: Row, command: ControlCommand) -> None:
        match command.command:
            case "cancel":
                row.cancel = row.cancel or command.wish
            case "pause":
                row.pause = row.pause or command.wish
            case "resume":
                row.pause, row.resume, row.approvals = None, command.wish, row.approvals + 1
            case _:
                assert_never(command.command)

    def _cancel_waiting(self, row: Row, command: ControlCommand, now: float) -> None:
        failure = waiting_cancelled(command.requested_by, command.reason)
        result = waiting_result(failure, now - row.accepted_at)
        row.state, row.finished_at, row.failure, row.metrics = result.status, now, failure, dict(result.metrics)
        row.emit(result, instance=self._instance, now=now)

    async def clock(self) -> float:
        return await self.turn()

    async def keep_appointments(self) -> Sequence[Expired]:
        now = await self.turn()
        for row in self.record.rows.values():
            row.due = row.due or (row.new.not_before or 0) <= now
        late = [row for row in self.record.rows.values() if is_late(row, now)]
        for row in late:
            result = expired_result(moment_text(row.new.not_after or 0), now - row.accepted_at)
            row.state, row.finished_at, row.failure, row.metrics = result.status, now, result.failure, result.metrics
            row.owner = row.lease_expires_at = None
            row.emit(result, instance=self._instance, now=now)
        self.record.hint("work")
        self.record.hint("outbox")
        return [Expired(row.new.deployment_id, row.new.dry_run) for row in late]

    async def claim(
        self, instance: str, *, lease_seconds: float, max_expiries: int, quotas: Mapping[str, int] = NO_QUOTAS
    ) -> Claim | None:
        now = await self.turn()
        work = next_work(self.record, quotas, now)
        if work is None:
            return None
        row = work.row
        claim = Claim(
            row.new.deployment_id,
            instance,
            next(self.record.epochs),
            row.last_owner,
            expired=row.owner is not None,
            exhausted=row.expiries >= max_expiries,
        )
        row.expiries += row.owner is not None
        row.state = DeploymentState.RUNNING if row.state is DeploymentState.PENDING else row.state
        row.owner = row.last_owner = instance
        row.epoch, row.lease_expires_at = claim.epoch, now + lease_seconds
        row.claimed_at = row.claimed_at or now
        if work.turn is not None:
            self.record.turns[work.turn] = claim.epoch, row.lane
        if claim.taken_over is not None:
            row.takeovers += 1
            for key, target in row.targets.items():
                if target.state is TargetState.RUNNING:
                    row.targets[key] = replace(target, state=TargetState.UNKNOWN)
            row.emit(claim.taken_over, instance=self._instance, now=now)
            self.record.hint("outbox")
        return claim

    async def renew(
        self, owner: str, epochs: Mapping[str, int], *, lease_seconds: float
    ) -> Mapping[str, Wishes | None]:
        now = await self.turn()
        renewed: dict[str, Wishes | None] = dict.fromkeys(self.locked & epochs.keys())
        for deployment_id, epoch in epochs.items():
            row = self.record.rows.get(deployment_id)
            if deployment_id in self.locked:
                continue
            if row is not None and row.owner == owner and row.epoch == epoch:
                row.lease_expires_at = now + lease_seconds
                renewed[deployment_id] = row.wishes
        return renewed

    async def wishes(self, owner: str) -> Mapping[str, Wishes]:
        await self.turn()
        return {name: row.wishes for name, row in self.record.rows.items() if row.owner == owner}

    async def hand_back(self, claim: Claim) -> None:
        await self.turn()
        row = self.record.rows[claim.deployment_id]
        if (row.owner, row.epoch) == (claim.owner, claim.epoch):
            row.owner = row.lease_expires_at = None
            self.record.hint("work")

    async def report_instance(self, report: InstanceReport) -> None:
        now = await self.turn()
        self.record.reports += 1
        row = self.record.instances.get(report.name)
        if row is None:
            self.record.instances[report.name] = FakeInstance(report, since=now, renewed_at=now)
        elif not row.report.stopped:
            row.report, row.renewed_at = replace(report, version=row.report.version), now

    async def forget_instances(self, *, older_than_seconds: float) -> None:
        oldest = await self.turn() - older_than_seconds
        self.record.instances = {name: row for name, row in self.record.instances.items() if row.renewed_at >= oldest}

    async def instances(self, *, silent_seconds: float = SILENT_SECONDS) -> Sequence[InstanceView]:
        oldest = await self.turn() - silent_seconds
        views = [row.as_view(oldest) for row in self.record.instances.values()]
        views.sort(key=lambda view: view.renewed_at, reverse=True)
        return sorted(views, key=lambda view: (not view.state.runs, view.since if view.state.runs else ""))

    async def write_doing(self, claim: Claim, doing: Sequence[Doing] | None) -> None:
        now = await self.turn()
        if doing is None:
            if self.record.doing.get(claim.deployment_id, (claim.epoch + 1,))[0] <= claim.epoch:
                del self.record.doing[claim.deployment_id]
            return
        row = self.record.rows.get(claim.deployment_id)
        if row is not None and (row.owner, row.epoch) == (claim.owner, claim.epoch):
            self.record.doing[claim.deployment_id] = claim.epoch, now, tuple(doing)
            self.record.doing_written.append((now, tuple(doing)))

    async def doing_of(self, deployment_id: str, *, silent_seconds: float = DOING_SECONDS) -> tuple[Doing, ...] | None:
        now = await self.turn()
        row, found = self.record.rows.get(deployment_id), self.record.doing.get(deployment_id)
        if row is None or found is None or row.owner is None:
            return None
        epoch, written_at, doing = found
        return doing if epoch == row.epoch and written_at >= now - silent_seconds else None

    async def load(self, deployment_id: str) -> DeploymentRecord | None:
        now = await self.turn()
        row = self.record.rows.get(deployment_id)
        return None if row is None else row.as_record(now)

    async def step_totals(self, deployment_id: str) -> StepTotals:
        await self.turn()
        steps = self.record.rows[deployment_id].steps if deployment_id in self.record.rows else []
        return StepTotals(len(steps), sum(s.redone for s in steps), sum(s.output_bytes for s in steps))

    async def finished_steps(self, deployment_id: str, target: str, direction: Direction) -> Sequence[StepRecord]:
        await self.turn()
        steps = self.record.rows[deployment_id].steps
        found = [s for s in steps if s.target == target and s.direction is direction]
        return [s if s.step == "analysis" else replace(s, output="") for s in found]

    async def succeeded_steps(self, deployment_id: str) -> Mapping[str, frozenset[str]]:
        await self.turn()
        done: dict[str, set[str]] = {}
        for step in self.record.rows[deployment_id].steps:
            if step.direction is Direction.FORWARD and step.status is StepStatus.SUCCEEDED:
                done.setdefault(step.target, set()).add(step.step)
        return {target: frozenset(steps) for target, steps in done.items()}

    async def commit(self, claim: Claim, changes: Sequence[Change]) -> None:
        now = await self.turn()
        row = self.record.rows.get(claim.deployment_id)
        if row is None or (row.owner, row.epoch) != (claim.owner, claim.epoch):
            raise LeaseLostError(f"{claim.owner} no longer has {claim.deployment_id} (epoch {claim.epoch})")
        after = replace(row, targets=dict(row.targets), steps=list(row.steps), events=list(row.events))
        for change in changes:
            _apply(after, change, instance=self._instance, now=now)
        self._note_drained(after, changes)
        for change in changes:
            if isinstance(change, LockLane):
                self._lock_after(change, now)
        self.record.rows[claim.deployment_id] = after
        if any(isinstance(change, Emit) for change in changes):
            self.record.hint("outbox")
        if after.final:
            self.record.hint("work")

    def _lock_after(self, change: LockLane, now: float) -> None:
        until, _ = self.record.locks.get(change.command.lane.name, (now, None))
        if until is not None:
            lock = change.command.lock(since=second_text(now), until=None)
            self.record.locks[change.command.lane.name] = None, lock
            self._audit(change.command.audited("accepted", rule=change.rule))

    def _note_drained(self, row: Row, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, LeftDrained):
                traffic = row.targets[Direction.FORWARD, change.name].traffic
                healing = traffic is not None and bool(traffic.healthy)
                if not (healing and (row.lane, change.name) in self.record.left_drained):
                    self.record.left_drained[row.lane, change.name] = row.new.deployment_id
            elif isinstance(change, BackInTraffic):
                self.record.left_drained.pop((row.lane, change.name), None)

    async def left_drained(self) -> Sequence[DrainedServer]:
        await self.turn()
        found = (self._drained(name, by) for (_, name), by in self.record.left_drained.items())
        return [each for each in found if each is not None]

    async def earlier_drain(self, lane: str, target: str) -> DrainedServer | None:
        await self.turn()
        by = self.record.left_drained.get((lane, target))
        return None if by is None else self._drained(target, by)

    def _drained(self, name: str, deployment_id: str) -> DrainedServer | None:
        row = self.record.rows[deployment_id]
        traffic = row.targets[Direction.FORWARD, name].traffic
        if traffic is None:
            return None
        asked = row.new.request["haproxy"]["backend"]
        backend = asked if isinstance(asked, str) and asked != EVERY_BACKEND else ""
        return DrainedServer(deployment_id, name, backend, traffic, row.balancers)

    async def seen_in_traffic(self, server: DrainedServer) -> None:
        await self.turn()
        key = self.record.rows[server.deployment_id].lane, server.target
        if self.record.left_drained.get(key) == server.deployment_id:
            del self.record.left_drained[key]

    async def seen_drained(self, server: DrainedServer) -> None:
        await self.turn()
        key = self.record.rows[server.deployment_id].lane, server.target
        if self.record.left_drained.get(key) == server.deployment_id:
            self.record.seen_drained[key] = self._instance

    @asynccontextmanager
    async def section(self, name: str) -> AsyncIterator[None]:
        async with self.record.sections.setdefault(name, asyncio.Lock()):
            yield

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str]]:
        await self.turn()
        heard: asyncio.Queue[str] = asyncio.Queue()
        self.record.listeners.append(heard.put_nowait)
        try:
            yield _each(heard)
        finally:
            self.record.listeners.remove(heard.put_nowait)


async def _each(heard: "asyncio.Queue[str]") -> AsyncIterator[str]:
    while True:
        yield await heard.get()


def _apply(row: Row, change: Change, *, instance: str, now: float) -> None:
    match change:
        case Emit():
            row.emit(change.event, instance=instance, now=now)
            if isinstance(change.event, DeploymentFinishedEvent):
                row.metrics = change.event.metrics
        case MoveDeployment():
            _move_deployment(row, change, now)
        case Start():
            if row.started_at is not None:
                raise IllegalTransitionError("it has started already")
            if row.new.not_after is not None and row.new.not_after <= now:
                raise LeaseLostError("it was not begun by its not_after")
            row.started_at = row.clock_started_at = now
            row.recipe_source = change.recipe_full or change.recipe_source or None
            row.recipe_for_older = change.recipe_source or None
            row.resolve_seconds, row.balancers, row.paused_seconds = change.resolve_seconds, change.balancers, 0.0
            row.backends = change.backends
            _add_targets(row, change.targets)
        case RecordStep():
            row.steps.append(change.record)
        case LeftDrained() | BackInTraffic() | LockLane():
            pass  # kept beyond the deployment, see commit
        case _:
            _apply_to_targets(row, change)


def _apply_to_targets(
    row: Row, change: AddTargets | MoveTarget | Regress | SkipPending | Touch | RecordTraffic | RecordInTraffic
) -> None:
    match change:
        case AddTargets():
            _add_targets(row, change.targets)
        case MoveTarget():
            _move_target(row, change)
        case Regress():
            _regress(row, change)
        case SkipPending():
            for key, target in row.targets.items():
                if target.state is TargetState.PENDING and target.direction is change.direction:
                    row.targets[key] = replace(target, state=TargetState.SKIPPED, finished=True)
        case Touch():
            _update(row, change, touched=True)
        case RecordTraffic():
            _update(row, change, traffic=change.traffic)
        case RecordInTraffic():
            _update(row, change, in_traffic=change.in_traffic)
        case _:
            assert_never(change)


def _add_targets(row: Row, targets: Sequence[TargetRecord]) -> None:
    row.targets |= {(target.direction, target.name): target for target in targets}


def _update(row: Row, change: Touch | RecordTraffic | RecordInTraffic | MoveTarget, **values: object) -> None:
    key = change.direction, change.name
    if key not in row.targets:
        raise IllegalTransitionError(f"no target {change.name} ({change.direction})")
    row.targets[key] = replace(row.targets[key], **values)


def _move_target(row: Row, change: MoveTarget) -> None:
    finished = finishes_target(change.old, change.new, finished=change.finished)
    target = row.targets.get((change.direction, change.name))
    if target is None or target.state is not change.old or target.finished:
        raise IllegalTransitionError(f"{change.name} ({change.direction}) is not {change.old}")
    _update(
        row,
        change,
        state=change.new,
        finished=finished,
        failure=change.failure or target.failure,
        duration_seconds=target.duration_seconds if change.duration_seconds is None else change.duration_seconds,
        in_traffic=target.in_traffic if change.in_traffic is None else change.in_traffic,
        connect_seconds=target.connect_seconds if change.connect_seconds is None else change.connect_seconds,
    )


def _move_deployment(row: Row, change: MoveDeployment, now: float) -> None:
    final = deployment_move(change.old, change.new) in FINAL
    if row.state is not change.old:
        raise IllegalTransitionError(f"it is not {change.old}")
    row.state = change.new
    row.failure = change.failure or row.failure
    row.awaits_approval = change.awaits_approval
    row.approvals = 0 if change.awaits_approval else row.approvals
    row.approved_batch = max(row.approved_batch, change.approves)
    if row.paused_since is not None:
        row.paused_seconds += now - max(row.paused_since, row.clock_started_at or 0)
    row.paused_since = now if change.new is DeploymentState.PAUSED else None
    if change.resets_clock:
        row.paused_seconds = 0.0
        row.clock_started_at = now if row.clock_started_at is not None else None
    if final:
        row.finished_at, row.owner, row.lease_expires_at = now, None, None


def _regress(row: Row, change: Regress) -> None:
    key = Direction.FORWARD, change.name
    target = row.targets.get(key)
    if target is None or not target.finished:
        raise IllegalTransitionError(f"{change.name} has not succeeded: it cannot regress")
    row.targets[key] = replace(target, state=target_regression(target.state), failure=change.failure)
