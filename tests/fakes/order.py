"""The order of work of the in-memory ``Store``: what ``find_work`` in ``sql/queries/leases.sql`` finds by index."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.record import Record, Row, moment_text

from vesemir.domain.states import ACTIVE, DeploymentState


@dataclass(frozen=True, slots=True)
class Work:
    """``turn``: the requester and queue whose turn it is; None for what was begun already."""

    row: Row
    turn: tuple[str, str] | None = None


def next_work(record: Record, quotas: Mapping[str, int], now: float) -> Work | None:
    return next(_left(record, now), None) or next(_in_turn(record, quotas, now), None)


def _left(record: Record, now: float) -> Iterator[Work]:
    """Handed back, or the lease has run out."""
    begun = [row for row in record.rows.values() if row.state in ACTIVE]
    left = [row for row in begun if row.owner is None or (row.lease_expires_at or 0) < now]
    yield from (Work(row) for row in sorted(left, key=lambda row: row.accepted_at))


def _in_turn(record: Record, quotas: Mapping[str, int], now: float) -> Iterator[Work]:
    running = Counter(quota for row in record.rows.values() if row.state in ACTIVE for quota in row.new.turn.quotas)
    active = {row.lane for row in record.rows.values() if row.state in ACTIVE}
    queues: dict[tuple[str, str], set[str]] = {}
    waiting: dict[str, list[Row]] = {}
    for row in sorted(record.rows.values(), key=lambda row: row.arrival):
        if row.state is DeploymentState.PENDING and row.due:
            queues.setdefault((row.new.turn.requester, row.new.turn.queue), set()).add(row.lane)
            waiting.setdefault(row.lane, []).append(row)
    latest: dict[str, int] = {}
    for (requester, _), (epoch, _) in record.turns.items():
        latest[requester] = max(epoch, latest.get(requester, 0))
    for key in sorted(queues, key=lambda key: (latest.get(key[0], 0), record.turns.get(key, (0, ""))[0], key)):
        last = record.turns.get(key, (0, ""))[1]
        for lane in sorted(queues[key] - active, key=lambda lane: (lane <= last, lane)):
            locked = record.lock_of(lane) is not None
            first = next((row for row in waiting[lane] if not locked or _goes_past_a_lock(row)), None)
            if first is None or (first.new.not_after or now + 1) <= now or first.new.turn.blocked(running, quotas):
                continue
            yield Work(first, key)


def _goes_past_a_lock(row: Row) -> bool:
    return row.new.break_glass is not None or row.new.dry_run


def is_late(row: Row, now: float) -> bool:
    """It was not begun in time, and nobody works on it."""
    begun = row.final or row.started_at is not None
    ownerless = row.owner is None or (row.lease_expires_at or 0) < now
    return row.new.not_after is not None and row.new.not_after <= now and not begun and ownerless


def accepted_body(record: Record, row: Row) -> dict[str, Any]:
    """Of ``deployment.accepted``."""
    not_before = row.new.not_before
    return {
        "position": len(record.open_in_lane(row.lane)),
        "not_before": None if not_before is None else moment_text(not_before),
        "dry_run": row.new.dry_run,
        "break_glass": None if row.new.break_glass is None else {"reason": row.new.break_glass},
    }
