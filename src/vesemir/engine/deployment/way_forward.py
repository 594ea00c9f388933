"""The way forward of a deployment, phase by phase.

A phase that returns None leaves the rest to the next one. A ``Halt`` ends the way forward by a failure, of which
``rollout.on_failure`` decides what follows; an ``Ending`` is the end of the deployment whatever was asked. A new phase
is a function here, and its place in ``_PHASES``.
"""

from collections.abc import Awaitable, Callable

from vesemir.domain.failure import FailedError, Failure, FailureCode
from vesemir.domain.rollout import Halt
from vesemir.domain.states import DeploymentState
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.prepare_all import prepared_before
from vesemir.engine.deployment.progress import StartedDeployment
from vesemir.engine.deployment.rollout_loop import RolloutLoop
from vesemir.engine.deployment.way_back import go_back

PhaseEnd = Halt | Ending | None

_IMPOSSIBLE = frozenset({FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO, FailureCode.HAPROXY_CAPACITY})
"""What no target of the deployment can do, whatever its turn."""


async def go_forward(started: StartedDeployment) -> Ending:
    """Until a phase ends it, or all are done. Raises ``FailedError``, ``LeaseLostError``, ``HandedOverError``."""
    for phase in _PHASES:
        end = await phase(started)
        if isinstance(end, Halt):
            return await _after_halt(started, end)
        if end is not None:
            return end
    return Ending(DeploymentState.SUCCEEDED)


async def _after_halt(started: StartedDeployment, halt: Halt) -> Ending:
    cause = Failure(halt.code, halt.message)
    if halt.goes_back and started.deployment.request.rollout.on_failure == "rollback":
        return await go_back(started, cause)
    return Ending.failed(cause)


async def _refuse_impossible(started: StartedDeployment) -> None:
    """A share of traffic that HAProxy would round to nothing, and more servers UP than there can be, are refused before
    anything starts.

    Anything else that is wrong with a server is that target's own failure, found when its turn comes.
    """
    traffic = started.deployment.traffic
    if traffic is None or started.progress.record.started:
        return
    try:
        await traffic.check(started.prepared.plan.names)
    except FailedError as error:
        if error.failure.code in _IMPOSSIBLE:
            raise


async def _roll_batches(started: StartedDeployment) -> PhaseEnd:
    record = started.progress.record
    loop = RolloutLoop(
        started.deployment,
        started.progress,
        started.prepared.plan,
        started.prepared.rows,
        elapsed=record.clock_seconds,
        earlier=record,
        prepared=await prepared_before(started),
    )
    end = await loop.run()
    if isinstance(end, Halt | Ending):
        return end
    return None if end.code is None else Ending.failed(Failure(end.code, end.message))


_PHASES: tuple[Callable[[StartedDeployment], Awaitable[PhaseEnd]], ...] = (
    _refuse_impossible,
    _roll_batches,
)
"""In the order of contract section 2, "The lists of a recipe"."""
