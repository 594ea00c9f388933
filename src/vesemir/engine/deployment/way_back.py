"""The way back of a deployment: every target that was changed gets the release before again.

Its first half is one transaction; from then on every owner goes back.
"""

from collections.abc import Mapping

from vesemir.domain.events import DeploymentRollingBackEvent
from vesemir.domain.failure import Failure
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.failures import rollback_failed, where_each_stands
from vesemir.engine.deployment.progress import StartedDeployment
from vesemir.engine.deployment.rollout_loop import RolloutLoop
from vesemir.engine.ports.changes import AddTargets, Emit, MoveDeployment, SkipPending
from vesemir.engine.target.row import Row


async def go_back(started: StartedDeployment, cause: Failure) -> Ending:
    """After the way forward failed. Raises ``LeaseLostError``, ``HandedOverError``."""
    cause = Failure(cause.code, started.deployment.redact(cause.message))
    rows = await _turn_back(started, cause)
    return await _roll_back(started, rows, cause=cause, elapsed=0.0)


async def go_on_back(started: StartedDeployment) -> Ending:
    """After a takeover: the rows are the record's. Raises as ``go_back``."""
    record = started.progress.record
    rows = recorded_back(started)
    return await _roll_back(started, rows, cause=record.failure, elapsed=record.clock_seconds)


def recorded_back(started: StartedDeployment) -> dict[str, Row]:
    """The rows of the way back as an earlier owner left them."""
    back = (each for each in started.progress.record.targets if each.direction is Direction.BACK)
    return {each.name: Row.of(each) for each in back}


async def _turn_back(started: StartedDeployment, cause: Failure) -> dict[str, Row]:
    progress = started.progress
    back = tuple(row.way_back() for row in progress.rows if row.touched)
    await started.deployment.recorder.write(
        SkipPending(Direction.FORWARD),
        AddTargets(back),
        MoveDeployment(
            progress.move(DeploymentState.ROLLING_BACK), DeploymentState.ROLLING_BACK, cause, resets_clock=True
        ),
        Emit(DeploymentRollingBackEvent(cause)),
    )
    for row in progress.rows:
        if row.state is TargetState.PENDING:
            row.move(TargetState.SKIPPED, finished=True)
    return {each.name: Row.of(each) for each in back}


async def _roll_back(
    started: StartedDeployment, rows: Mapping[str, Row], *, cause: Failure | None, elapsed: float
) -> Ending:
    forward = started.progress.rows
    broken = frozenset(row.name for row in forward if row.state is not TargetState.SUCCEEDED)
    plan = started.prepared.plan.way_back(frozenset(rows), broken=broken)
    end = await RolloutLoop(started.deployment, started.progress, plan, rows, elapsed=elapsed).run()
    where = where_each_stands(forward, rows, started.deployment.request.version)
    if isinstance(end, Ending) and end.failure is not None:
        return Ending(end.state, Failure(end.failure.code, f"{end.failure.message}; {where}"), back=rows)
    if any(row.state is not TargetState.ROLLED_BACK for row in rows.values()):
        return Ending(DeploymentState.FAILED, rollback_failed(where, cause), back=rows)
    return Ending(DeploymentState.ROLLED_BACK, cause, back=rows)
