"""Which changes of one commit may share a statement: hundreds of targets then cost few.

Changes of different targets commute, and so do a target's moves with its steps and traffic, which are other columns or
tables. What concerns the whole deployment is a barrier, and two changes of one thing of one target stay in their order:
the second has its turn after every first.
"""

from collections.abc import Iterator, Sequence

from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.step import Direction
from vesemir.engine.ports.changes import (
    BackInTraffic,
    Change,
    Emit,
    LeftDrained,
    MoveTarget,
    RecordInTraffic,
    RecordStep,
    RecordTraffic,
    Regress,
    Touch,
)

Batch = Sequence[Change]
"""Of one kind."""


def in_batches(changes: Sequence[Change]) -> Iterator[Batch]:
    """All changes but plain events, which are numbered and inserted together at the end."""
    waiting: dict[tuple[int, type[Change]], list[Change]] = {}
    turns: dict[tuple[object, ...], int] = {}
    for change in changes:
        if isinstance(change, Emit) and not isinstance(change.event, DeploymentFinishedEvent):
            continue
        thing = _thing(change)
        if thing is None:
            yield from _by_turn(waiting)
            waiting, turns = {}, {}
            yield [change]
            continue
        turn = turns[thing] = turns.get(thing, -1) + 1
        waiting.setdefault((turn, type(change)), []).append(change)
    yield from _by_turn(waiting)


def _by_turn(waiting: dict[tuple[int, type[Change]], list[Change]]) -> list[Batch]:
    return [waiting[key] for key in sorted(waiting, key=lambda key: key[0])]


def _thing(change: Change) -> tuple[object, ...] | None:
    """What two changes must have in common for their order to matter; None for what concerns the whole deployment."""
    match change:
        case MoveTarget() | RecordTraffic() | RecordInTraffic() | Touch():
            return type(change), change.direction, change.name
        case Regress():
            return MoveTarget, Direction.FORWARD, change.name
        case LeftDrained() | BackInTraffic():
            return "drained", change.name
        case RecordStep(record):
            return "step", record.target, record.direction, record.step, record.attempt
        case _:
            return None
