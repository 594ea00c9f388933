"""What people and dashboards read. Nothing here locks or writes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg

from vesemir.adapters.postgres.audit import audit_row_of, heads
from vesemir.adapters.postgres.audit_reading import VerifiedAudit, all_rows, verified
from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.lanes import lane_lock, lane_lock_of
from vesemir.adapters.postgres.quotas import waiting_of
from vesemir.adapters.postgres.rows import event_of
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.adapters.postgres.statistics import statistics
from vesemir.adapters.postgres.views import (
    deployment_of,
    drained_of,
    instance_of,
    lane_deployment_of,
    step_of,
    summary_of,
    unfinished_of,
)
from vesemir.domain.audit import AuditHead, AuditKind, AuditRow
from vesemir.domain.control import ControlledLane
from vesemir.domain.doing import DOING_SECONDS, Doing
from vesemir.domain.promotion import Success
from vesemir.domain.quota import HeldQuota, Waiting
from vesemir.domain.states import FINAL, DeploymentState
from vesemir.domain.statistics import Question, Statistics
from vesemir.engine.ports.observe import Backlog, WaitsFor
from vesemir.engine.ports.store import SILENT_SECONDS, StoredEvent
from vesemir.engine.ports.views import (
    DeploymentSummary,
    DeploymentView,
    DrainedServerView,
    InstanceView,
    LaneDeployment,
    LockedLaneView,
    StepView,
    UnfinishedView,
)

_UNFINISHED = frozenset(DeploymentState) - FINAL

EventsAfter = tuple[str, int, int]
"""A deployment, the cursor, and how many events at most."""


async def events_after(
    connection: Connection, asked: Sequence[EventsAfter]
) -> Mapping[EventsAfter, Sequence[StoredEvent]]:
    """Complete events with a higher sequence than the cursor, in order; ``asked`` holds no question twice."""
    found: dict[EventsAfter, list[StoredEvent]] = {each: [] for each in asked}
    rows = await statements().events_after.rows(
        connection,
        deployments=[each[0] for each in asked],
        cursors=[each[1] for each in asked],
        limits=[each[2] for each in asked],
    )
    for row in rows:
        found[asked[row["asker"] - 1]].append(event_of(row))
    return found


class Reader:
    """Raises ``StoreAwayError`` when the database does not answer in time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def deployment_view(self, deployment_id: str) -> DeploymentView | None:
        """All of one deployment: its row, its targets, its destinations (parked ones too), counts."""
        async with self._database.connection() as connection:
            row = await statements().deployment_view.row(connection, deployment_id=deployment_id)
            if row is None:
                return None
            targets = await statements().targets_of_view.rows(connection, deployment_id=deployment_id)
            destinations = await statements().destinations_of.rows(connection, deployment_id=deployment_id)
            before, lock = [], None
            if row["state"] == DeploymentState.PENDING:
                lock = await lane_lock(connection, ControlledLane(row["application"], row["environment"]))
                before = await statements().waits_for.rows(connection, deployment_id=deployment_id)
        doing = None if row["owner"] is None else await self.doing_of(deployment_id)
        view = deployment_of(row, before=before, targets=targets, destinations=destinations, doing=doing)
        return (
            view
            if lock is None
            else replace(view, lock=LockedLaneView.of(f"{view.application}/{view.environment}", lock))
        )

    async def waiting(self, quotas: Collection[HeldQuota]) -> Sequence[tuple[Waiting, int]]:
        async with self._database.connection() as connection:
            return await waiting_of(connection, quotas)

    async def successes(self, application: str, version: str, environments: Sequence[str]) -> Sequence[Success]:
        async with self._database.connection() as connection:
            rows = await statements().successes.rows(
                connection, application=application, version=version, environments=list(environments)
            )
        return [Success(**row) for row in rows]

    async def audit_heads(self) -> Sequence[AuditHead]:
        async with self._database.connection() as connection:
            return await heads(connection)

    async def audit_rows(self) -> list[AuditRow]:
        """All of it."""
        async with self._database.snapshot() as connection:
            return [row async for row in all_rows(connection)]

    async def verified_audit(self, known: Iterable[AuditHead] = ()) -> VerifiedAudit:
        """What is wrong with the audit, given rows that somebody noted elsewhere (``domain.audit``)."""
        async with self._database.snapshot() as connection:
            return await verified(connection, known)

    async def find_audit(
        self,
        *,
        limit: int,
        deployment_id: str | None = None,
        since: datetime | None = None,
        kind: AuditKind | None = None,
        application: str | None = None,
        environment: str | None = None,
        identity: str | None = None,
    ) -> list[AuditRow]:
        """The newest first. ``since`` needs a time zone."""
        async with self._database.connection() as connection:
            rows = await statements().find_audit.rows(
                connection,
                deployment_id=deployment_id,
                since=None if since is None else since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
                kind=kind,
                application=application,
                environment=environment,
                identity=identity,
                limit=limit,
            )
        return [audit_row_of(row) for row in rows]

    async def doing_of(self, deployment_id: str, *, silent_seconds: float = DOING_SECONDS) -> tuple[Doing, ...] | None:
        """What its targets do, as the owner of now has reported it within that time; None if it has not.

        A standby has no rows of an unlogged table, and refuses to look for them.
        """
        async with self._database.connection() as connection:
            try:
                found = await statements().doing_of.value(
                    connection, deployment_id=deployment_id, silent_seconds=silent_seconds
                )
            except asyncpg.FeatureNotSupportedError:
                return None
        return None if found is None else tuple(map(Doing.of_json, found))

    async def deployments(
        self,
        *,
        limit: int = 50,
        before: str | None = None,
        application: str | None = None,
        environment: str | None = None,
        state: str | None = None,
        team: str | None = None,
        since: datetime | None = None,
    ) -> list[DeploymentSummary]:
        """Newest first. ``before`` is a deployment's id: those accepted before it (none, if it is unknown)."""
        async with self._database.connection() as connection:
            rows = await statements().deployments.rows(
                connection,
                limit=limit,
                before=before,
                application=application,
                environment=environment,
                state=state,
                unfinished=state in _UNFINISHED,
                team=team,
                since=since,
            )
        return [summary_of(row) for row in rows]

    async def going_on(self, *, limit: int) -> list[UnfinishedView]:
        """What runs, then what waits, the oldest first; with ``before_it`` and counts of its targets."""
        async with self._database.connection() as connection:
            rows = await statements().going_on.rows(connection, limit=limit)
        return [unfinished_of(row) for row in rows]

    async def last_ended(self, *, limit: int) -> list[DeploymentSummary]:
        """The last ones that ended, the last first."""
        async with self._database.connection() as connection:
            return [summary_of(row) for row in await statements().last_ended.rows(connection, limit=limit)]

    async def servers_left_drained(self, *, limit: int) -> list[DrainedServerView]:
        """Those that get no traffic because of a result, by ``lane`` and ``target``; the longest first."""
        async with self._database.connection() as connection:
            rows = await statements().servers_left_drained.rows(connection, limit=limit)
        return [drained_of(row) for row in rows]

    async def locked_lanes(self, *, limit: int) -> list[LockedLaneView]:
        """Those whose lock holds now, the oldest first."""
        async with self._database.connection() as connection:
            rows = await statements().locked_lanes.rows(connection, limit=limit)
        return [LockedLaneView.of(row["lane"], lane_lock_of(row)) for row in rows]

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        """All that is left of a deployment that was cleaned up."""
        async with self._database.connection() as connection:
            row = await statements().kept_result.row(connection, deployment_id=deployment_id)
        return None if row is None else event_of(row)

    async def was_dry_run(self, deployment_id: str) -> bool:
        """Of one that ended, also after it was cleaned up: its result does not say so if it failed early."""
        async with self._database.connection() as connection:
            return bool(await statements().was_dry_run.value(connection, deployment_id=deployment_id))

    async def lane_history(self, application: str, environment: str, *, limit: int) -> list[LaneDeployment]:
        """What was deployed there, newest first, without dry runs."""
        async with self._database.connection() as connection:
            rows = await statements().lane_history.rows(
                connection, application=application, environment=environment, limit=limit
            )
        return [lane_deployment_of(row) for row in rows]

    async def events(self, deployment_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """Complete events with a higher sequence than ``after``, in order."""
        async with self._database.connection() as connection:
            asked = deployment_id, after, limit
            found = await events_after(connection, [asked])
        return found[asked]

    async def steps(
        self,
        deployment_id: str,
        *,
        target: str | None = None,
        with_output: bool = False,
        after: int = 0,
        limit: int = 1_000_000,
    ) -> list[StepView]:
        """Recorded tries of steps in the order they ended; ``output`` is None unless asked for.

        ``after`` is the ``step_id`` of the last one that was read before.
        """
        async with self._database.connection() as connection:
            rows = await statements().steps.rows(
                connection,
                deployment_id=deployment_id,
                target=target,
                with_output=with_output,
                after=after,
                limit=limit,
            )
        return [step_of(row) for row in rows]

    async def instances(self, *, silent_seconds: float = SILENT_SECONDS) -> list[InstanceView]:
        """Those that run first, then those that did; not those of 0.1."""
        async with self._database.connection() as connection:
            rows = await statements().instances.rows(connection, silent_seconds=silent_seconds)
        return [instance_of(row) for row in rows]

    async def anyone_ran(self) -> bool:
        """Whether an instance has ever worked on this record."""
        async with self._database.connection() as connection:
            return bool(await statements().anyone_ran.value(connection))

    async def leases_in_force(self) -> int:
        """How many deployments some instance works on now."""
        async with self._database.connection() as connection:
            return int(await statements().leases_in_force.value(connection))

    async def statistics(self, question: Question) -> Statistics:
        """What became of the deployments that ended in a time, against the time before it."""
        async with self._database.connection() as connection:
            return await statistics(connection, question)

    async def backlog(self) -> Backlog:
        """What waits: to be published, to be worked on, to be put back into traffic."""
        async with self._database.connection() as connection:
            outbox = await statements().backlog.row(connection)
            waiting = await statements().waiting.rows(connection)
            drained = await statements().count_left_drained.value(connection)
            locked = await statements().count_locked_lanes.value(connection)
        return Backlog(
            **dict(outbox or {}),
            waiting={WaitsFor(row["waits_for"]): row["deployments"] for row in waiting},
            waiting_oldest_seconds=max((row["oldest_seconds"] for row in waiting), default=0.0),
            left_drained=drained,
            locked_lanes=locked,
        )
