"""One fenced commit of a running deployment: its changes in order, and its events."""

from collections.abc import Sequence
from typing import assert_never

from vesemir.adapters.postgres.connections import clean_text
from vesemir.adapters.postgres.rows import box_json, failure_json
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.failure import LeaseLostError
from vesemir.domain.states import (
    FINAL,
    TARGET_TRANSITIONS,
    IllegalTransitionError,
    TargetState,
    deployment_move,
    target_move,
)
from vesemir.engine.store import (
    AddTargets,
    BackInTraffic,
    Change,
    Claim,
    Emit,
    LeftDrained,
    MoveDeployment,
    MoveTarget,
    RecordStep,
    RecordTraffic,
    SkipPending,
    Start,
    StepRecord,
    TargetRecord,
    Touch,
)

RESULT_EVENT = "deployment.finished"


async def commit(
    connection: Connection, claim: Claim, changes: Sequence[Change], *, instance: str, token: str, again: bool
) -> None:
    """Within a transaction. ``again``: an earlier try with this token ended in doubt, and may have been committed."""
    events = [change for change in changes if isinstance(change, Emit)]
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
            return
        raise LeaseLostError(f"{claim.owner} no longer has {claim.deployment_id} (epoch {claim.epoch})")
    for change in changes:
        await _apply(connection, claim.deployment_id, change)
    if events:
        await statements().insert_events.run(
            connection,
            deployment_id=claim.deployment_id,
            instance=instance,
            sequences=list(range(first, first + len(events))),
            names=[event.event for event in events],
            bodies=[dict(event.body) for event in events],
        )
    if any(event.event == RESULT_EVENT for event in events):
        await statements().keep_outcome.run(connection, deployment_id=claim.deployment_id)


async def _apply(connection: Connection, deployment_id: str, change: Change) -> None:
    match change:
        case Emit():
            if change.event == RESULT_EVENT:
                metrics = change.body.get("metrics")
                await statements().store_metrics.run(connection, deployment_id=deployment_id, metrics=metrics)
        case MoveDeployment():
            await _move_deployment(connection, deployment_id, change)
        case Start():
            await _start(connection, deployment_id, change)
        case AddTargets():
            await _insert_targets(connection, deployment_id, change.targets)
        case MoveTarget():
            await _move_target(connection, deployment_id, change)
        case SkipPending():
            await statements().skip_pending.run(
                connection, deployment_id=deployment_id, direction=change.direction.value
            )
        case Touch():
            await _on_target(connection, deployment_id, "touch_target", change)
        case RecordTraffic():
            await _on_target(connection, deployment_id, "record_traffic", change, traffic=dict(change.traffic))
        case LeftDrained() | BackInTraffic():
            left = isinstance(change, LeftDrained)
            statement = statements().leave_drained if left else statements().back_in_traffic
            await statement.run(connection, deployment_id=deployment_id, name=change.name)
        case RecordStep():
            await _insert_steps(connection, deployment_id, [change.record])
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
    started = await statements().start_deployment.value(
        connection,
        deployment_id=deployment_id,
        resolve_seconds=change.resolve_seconds,
        balancers=[box_json(box) for box in change.balancers],
    )
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
        traffic=[target.traffic and dict(target.traffic) for target in targets],
        durations=[target.duration_seconds for target in targets],
        connects=[target.connect_seconds for target in targets],
    )


def checked_target_move(change: MoveTarget) -> bool:
    """Whether the target is finished by this. Raises ``IllegalTransitionError``.

    Beside the table's moves there is one that only finishes: what is still unknown at the end stays so.
    """
    if change.old is change.new is TargetState.UNKNOWN and change.finished:
        return True
    return change.finished or not TARGET_TRANSITIONS[target_move(change.old, change.new)]


async def _move_target(connection: Connection, deployment_id: str, change: MoveTarget) -> None:
    finished = checked_target_move(change)
    moved = await statements().move_target.value(
        connection,
        deployment_id=deployment_id,
        direction=change.direction.value,
        name=change.name,
        old=change.old.value,
        new=change.new.value,
        finished=finished,
        failure=failure_json(change.failure),
        duration_seconds=change.duration_seconds,
        connect_seconds=change.connect_seconds,
    )
    if moved is None:
        raise IllegalTransitionError(
            f"{change.name} ({change.direction}) of {deployment_id} is not {change.old}: it cannot become {change.new}"
        )


async def _on_target(
    connection: Connection, deployment_id: str, statement: str, change: Touch | RecordTraffic, **values: object
) -> None:
    found = await getattr(statements(), statement).value(
        connection, deployment_id=deployment_id, direction=change.direction.value, name=change.name, **values
    )
    if found is None:
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
