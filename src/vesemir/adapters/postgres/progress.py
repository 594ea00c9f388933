"""One fenced commit of a running deployment: its changes in order, and its events."""

import hashlib
from collections.abc import Sequence
from typing import assert_never

import asyncpg

from vesemir.adapters.postgres.batching import Batch, in_batches
from vesemir.adapters.postgres.connections import clean_text
from vesemir.adapters.postgres.lanes import lock_lane
from vesemir.adapters.postgres.rows import box_json, failure_json
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.audit import AuditEntry
from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.failure import LeaseLostError
from vesemir.domain.states import FINAL, IllegalTransitionError, deployment_move, finishes_target
from vesemir.domain.traffic_place import found_json
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
from vesemir.engine.ports.records import StepRecord, TargetRecord
from vesemir.engine.ports.store import Claim

AloneChange = Emit | MoveDeployment | Start | AddTargets | SkipPending | LockLane
"""What no other change shares a statement with."""


async def commit(
    connection: Connection, claim: Claim, changes: Sequence[Change], *, instance: str, token: str, again: bool
) -> list[AuditEntry]:
    """Within a transaction. ``again``: an earlier try with this token ended in doubt, and may have been committed.

    Comes back with what the audit is to tell of it.
    """
    locks = [change for change in changes if isinstance(change, LockLane)]
    for lock in locks:
        # Before the deployment's row, as everywhere.
        await statements().lock_lane.run(connection, lane=lock.command.lane.name)
    events = [change.event for change in changes if isinstance(change, Emit)]
    first = await statements().fence.value(
        connection,
        deployment_id=claim.deployment_id,
        owner=claim.owner,
        epoch=claim.epoch,
        token=token,
        events=len(events),
    )
    if first is None:
        if again and await statements().is_written.value(connection, deployment_id=claim.deployment_id, token=token):
            return []
        raise LeaseLostError(f"{claim.owner} no longer has {claim.deployment_id} (epoch {claim.epoch})")
    for batch in in_batches(changes):
        await _apply(connection, claim.deployment_id, batch)
    if events:
        await statements().insert_events.run(
            connection,
            deployment_id=claim.deployment_id,
            instance=instance,
            sequences=list(range(first, first + len(events))),
            names=[event.name for event in events],
            bodies=[event.body() for event in events],
        )
    if any(isinstance(event, DeploymentFinishedEvent) for event in events):
        await statements().keep_outcome.run(connection, deployment_id=claim.deployment_id)
    return [
        lock.command.audited("accepted", rule=lock.rule)
        for lock in locks
        if await lock_lane(connection, lock.command, keeps_longer=True)
    ]


async def _apply(connection: Connection, deployment_id: str, batch: Batch) -> None:
    """Changes of one kind; more than one only where that kind is about targets."""
    match batch[0]:
        case MoveTarget():
            await _move_targets(connection, deployment_id, [each for each in batch if isinstance(each, MoveTarget)])
        case Regress():
            await _regress(connection, deployment_id, [each for each in batch if isinstance(each, Regress)])
        case Touch():
            await _touch(connection, deployment_id, [each for each in batch if isinstance(each, Touch)])
        case RecordTraffic():
            traffic = [each for each in batch if isinstance(each, RecordTraffic)]
            await _record_traffic(connection, deployment_id, traffic)
        case RecordInTraffic():
            seen = [each for each in batch if isinstance(each, RecordInTraffic)]
            await _record_in_traffic(connection, deployment_id, seen)
        case RecordStep():
            await _insert_steps(
                connection, deployment_id, [each.record for each in batch if isinstance(each, RecordStep)]
            )
        case LeftDrained():
            names = [each.name for each in batch if isinstance(each, LeftDrained)]
            await statements().leave_drained.run(connection, deployment_id=deployment_id, names=names)
        case BackInTraffic():
            names = [each.name for each in batch if isinstance(each, BackInTraffic)]
            await statements().back_in_traffic.run(connection, deployment_id=deployment_id, names=names)
        case change:
            await _apply_alone(connection, deployment_id, change)


async def _apply_alone(connection: Connection, deployment_id: str, change: AloneChange) -> None:
    match change:
        case Emit():
            if isinstance(change.event, DeploymentFinishedEvent):  # others come in no batch
                metrics = dict(change.event.metrics)
                await statements().store_metrics.run(connection, deployment_id=deployment_id, metrics=metrics)
        case LockLane():
            pass  # the last of the commit, which tells the audit of it
        case MoveDeployment():
            await _move_deployment(connection, deployment_id, change)
        case Start():
            await _start(connection, deployment_id, change)
        case AddTargets():
            await _insert_targets(connection, deployment_id, change.targets)
        case SkipPending():
            await statements().skip_pending.run(
                connection, deployment_id=deployment_id, direction=change.direction.value
            )
        case _:
            assert_never(change)


async def _move_deployment(connection: Connection, deployment_id: str, change: MoveDeployment) -> None:
    final = deployment_move(change.old, change.new) in FINAL
    moved = await statements().move_deployment.value(
        connection,
        deployment_id=deployment_id,
        old=change.old.value,
        new=change.new.value,
        failure=failure_json(change.failure),
        resets_clock=change.resets_clock,
        awaits_approval=change.awaits_approval,
        approves=change.approves,
        final=final,
    )
    if moved is None:
        raise IllegalTransitionError(f"{deployment_id} is not {change.old}, so it cannot become {change.new}")


async def _start(connection: Connection, deployment_id: str, change: Start) -> None:
    whole = change.recipe_full or change.recipe_source
    digest = hashlib.sha256(whole.encode()).digest() if whole else None
    if digest is not None:
        await statements().keep_recipe.run(
            connection, digest=digest, source=change.recipe_source, full_source=change.recipe_full or None
        )
    started = await statements().start_deployment.value(
        connection,
        deployment_id=deployment_id,
        resolve_seconds=change.resolve_seconds,
        recipe_digest=digest,
        balancers=[box_json(box) for box in change.balancers],
        found_backends=None if change.backends is None else found_json(change.backends),
    )
    if started is None and not await statements().is_started.value(connection, deployment_id=deployment_id):
        # Its owner found it in time a moment ago. Whoever looks after the lease has run out ends it.
        raise LeaseLostError(f"{deployment_id} was not begun by its not_after")
    if started is None:
        raise IllegalTransitionError(f"{deployment_id} has started already")
    await _insert_targets(connection, deployment_id, change.targets)


async def _insert_targets(connection: Connection, deployment_id: str, targets: Sequence[TargetRecord]) -> None:
    await statements().insert_targets.run(
        connection,
        deployment_id=deployment_id,
        directions=[target.direction.value for target in targets],
        names=[target.name for target in targets],
        addresses=[target.address for target in targets],
        ports=[target.port for target in targets],
        logins=[target.user for target in targets],
        variables=[dict(target.variables) for target in targets],
        sources=[clean_text(target.source) for target in targets],
        batches=[target.batch for target in targets],
        positions=[target.position for target in targets],
        states=[target.state.value for target in targets],
        finished=[target.finished for target in targets],
        touched=[target.touched for target in targets],
        failures=[failure_json(target.failure) for target in targets],
        traffic=[target.traffic and target.traffic.as_json() for target in targets],
        durations=[target.duration_seconds for target in targets],
        connects=[target.connect_seconds for target in targets],
    )


async def _move_targets(connection: Connection, deployment_id: str, changes: Sequence[MoveTarget]) -> None:
    """Of different targets."""
    finished = [finishes_target(change.old, change.new, finished=change.finished) for change in changes]
    rows = await statements().move_targets.rows(
        connection,
        deployment_id=deployment_id,
        directions=[change.direction.value for change in changes],
        names=[change.name for change in changes],
        olds=[change.old.value for change in changes],
        news=[change.new.value for change in changes],
        finished=finished,
        failures=[failure_json(change.failure) for change in changes],
        durations=[change.duration_seconds for change in changes],
        connects=[change.connect_seconds for change in changes],
        seen=[change.in_traffic for change in changes],
    )
    if len(rows) < len(changes):
        moved = {(row["direction"], row["name"]) for row in rows}
        change = next(change for change in changes if (change.direction.value, change.name) not in moved)
        raise IllegalTransitionError(
            f"{change.name} ({change.direction}) of {deployment_id} is not {change.old}: it cannot become {change.new}"
        )


async def _regress(connection: Connection, deployment_id: str, changes: Sequence[Regress]) -> None:
    rows = await statements().regress_targets.rows(
        connection,
        deployment_id=deployment_id,
        names=[change.name for change in changes],
        failures=[failure_json(change.failure) for change in changes],
    )
    regressed = {row["name"] for row in rows}
    for change in changes:
        if change.name not in regressed:
            raise IllegalTransitionError(f"{change.name} of {deployment_id} has not succeeded: it cannot regress")


async def _touch(connection: Connection, deployment_id: str, changes: Sequence[Touch]) -> None:
    rows = await statements().touch_targets.rows(
        connection,
        deployment_id=deployment_id,
        directions=[change.direction.value for change in changes],
        names=[change.name for change in changes],
    )
    _found_all(deployment_id, changes, rows)


async def _record_traffic(connection: Connection, deployment_id: str, changes: Sequence[RecordTraffic]) -> None:
    rows = await statements().record_traffic.rows(
        connection,
        deployment_id=deployment_id,
        directions=[change.direction.value for change in changes],
        names=[change.name for change in changes],
        traffic=[change.traffic.as_json() for change in changes],
    )
    _found_all(deployment_id, changes, rows)


async def _record_in_traffic(connection: Connection, deployment_id: str, changes: Sequence[RecordInTraffic]) -> None:
    rows = await statements().record_in_traffic.rows(
        connection,
        deployment_id=deployment_id,
        directions=[change.direction.value for change in changes],
        names=[change.name for change in changes],
        seen=[change.in_traffic for change in changes],
    )
    _found_all(deployment_id, changes, rows)


def _found_all(
    deployment_id: str,
    changes: Sequence[Touch] | Sequence[RecordTraffic] | Sequence[RecordInTraffic],
    rows: Sequence[asyncpg.Record],
) -> None:
    found = {(row["direction"], row["name"]) for row in rows}
    for change in changes:
        if (change.direction.value, change.name) not in found:
            raise IllegalTransitionError(f"{deployment_id} has no target {change.name} ({change.direction})")


async def _insert_steps(connection: Connection, deployment_id: str, steps: Sequence[StepRecord]) -> None:
    await statements().insert_steps.run(
        connection,
        deployment_id=deployment_id,
        targets=[step.target for step in steps],
        directions=[step.direction.value for step in steps],
        steps=[step.step for step in steps],
        attempts=[step.attempt for step in steps],
        statuses=[step.status.value for step in steps],
        exit_statuses=[step.exit_status for step in steps],
        durations=[step.duration_seconds for step in steps],
        outputs=[clean_text(step.output) for step in steps],
        sizes=[step.output_bytes for step in steps],
        truncated=[step.output_truncated for step in steps],
        redone=[step.redone for step in steps],
    )
