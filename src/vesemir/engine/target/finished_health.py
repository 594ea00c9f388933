"""Whether finished targets are still well: HAProxy is asked, once for all of them; without it each one's last check."""

import asyncio
from collections.abc import Mapping, Sequence

from vesemir.domain.failure import FailedError, Failure, FailureCode, LeaseLostError, left_ready, with_left_behind
from vesemir.domain.render import hidden_values
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.host_session import open_host
from vesemir.engine.target.last_check import last_check
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import steps_for


async def not_well(deployment: Deployment, rows: Sequence[Row]) -> Mapping[str, Failure]:
    """Those that are not, with why. What cannot be asked is no failure. Raises ``LeaseLostError``."""
    if deployment.traffic is not None:
        shown = await deployment.traffic.not_up([row.name for row in rows])
        return {name: _not_up(deployment, name, seen) for name, seen in shown.items()}
    found = await _each_checked(deployment, rows)
    return {name: _check_failed(name, reason) for name, reason in found.items() if reason}


async def _each_checked(deployment: Deployment, rows: Sequence[Row]) -> Mapping[str, str | None]:
    """The hosts' own limits say how many at once."""
    try:
        async with asyncio.TaskGroup() as group:
            asked = {
                row.name: group.create_task(_checked(deployment, row), name=f"look again {row.name}") for row in rows
            }
    except BaseExceptionGroup as errors:
        if errors.subgroup(LeaseLostError) is not None:
            raise LeaseLostError("the lease was lost while finished targets were looked at") from errors
        raise
    return {name: task.result() for name, task in asked.items()}


async def _checked(deployment: Deployment, row: Row) -> str | None:
    steps = steps_for(deployment.recipe, deployment.request, row.target, row.direction, deployment.limits)
    check = last_check(deployment, steps, target=row.name, direction=row.direction)
    if check is None:
        return None
    deployment.redact.add(hidden_values(steps))
    try:
        async with open_host(deployment, row.target) as host:
            reason = await check.ask(host)
    except FailedError as error:
        deployment.ports.log.info("{target} could not be looked at again: {why}", target=row.name, why=str(error))
        return None
    return None if reason is None else f"its check {check.name} does not pass any more: {reason}"


def _not_up(deployment: Deployment, name: str, shown: str) -> Failure:
    text = f"{name} was deployed and is not UP any more: {shown}; look at the application's log on the target"
    server = name if deployment.traffic is None else deployment.traffic.server_of(name)
    return with_left_behind(Failure(FailureCode.HEALTH_FAILED, text), left_ready(server))


def _check_failed(name: str, reason: str) -> Failure:
    return Failure(FailureCode.HEALTH_FAILED, f"{name} was deployed and {reason}; it is left as it is")
