"""A deployment that cannot go on (its instances died over and over): end what runs and put HAProxy right."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from vesemir.domain.failure import FailedError, Failure, FailureCode, LeaseLostError
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.progress import StartedDeployment
from vesemir.engine.deployment.way_back import recorded_back
from vesemir.engine.ports.changes import LeftDrained
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.host_session import open_host
from vesemir.engine.target.row import Row


async def for_each(rows: Iterable[Row], work: Callable[[Row], Awaitable[None]], *, name: str) -> None:
    """Done for all, or ended for all. Raises ``LeaseLostError`` as itself, anything else as an ``ExceptionGroup``."""

    async def one(row: Row) -> None:
        await work(row)

    try:
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(one(row), name=f"{name} {row.name}")
    except BaseExceptionGroup as errors:
        if errors.subgroup(LeaseLostError) is not None:
            raise LeaseLostError("the lease was lost on the way") from errors
        raise


async def give_up(started: StartedDeployment, failure: Failure) -> Ending:
    """For every target in work, in either direction. Raises ``LeaseLostError``."""
    back = recorded_back(started)
    in_work = [row for row in (*started.progress.rows, *back.values()) if row.standing.in_work]
    await for_each(in_work, partial(_leave, started.deployment), name="giving up")
    return Ending(DeploymentState.FAILED, failure, back=back)


async def _leave(deployment: Deployment, row: Row) -> None:
    await deployment.recorder.write(row.move(TargetState.RUNNING))
    wording = [
        await _bounded(deployment, _end_remote(deployment, row)),
        await _bounded(deployment, _drain(deployment, row)),
    ]
    text = "; ".join(filter(None, [f"what {row.name} runs now is not known: look at the host", *wording]))
    failure = Failure(FailureCode.TARGET_STATE_UNKNOWN, text)
    row.in_traffic = (await deployment.in_traffic(row.name))[row.name]
    stays_out = _stays_out(deployment, row)
    left = [LeftDrained(row.name)] if stays_out else []
    await deployment.recorder.write(*row.finish(TargetState.UNKNOWN, failure), *left)
    meters = deployment.ports.meters
    meters.target_finished(TargetState.UNKNOWN, failure.code, seconds=None)
    if stays_out:
        meters.left_drained()


def _stays_out(deployment: Deployment, row: Row) -> bool:
    """What it serves may be broken, and nobody but this deployment took it out."""
    if deployment.traffic is None or row.traffic is None:
        return False
    return row.changed and not row.traffic.drained_by_others


async def _bounded(deployment: Deployment, work: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(deployment.limits.settle_seconds):
            return await work
    except FailedError as error:
        return error.failure.message
    except TimeoutError:
        return "it did not answer in time"


async def _end_remote(deployment: Deployment, row: Row) -> str:
    """Taking the host's lock ends whatever an earlier session left."""
    async with open_host(deployment, row.target):
        return ""


async def _drain(deployment: Deployment, row: Row) -> str:
    traffic = deployment.traffic
    if traffic is None or row.traffic is None:
        return ""
    if _stays_out(deployment, row):
        return await traffic.leave_drained(row.name, row.traffic)
    return await traffic.restore(row.name, row.traffic) or ""
