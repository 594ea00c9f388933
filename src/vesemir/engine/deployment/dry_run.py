"""A dry run: log in to every target and HAProxy, change nothing, say what would be done or what is in the way."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from vesemir.domain.failure import FailedError, Failure
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.verdict import message_of_stop, target_state_of
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.give_up import for_each
from vesemir.engine.deployment.interruption import interruptible
from vesemir.engine.deployment.prepare import PreparedDeployment
from vesemir.engine.deployment.progress import StartedDeployment
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import steps_for


async def dry_run(started: StartedDeployment) -> Ending:
    """Raises ``StoppedError``, ``LeaseLostError``."""
    deployment, prepared = started.deployment, started.prepared
    left = deployment.request.timeouts.deployment - started.progress.record.clock_seconds
    async with interruptible(deployment.lease, seconds=max(0.0, left)):
        failure = await _rehearse(deployment, prepared)
    state = DeploymentState.FAILED if failure else DeploymentState.SUCCEEDED
    return Ending(state, failure, plan=_plan_body(deployment, prepared))


async def _rehearse(deployment: Deployment, prepared: PreparedDeployment) -> Failure | None:
    """The first obstacle in the plan's order, or None. Each target's own is recorded on its row."""
    unseen = [row for row in prepared.rows.values() if not row.finished]
    await for_each(unseen, partial(_look_at, deployment), name="rehearsal")
    return next((row.failure for row in prepared.rows.values() if row.failure), None)


async def _look_at(deployment: Deployment, row: Row) -> None:
    try:
        async with asyncio.timeout(deployment.request.timeouts.target):
            async with deployment.ports.hosts.login(row.target):
                pass
            if deployment.traffic is not None:
                await deployment.traffic.check([row.name])
                await deployment.traffic.observe(row.name)
    except FailedError as error:
        await _record(deployment, row, error.failure)
    except TimeoutError:
        await _record(deployment, row, message_of_stop("budget", row.name, deployment.request.timeouts.target))


async def _record(deployment: Deployment, row: Row, failure: Failure) -> None:
    failure = Failure(failure.code, deployment.redact(failure.message))
    state = target_state_of(failure, Direction.FORWARD)
    await deployment.recorder.write(row.move(TargetState.RUNNING), row.move(state, finished=True, failure=failure))


def _plan_body(deployment: Deployment, prepared: PreparedDeployment) -> Mapping[str, Any]:
    """``plan`` of ``deployment.finished``: the batches, and per target its address, server and steps in order."""
    request = deployment.request
    return {
        "batches": [list(batch.names) for batch in prepared.plan.batches],
        "targets": [
            {
                "name": row.name,
                "address": row.target.address,
                "source": row.target.source,
                "server": f"{request.haproxy.backend}/{request.haproxy.server_of(row.name)}"
                if request.haproxy
                else None,
                "steps": _step_names(deployment, row, canary=row.name in prepared.plan.canaries),
            }
            for row in prepared.rows.values()
        ],
        "load_balancers": [box.name for box in prepared.balancers],
    }


def _step_names(deployment: Deployment, row: Row, *, canary: bool) -> list[str]:
    steps = steps_for(deployment.recipe, deployment.request, row.target, Direction.FORWARD, deployment.limits)
    names = [step.name for step in steps]
    if deployment.traffic is None:
        return names
    judged = canary and deployment.request.rollout.analysis is not None
    return ["drain", *names, "health", "enable", *(["analysis"] if judged else [])]
