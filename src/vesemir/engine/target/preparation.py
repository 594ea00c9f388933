"""Preparing one target long before its turn (``rollout.prepare`` is ``all``): it stays ``pending``, with its traffic.

An instance of any version that takes the deployment over may begin it as if nothing had been done, or go on from what
is recorded. Only a target that fails is in work, for the one moment in which that is recorded.
"""

from vesemir.domain.events import TargetStartedEvent
from vesemir.domain.failure import Failure, LeaseLostError
from vesemir.domain.render import hidden_values
from vesemir.domain.states import TargetState
from vesemir.domain.verdict import target_state_of
from vesemir.engine.clock import loop_time
from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.ownership.scope import Scope, StoppedError
from vesemir.engine.ports.changes import Emit
from vesemir.engine.ports.hosts import Host
from vesemir.engine.target.attempt import Attempt
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.recorded_steps import RecordedSteps
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import steps_for


class PreparationSession:
    """``run`` once; the deployment's stop signal ends it. ``resumed``: an earlier owner may have begun with it."""

    def __init__(self, deployment: Deployment, row: Row, *, resumed: bool) -> None:
        self._deployment = deployment
        self._log = deployment.ports.log
        self._row = row
        scope = Scope(deployment.request.timeouts.target, deployment.stop_signal)
        self._steps = RecordedSteps(deployment, row, scope)
        self._attempt = Attempt(deployment, row, self._steps, scope, resumed=resumed)

    async def run(self) -> None:
        """Until it is prepared, or finished because that failed; or leave it for the next owner."""
        with self._log.context(target=self._row.name):
            started = loop_time()
            self._log.info("is being prepared")
            try:
                failure = await self._attempt.run(self._on_host)
                if failure is None:
                    self._row.prepared = True
                    self._log.info("prepared in {seconds:.1f} s", seconds=loop_time() - started)
                else:
                    await self._finish(failure, loop_time() - started)
            except (LeaseLostError, StoppedError):
                return

    async def _on_host(self, host: Host) -> None:
        deployment, row, resumed = self._deployment, self._row, self._attempt.resumed
        steps = steps_for(deployment.recipe, deployment.request, row.target, row.direction, deployment.limits)
        deployment.redact.add(hidden_values(steps))
        if resumed:
            await self._steps.remember()
        for step in steps:
            if step.phase == "prepare":
                await self._steps.remote(host, step, resumed=resumed)
        reach(Failpoint.PREPARED)

    async def _finish(self, failure: Failure, seconds: float) -> None:
        """It begins and ends here, as it was."""
        deployment, row = self._deployment, self._row
        failure = Failure(failure.code, deployment.redact(failure.message))
        state = target_state_of(failure, row.direction)
        row.duration_seconds = seconds
        row.in_traffic = (await deployment.in_traffic(row.name))[row.name]
        begun = row.move(TargetState.RUNNING)
        event = Emit(TargetStartedEvent(row.name, row.batch, row.direction))
        await deployment.recorder.write(begun, event, *row.finish(state, failure))
        deployment.ports.meters.target_finished(state, failure.code, seconds=seconds)
        self._log.warning(
            "finished: {status} in {seconds:.1f} s, in prepare; {why}",
            status=state.value,
            seconds=seconds,
            why=failure.message,
            code=failure.code.value,
        )
