"""What people and dashboards read: plain JSON, times as RFC 3339 text. Nothing here locks or writes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from asyncpg import Record as Row

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.rows import event_of, failure_json, target_of, timestamp, wishes_of
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.adapters.postgres.statistics import statistics
from vesemir.domain.states import FINAL, DeploymentState
from vesemir.domain.statistics import Question, Statistics
from vesemir.engine.ports.observe import Backlog, WaitsFor
from vesemir.engine.ports.records import TargetRecord
from vesemir.engine.ports.store import StoredEvent

JsonObject = dict[str, Any]

_UNFINISHED = frozenset(DeploymentState) - FINAL
_HOW_FAR = ("before_it", "targets_total", "targets_done", "targets_failed")

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

    async def deployment_view(self, deployment_id: str) -> JsonObject | None:
        """All of one deployment: its row, its targets, its destinations (parked ones too), counts."""
        async with self._database.connection() as connection:
            row = await statements().deployment_view.row(connection, deployment_id=deployment_id)
            if row is None:
                return None
            targets = await statements().load_targets.rows(connection, deployment_id=deployment_id)
            destinations = await statements().destinations_of.rows(connection, deployment_id=deployment_id)
            before = []
            if row["state"] == DeploymentState.PENDING:
                before = await statements().waits_for.rows(connection, deployment_id=deployment_id)
        return {
            **_deployment_json(row),
            **_more_json(row),
            "waits_for": [{**each, "accepted_at": timestamp(each["accepted_at"])} for each in before],
            "targets": [_target_json(target_of(target), target["traffic"]) for target in targets],
            "destinations": [_destination_json(destination, row["next_sequence"] - 1) for destination in destinations],
        }

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
    ) -> list[JsonObject]:
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
        return [_deployment_json(row) for row in rows]

    async def going_on(self, *, limit: int) -> list[JsonObject]:
        """What runs, then what waits, the oldest first; with ``before_it`` and counts of its targets."""
        async with self._database.connection() as connection:
            rows = await statements().going_on.rows(connection, limit=limit)
        return [_deployment_json(row) | {name: row[name] for name in _HOW_FAR} for row in rows]

    async def last_ended(self, *, limit: int) -> list[JsonObject]:
        """The last ones that ended, the last first."""
        async with self._database.connection() as connection:
            return [_deployment_json(row) for row in await statements().last_ended.rows(connection, limit=limit)]

    async def servers_left_drained(self, *, limit: int) -> list[JsonObject]:
        """Those that get no traffic because of a result, by ``lane`` and ``target``; the longest first."""
        async with self._database.connection() as connection:
            rows = await statements().servers_left_drained.rows(connection, limit=limit)
        return [{**row, "since": timestamp(row["since"])} for row in rows]

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        """All that is left of a deployment that was cleaned up."""
        async with self._database.connection() as connection:
            row = await statements().kept_result.row(connection, deployment_id=deployment_id)
        return None if row is None else event_of(row)

    async def lane_history(self, application: str, environment: str, *, limit: int) -> list[JsonObject]:
        """What was deployed there, newest first, without dry runs: its ``request``, and the names of its ``targets``,
        of those ``touched``, and of those ``brought_back``."""
        async with self._database.connection() as connection:
            rows = await statements().lane_history.rows(
                connection, application=application, environment=environment, limit=limit
            )
        times = ("started_at", "finished_at")
        return [{**row, **{name: timestamp(row[name]) for name in times}} for row in rows]

    async def events(self, deployment_id: str, *, after: int = 0, limit: int = 1000) -> list[JsonObject]:
        """Complete events with a higher sequence than ``after``, in order."""
        async with self._database.connection() as connection:
            asked = deployment_id, after, limit
            found = await events_after(connection, [asked])
        return [dict(event.body) for event in found[asked]]

    async def steps(
        self,
        deployment_id: str,
        *,
        target: str | None = None,
        with_output: bool = False,
        after: int = 0,
        limit: int = 1_000_000,
    ) -> list[JsonObject]:
        """Recorded tries of steps in the order they ended; ``output`` is null unless asked for.

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
        return [{**row, "recorded_at": timestamp(row["recorded_at"])} for row in rows]

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
        return Backlog(
            **dict(outbox or {}),
            waiting={WaitsFor(row["waits_for"]): row["deployments"] for row in waiting},
            waiting_oldest_seconds=max((row["oldest_seconds"] for row in waiting), default=0.0),
            left_drained=drained,
        )


def _deployment_json(row: Row) -> JsonObject:
    return {
        "deployment_id": row["deployment_id"],
        "application": row["application"],
        "environment": row["environment"],
        "version": row["version"],
        "recipe": row["recipe"],
        "team": row["team"],
        "requested_by": row["requested_by"],
        "state": row["state"],
        "owner": row["owner"],
        "failure": row["failure"],
        "accepted_at": timestamp(row["accepted_at"]),
        "started_at": timestamp(row["started_at"]),
        "finished_at": timestamp(row["finished_at"]),
        "duration_seconds": row["duration_seconds"],
    }


def _more_json(row: Row) -> JsonObject:
    wishes = wishes_of(row)
    return {
        "user_id": row["user_id"],
        "request": row["request"],
        "metrics": row["metrics"],
        "last_owner": row["last_owner"],
        "epoch": row["epoch"],
        "lease_expires_at": timestamp(row["lease_expires_at"]),
        "lease_expired": row["lease_expired"],
        "awaits_approval": row["awaits_approval"],
        "paused_for_seconds": row["paused_for_seconds"],
        "expiries": row["expiries"],
        "takeovers": row["takeovers"],
        "cancel": wishes.cancel and wishes.cancel.as_json(),
        "pause": wishes.pause and wishes.pause.as_json(),
        "approvals": wishes.approvals,
        "queued_seconds": row["queued_seconds"],
        "resolve_seconds": row["resolve_seconds"],
        "steps_total": row["steps_total"],
        "balancers": [
            {"name": box["name"], "socket": box["variables"].get("haproxy_socket")} for box in row["balancers"]
        ],
        "last_sequence": row["next_sequence"] - 1,
    }


def _target_json(target: TargetRecord, traffic: JsonObject | None) -> JsonObject:
    return {
        "name": target.name,
        "direction": target.direction.value,
        "address": target.address,
        "port": target.port,
        "user": target.user,
        "source": target.source,
        "batch": target.batch,
        "status": target.state.value,
        "finished": target.finished,
        "touched": target.touched,
        "failure": failure_json(target.failure),
        "traffic": traffic,
        "duration_seconds": target.duration_seconds,
        "connect_seconds": target.connect_seconds,
    }


def _destination_json(row: Row, last_sequence: int) -> JsonObject:
    return {
        "reply_to": row["reply_to"],
        "correlation_id": row["correlation_id"],
        "delivered": row["cursor"],
        "due": last_sequence - row["cursor"],
        "failing_since": timestamp(row["failing_since"]),
        "next_attempt_at": timestamp(row["next_attempt_at"]),
        "reason": row["reason"],
        "parked_at": timestamp(row["parked_at"]),
    }
