"""One target from start to end: lock, prepared, out of traffic, the recipe's steps, back into traffic; what is left.

A failed host is a result, never an exception: only a lost lease or a hand-over ends a session without one. The session
may begin in the middle, after a takeover or a lost connection: what is recorded is not done again, and what the host's
own markers tell decides about the rest (architecture.md, "State").
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from vesemir.domain.action import RenderedStep
from vesemir.domain.events import TargetStartedEvent
from vesemir.domain.failure import FailedError, Failure, LeaseLostError, with_left_behind
from vesemir.domain.render import hidden_values
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.domain.verdict import target_state_of
from vesemir.engine.clock import loop_time
from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.ownership.scope import Scope, StoppedError
from vesemir.engine.ports.changes import BackInTraffic, Change, Emit, LeftDrained, RecordTraffic, Touch
from vesemir.engine.ports.hosts import Host
from vesemir.engine.ports.observe import Phase
from vesemir.engine.target.attempt import Attempt
from vesemir.engine.target.back_in_traffic import TrafficReturn
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.last_check import last_check
from vesemir.engine.target.last_words import shown_after_steps
from vesemir.engine.target.recorded_steps import RecordedSteps
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import steps_for


class TargetSession:
    """``run`` once; the deployment's stop signal ends it. ``canaries`` are all that the deployment has."""

    def __init__(self, deployment: Deployment, row: Row, *, canaries: frozenset[str] = frozenset()) -> None:
        self._deployment = deployment
        self._log = deployment.ports.log
        self._row = row
        self._traffic = deployment.traffic
        self._server = row.name
        self._settled = ""
        self._left_drained = False
        self._begun: asyncio.Future[None] | None = None
        self._scope = Scope(deployment.request.timeouts.target, deployment.stop_signal)
        self._steps = RecordedSteps(deployment, row, self._scope)
        self._attempt = Attempt(deployment, row, self._steps, self._scope, resumed=row.resumed)
        self._returning = TrafficReturn(deployment, row, self._steps, self._scope, canaries=canaries)

    def begin(self) -> None:
        """From now on it is in work. Called for a fresh target, which is connected while that is being recorded: to
        connect changes nothing."""
        row = self._row
        changes: list[Change] = [row.move(TargetState.RUNNING)]
        if not row.resumed:
            changes.append(Emit(TargetStartedEvent(row.name, row.batch, row.direction)))
        self._begun = self._deployment.recorder.put(*changes)

    def stop_waiting(self) -> None:
        """The rollout begins nothing more: a target that waits for capacity, now or later, is skipped."""
        self._scope.release()

    @property
    def _skipped(self) -> bool:
        """It only waited for capacity when the rollout ended: nothing was begun, so nothing has failed."""
        return self._scope.ended_idle

    async def run(self) -> None:
        """Bring the target to a final state, recorded with its event; or leave it for the next owner to verify."""
        with self._log.context(target=self._row.name):
            await self._run()

    async def _run(self) -> None:
        row, started = self._row, loop_time()
        failure: Failure | None
        self._log.info("goes on after a takeover" if row.resumed else "begins")
        try:
            if row.resumed:
                self.begin()
                await self._recorded()
            failure = await self._attempt.run(self._on_host)
            await self._settle(failure)
        except (LeaseLostError, StoppedError):
            return
        row.duration_seconds = loop_time() - started
        row.in_traffic = (await self._deployment.in_traffic(row.name))[row.name]
        state = TargetState.SKIPPED if self._skipped else target_state_of(failure, row.direction)
        await self._finish(state, self._wording(failure))

    async def _recorded(self) -> None:
        """Until the record says that it is in work."""
        if self._begun is not None:
            await asyncio.shield(self._begun)

    async def _on_host(self, host: Host) -> None:
        deployment, row = self._deployment, self._row
        row.resumed = self._attempt.resumed
        await self._recorded()
        steps = steps_for(deployment.recipe, deployment.request, row.target, row.direction, deployment.limits)
        deployment.redact.add(hidden_values(steps))
        self._steps.show_with(host, shown_after_steps(steps))
        if row.resumed:
            await self._steps.remember()
        self._returning.refuse_known_regression()
        if self._steps.succeeded("enable"):
            await self._still_in_traffic()
            return  # all of it was done, but perhaps the analysis; only the end was not recorded
        if self._steps.succeeded("health"):
            # It may serve at a share of its weight already: to take it out again would take capacity that others count.
            await self._back_into_traffic()
            return
        await self._prepare(host, steps)
        await self._out_of_traffic()
        if not row.touched:
            row.touched = True
            await self._deployment.recorder.write(Touch(row.name, row.direction))
        async with self._kept_out():
            for step in steps:
                if step.phase != "prepare":
                    await self._steps.remote(host, step, resumed=row.resumed)
        await self._back_into_traffic()
        await self._keep_passing(host, steps)

    async def _keep_passing(self, host: Host, steps: Sequence[RenderedStep]) -> None:
        """``rollout.min_healthy_seconds`` where no HAProxy tells that it is UP: by its last check, if it has one."""
        row, seconds = self._row, self._deployment.request.rollout.min_healthy_seconds
        check = last_check(self._deployment, steps, target=row.name, direction=row.direction)
        if self._traffic is not None or check is None:
            return
        checked_at = self._steps.checked_at
        left = seconds if checked_at is None else checked_at + seconds - loop_time()
        with self._scope.waiting(), self._scope.standing_still():
            await check.keep_passing(host, left)

    async def _prepare(self, host: Host, steps: Sequence[RenderedStep]) -> None:
        """Still in traffic. What comes after it has the target's time for itself."""
        prepare = [step for step in steps if step.phase == "prepare"]
        if not prepare or self._row.prepared:
            return
        for step in prepare:
            await self._steps.remote(host, step, resumed=self._row.resumed)
        reach(Failpoint.PREPARED)
        self._scope.begin_anew()
        if not self._row.touched:
            with self._scope.idle():
                pass  # nothing was begun yet: it is skipped if the rollout has failed meanwhile

    async def _out_of_traffic(self) -> None:
        traffic, row = self._traffic, self._row
        if traffic is None:
            return
        if self._steps.succeeded("drain"):
            await traffic.assert_out(self._server)
            return
        started, still = loop_time(), self._scope.idle
        await self._steps.own(
            "drain", lambda: traffic.take_out(self._server, row.traffic, remember=self._remember, waiting=still)
        )
        seconds = loop_time() - started
        self._deployment.ports.meters.phase_finished(Phase.DRAIN, seconds=seconds)
        self._log.info("out of traffic after {seconds:.1f} s", seconds=seconds)
        await traffic.assert_out(self._server)

    async def _remember(self, prior: PriorTraffic) -> None:
        """What was there before the deployment: recorded before it is touched, so that it can be given back."""
        row = self._row
        changes: list[Change] = [RecordTraffic(row.name, row.direction, prior)]
        if not prior.found_out:
            changes.append(BackInTraffic(row.name))
        await self._deployment.recorder.write(*changes)
        row.traffic = prior

    def _kept_out(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._traffic is None else self._traffic.kept_out(self._server)

    async def _back_into_traffic(self) -> None:
        traffic, prior = self._traffic, self._row.traffic
        if traffic is None or prior is None:
            return
        await self._returning.come_back(traffic, prior)

    async def _still_in_traffic(self) -> None:
        traffic, prior = self._traffic, self._row.traffic
        if traffic is not None and prior is not None:
            await self._returning.stay(traffic, prior)

    async def _settle(self, failure: Failure | None) -> None:
        """Leave HAProxy as contract section 5 says, and say so in the failure."""
        traffic, row = self._traffic, self._row
        if (failure is None and not self._skipped) or traffic is None or row.traffic is None:
            return
        if self._skipped and row.direction is Direction.BACK:
            return  # it serves as the way forward left it
        prior = row.traffic
        work: Callable[[], Awaitable[str | None]]
        self._left_drained = row.changed and not prior.drained_by_others
        if self._left_drained:
            work = lambda: traffic.leave_drained(self._server, prior)  # noqa: E731 - two one-line choices read best side by side
        else:
            work = lambda: traffic.restore(self._server, prior)  # noqa: E731
        try:
            async with asyncio.timeout(self._deployment.limits.settle_seconds):
                self._settled = await work() or ""
        except (FailedError, TimeoutError) as error:
            reason = error.failure.message if isinstance(error, FailedError) else "it did not answer in time"
            self._settled = f"its server could not be put right in HAProxy ({reason}): look there"

    def _wording(self, failure: Failure | None) -> Failure | None:
        return None if failure is None else with_left_behind(failure, self._settled)

    async def _finish(self, state: TargetState, failure: Failure | None) -> None:
        row = self._row
        if failure is not None:
            failure = Failure(failure.code, self._deployment.redact(failure.message))
        try:
            await self._deployment.recorder.write(*row.finish(state, failure), *self._left(failure))
        except LeaseLostError:
            return
        meters = self._deployment.ports.meters
        meters.target_finished(state, failure.code if failure else None, seconds=row.duration_seconds)
        if self._left_drained:
            meters.left_drained()
        self._say_finished(state, failure)

    def _say_finished(self, state: TargetState, failure: Failure | None) -> None:
        seconds = self._row.duration_seconds or 0.0
        if failure is None:
            self._log.info("finished: {status} in {seconds:.1f} s", status=state.value, seconds=seconds)
        else:
            self._log.warning(
                "finished: {status} in {seconds:.1f} s; {why}",
                status=state.value,
                seconds=seconds,
                why=failure.message,
                code=failure.code.value,
            )

    def _left(self, failure: Failure | None) -> list[Change]:
        """Which servers are left out of traffic is remembered beyond this deployment."""
        if self._left_drained:
            return [LeftDrained(self._row.name)]
        if self._skipped:
            return []
        row = self._row
        if failure is not None or self._traffic is None or row.traffic is None or row.traffic.drained_by_others:
            return []
        # A way back may begin at a server that the way forward left drained; a way forward has looked already.
        return [BackInTraffic(row.name)] if row.direction is Direction.BACK or row.traffic.healthy else []
