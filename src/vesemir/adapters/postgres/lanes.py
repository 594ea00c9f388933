"""Locks of lanes: a row of ``lane`` has the one that holds."""

from datetime import UTC, datetime

from asyncpg import Record as Row

from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.control import ControlledLane
from vesemir.domain.lane_lock import LaneLock
from vesemir.engine.ports.records import LaneCommand
from vesemir.engine.ports.store import ControlAnswer


async def control_lane(connection: Connection, command: LaneCommand) -> ControlAnswer:
    """Within a transaction."""
    if command.command == "unlock":
        await statements().unlock_lane.run(connection, lane=command.lane.name)
        return ControlAnswer.ACCEPTED
    return ControlAnswer.ACCEPTED if await lock_lane(connection, command) else ControlAnswer.INVALID


async def lock_lane(connection: Connection, command: LaneCommand, *, keeps_longer: bool = False) -> bool:
    """Whether it is locked by this now."""
    locked = await statements().lock_lane_until.row(
        connection,
        lane=command.lane.name,
        until=command.until,
        lock=command.lock(since="", until=None).kept(),
        keeps_longer=keeps_longer,
    )
    return locked is not None


async def lane_lock(connection: Connection, lane: ControlledLane) -> LaneLock | None:
    """The one that holds now."""
    row = await statements().lane_lock.row(connection, lane=lane.name)
    return None if row is None else lane_lock_of(row)


def lane_lock_of(row: Row) -> LaneLock:
    until = row["locked_until"]
    return LaneLock.recorded(row["lock"] or {}, since=_text(row["locked_at"]), until=until and _text(until))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
