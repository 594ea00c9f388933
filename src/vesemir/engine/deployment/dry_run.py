"""A dry run: log in to every target and HAProxy, change nothing, say what would be done or what is in the way.

Every target is looked at, all at once within the limits of SSH, and everything that stands in the way is listed.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vesemir.domain.failure import FailedError, Failure
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.verdict import message_of_stop, target_state_of
from vesemir.engine.deployment.artifact_look import ArtifactLook
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.give_up import for_each
from vesemir.engine.deployment.interruption import interruptible
from vesemir.engine.deployment.prepare import PreparedDeployment
from vesemir.engine.deployment.progress import StartedDeployment
from vesemir.engine.deployment.rehearsal import Rehearsal
from vesemir.engine.messages.promotions import missing_promotions
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import steps_for

RANKS = ("artifact", "haproxy")
"""The parts of failure codes that concern every target, the gravest first."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found out of targets, by name, beside what stands in their way. ``unchecked``: what could not be looked
    at, and why. ``taken_out``: where somebody has taken the server out of traffic."""

    unchecked: dict[str, list[str]] = field(default_factory=dict)
    taken_out: dict[str, str] = field(default_factory=dict)


async def dry_run(started: StartedDeployment) -> Ending:
    """Raises ``StoppedError``, ``LeaseLostError``."""
    deployment, prepared = started.deployment, started.prepared
    left = deployment.request.timeouts.deployment - started.progress.record.clock_seconds
    async with interruptible(deployment.lease, seconds=max(0.0, left)):
        looked = Looked()
        failure = await _rehearse(deployment, prepared, looked)
    state = DeploymentState.FAILED if failure else DeploymentState.SUCCEEDED
    missing = await missing_promotions(deployment.ports.policies.current, deployment.request, deployment.ports.store)
    plan = _plan_body(deployment, prepared, looked)
    return Ending(state, failure, plan={**plan, "promotion": [f"{each.field} {each.message}" for each in missing]})


async def _rehearse(deployment: Deployment, prepared: PreparedDeployment, looked: Looked) -> Failure | None:
    """The gravest obstacle, the first of them in the plan's order, or None. Each target's own stand on its row."""
    unseen = [row for row in prepared.rows.values() if not row.finished]
    artifacts = ArtifactLook(deployment.ports.artifact)
    await for_each(unseen, partial(_look_at, deployment, artifacts, looked), name="rehearsal")
    return _gravest(row.failure for row in prepared.rows.values() if row.failure)


def _gravest(failures: Iterable[Failure]) -> Failure | None:
    """What stands in the way of every target comes before what concerns one: the artifact, then the load balancers."""

    def rank(failure: Failure) -> int:
        part = failure.code.value.partition(".")[0]
        return RANKS.index(part) if part in RANKS else len(RANKS)

    return min(failures, key=rank, default=None)


async def _look_at(deployment: Deployment, artifacts: ArtifactLook, looked: Looked, row: Row) -> None:
    obstacles: list[Failure] = []
    try:
        async with asyncio.timeout(deployment.request.timeouts.target):
            async with deployment.ports.hosts.login(row.target, deployment.ticket()) as look:
                findings = await Rehearsal(deployment, row, look, artifacts).findings()
            obstacles += findings.obstacles
            looked.unchecked[row.name] = [deployment.redact(text) for text in findings.unchecked]
            if deployment.traffic is not None:
                await deployment.traffic.check([row.name])
                await deployment.traffic.check_rights()
                looked.taken_out[row.name] = (await deployment.traffic.observe(row.name)).taken_out
    except FailedError as error:
        obstacles.append(error.failure)
    except TimeoutError:
        obstacles.append(message_of_stop("budget", row.name, deployment.request.timeouts.target))
    if obstacles:
        await _record(deployment, row, obstacles)


async def _record(deployment: Deployment, row: Row, obstacles: Sequence[Failure]) -> None:
    """One failure of the target, with the words of all."""
    gravest = _gravest(obstacles) or obstacles[0]
    words = [gravest.message, *(each.message for each in obstacles if each is not gravest)]
    failure = Failure(gravest.code, deployment.redact("; also: ".join(words)))
    state = target_state_of(failure, Direction.FORWARD)
    await deployment.recorder.write(row.move(TargetState.RUNNING), row.move(state, finished=True, failure=failure))


def _plan_body(deployment: Deployment, prepared: PreparedDeployment, looked: Looked) -> Mapping[str, Any]:
    """``plan`` of ``deployment.finished``: the batches, and per target its address, server and steps in order."""
    return {
        "batches": [list(batch.names) for batch in prepared.plan.batches],
        "targets": [
            {
                "name": row.name,
                "address": row.target.address,
                "source": row.target.source,
                "server": deployment.traffic.shown(row.name) if deployment.traffic else None,
                "steps": _step_names(deployment, row, canary=row.name in prepared.plan.canaries),
                "unchecked": looked.unchecked.get(row.name, []),
                "taken_out": looked.taken_out.get(row.name, ""),
            }
            for row in prepared.rows.values()
        ],
        "load_balancers": [box.name for box in prepared.balancers],
    }


def _step_names(deployment: Deployment, row: Row, *, canary: bool) -> list[str]:
    steps = steps_for(deployment.recipe, deployment.request, row.target, Direction.FORWARD, deployment.limits)
    prepare = [step.name for step in steps if step.phase == "prepare"]
    names = [step.name for step in steps if step.phase != "prepare"]
    if deployment.traffic is None:
        return [*prepare, *names]
    judged = canary and deployment.request.rollout.analysis is not None
    return [*prepare, "drain", *names, "health", "enable", *(["analysis"] if judged else [])]
