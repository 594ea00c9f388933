"""The run of one deployment by its owner. It reads as its steps: load, prepare, roll, roll back if need be, close."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from vesemir.domain.failure import FailedError, Failure, FailureCode, LeaseLostError
from vesemir.domain.hiding import Redactor
from vesemir.domain.plan import Plan
from vesemir.domain.recipe import Recipe
from vesemir.domain.request import DeployRequest, TrafficRequest
from vesemir.domain.rollout import Complete, Halt
from vesemir.domain.share import Share
from vesemir.domain.states import DeploymentState, TargetState, deployment_move
from vesemir.domain.step import Direction
from vesemir.domain.wish import Wish
from vesemir.engine.deployment.dry_run import plan_told, rehearse
from vesemir.engine.deployment.failures import outlived, rollback_failed, stop_failure, where_each_stands
from vesemir.engine.deployment.give_up import give_up
from vesemir.engine.deployment.pauses import DeploymentClock
from vesemir.engine.deployment.prepare import PreparedDeployment, again, asked_for, prepare
from vesemir.engine.deployment.result import ResultWriter
from vesemir.engine.deployment.rollout_loop import HandedOverError, RolloutLoop
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ownership.scope import Scope, StoppedError, StopReason
from vesemir.engine.ports.changes import AddTargets, Emit, MoveDeployment, SkipPending
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.engine.ports.observe import Phase
from vesemir.engine.ports.records import DeploymentRecord, Json, TargetRecord
from vesemir.engine.target.context import Deployment, EnginePorts
from vesemir.engine.target.row import Row
from vesemir.engine.traffic.traffic import Traffic

_STATES_OF_STOP = {
    StopReason.CANCELLED: DeploymentState.CANCELLED,
    StopReason.NOT_RESUMED: DeploymentState.CANCELLED,
    StopReason.DEPLOYMENT_TIMED_OUT: DeploymentState.TIMED_OUT,
    StopReason.BUDGET: DeploymentState.TIMED_OUT,
}


class DeploymentRun:
    """``run`` once. ``hand_over`` and ``leave`` are the two stages of giving it to another instance."""

    def __init__(
        self,
        lease: HeldLease,
        *,
        ports: EnginePorts,
        limits: EngineLimits,
        read_request: Callable[[Json], DeployRequest],
        on_event: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._ports = ports
        self._limits = limits
        self._read_request = read_request
        self._recorder = Recorder(ports.store, lease, on_event=on_event)
        self._before_rolling = Scope(None)
        self._rolling: RolloutLoop | None = None
        self._handing_over = False
        self._leaving = False
        self._redact = Redactor(ports.redact)
        self._rows: Sequence[Row] = ()
        lease.on_change = self._woken

    def hand_over(self) -> None:
        """Start nothing more; what is in work may finish."""
        self._handing_over = True
        if self._rolling is None:
            self._before_rolling.stop(StopReason.HANDED_OVER)
        else:
            self._rolling.hand_over()

    def leave(self) -> None:
        """End what is in work: the next owner finds out how it stands."""
        self._leaving = True
        if self._rolling is not None:
            self._rolling.leave()

    def _woken(self) -> None:
        if self._rolling is not None:
            self._rolling.wake()
        elif self._lease.lost:
            self._before_rolling.stop(StopReason.LEASE_LOST)
        elif self._lease.wishes.cancel is not None:
            self._before_rolling.stop(StopReason.CANCELLED)

    async def run(self) -> None:
        """Until it is finished. Raises ``LeaseLostError``, ``HandedOverError``, ``StoreAwayError``."""
        record = await self._ports.store.load(self._lease.claim.deployment_id)
        if record is None:
            raise LeaseLostError(f"{self._lease.claim.deployment_id} is not in the record any more")
        self._lease.wish(record.wishes)
        if self._lease.claim.previous is None:
            self._ports.meters.phase_finished(Phase.QUEUE, seconds=record.queued_seconds)
        async with self._recorder:
            self._closing = ResultWriter(record, self._recorder, self._ports)
            self._state = record.state
            if not record.started:
                await asyncio.to_thread(self._refresh)
            asked = asked_for(record, ports=self._ports, read_request=self._read_request, redact=self._redact)
            request, hopeless, log = asked.request, asked.hopeless, self._ports.log
            if self._lease.claim.exhausted:
                hopeless = outlived(request.deployment_id, self._limits.max_expiries)
            with (
                log.hiding(self._redact),
                log.context(application=request.application, environment=request.environment),
            ):
                self._say_claimed(record)
                try:
                    await self._run(record, request, asked.recipe, hopeless)
                except FailedError as error:
                    await self._close(DeploymentState.FAILED, error.failure)

    def _say_claimed(self, record: DeploymentRecord) -> None:
        previous, waited = self._lease.claim.previous, record.queued_seconds
        if previous is None:
            self._ports.log.info("claimed after {seconds:.1f} s in the queue", seconds=waited)
        else:
            self._ports.log.warning("taken over from {previous}", previous=previous)

    async def _run(
        self, record: DeploymentRecord, request: DeployRequest, recipe: Recipe, hopeless: Failure | None
    ) -> None:
        if hopeless is not None and not record.started:
            await self._close(DeploymentState.FAILED, hopeless)
            return
        try:
            async with self._before_rolling:
                prepared = await self._prepared(record, request, recipe)
        except StoppedError as stop:
            await self._stopped_early(stop.reason, request)
            return
        self._rows = tuple(prepared.rows.values())
        async with self._ports.balancers.open(prepared.balancers) as balancers:
            traffic = None
            if request.haproxy is not None:
                traffic = self._traffic(balancers, request.haproxy, request.rollout.min_available)
            deployment = Deployment(
                request,
                recipe,
                self._lease,
                self._recorder,
                self._ports,
                self._limits,
                traffic,
                self._redact,
            )
            if hopeless is not None:
                await self._give_up(record, deployment, hopeless)
            else:
                await self._work(record, deployment, prepared)

    def _traffic(self, balancers: Sequence[LoadBalancer], request: TrafficRequest, min_available: Share) -> Traffic:
        return Traffic(
            balancers,
            request,
            min_available=min_available,
            capacity_seconds=self._limits.capacity_seconds,
            up_seconds=self._limits.up_seconds,
            ensure=self._lease.ensure,
            critical=self._ports.store.section,
        )

    def _refresh(self) -> None:
        self._ports.recipes.refresh()
        self._ports.policies.refresh()

    async def _prepared(self, record: DeploymentRecord, request: DeployRequest, recipe: Recipe) -> PreparedDeployment:
        if record.started:
            return again(record, request)
        prepared, seconds = await prepare(
            request,
            recipe,
            user_id=record.user_id,
            recorder=self._recorder,
            ports=self._ports,
            limits=self._limits,
        )
        self._closing.resolve_seconds = seconds
        return prepared

    async def _stopped_early(self, reason: StopReason, request: DeployRequest) -> None:
        if reason is StopReason.HANDED_OVER:
            raise HandedOverError
        if reason is StopReason.LEASE_LOST:
            raise LeaseLostError("the lease was lost before the first target")
        if reason is StopReason.CANCELLED:
            wish = self._lease.wishes.cancel or Wish()
            await self._recorder.write(
                Emit("deployment.cancelling", {"requested_by": wish.requested_by, "reason": wish.reason})
            )
        record = await self._ports.store.load(request.deployment_id)
        if record is not None and record.started:
            # It may have been started in the very moment in which it was stopped.
            self._rows = tuple(again(record, request).rows.values())
        await self._close(_STATES_OF_STOP[reason], stop_failure(reason, request))

    async def _work(self, record: DeploymentRecord, deployment: Deployment, prepared: PreparedDeployment) -> None:
        if deployment.request.dry_run:
            await self._rehearse(record, deployment, prepared)
        elif record.state is DeploymentState.ROLLING_BACK:
            await self._back(deployment, prepared.plan, record, cause=record.failure)
        else:
            await self._forward(record, deployment, prepared)

    async def _give_up(self, record: DeploymentRecord, deployment: Deployment, failure: Failure) -> None:
        back = {row.name: row for row in map(Row.of, record.targets) if row.direction is Direction.BACK}
        await give_up(deployment, [*self._rows, *back.values()])
        await self._close(DeploymentState.FAILED, failure, back=back)

    async def _rehearse(self, record: DeploymentRecord, deployment: Deployment, prepared: PreparedDeployment) -> None:
        request = deployment.request
        self._before_rolling = Scope(max(0.0, request.timeouts.deployment - record.clock_seconds))
        self._woken()
        if self._handing_over:
            self.hand_over()
        try:
            async with self._before_rolling:
                failure = await rehearse(deployment, prepared)
        except StoppedError as stop:
            await self._stopped_early(stop.reason, request)
            return
        told = {"plan": plan_told(deployment, prepared)}
        await self._close(DeploymentState.FAILED if failure else DeploymentState.SUCCEEDED, failure, more=told)

    async def _forward(self, record: DeploymentRecord, deployment: Deployment, prepared: PreparedDeployment) -> None:
        if not record.started and deployment.traffic is not None:
            await _refuse_weights(deployment.traffic, prepared.plan)
        rolling = RolloutLoop(deployment, prepared.plan, prepared.rows, state=self._state, earlier=record)
        move = await self._roll(rolling, deployment, elapsed=record.clock_seconds)
        if rolling.stopped is not None:
            await self._close(_STATES_OF_STOP[rolling.stopped], rolling.failure_of(rolling.stopped))
        elif isinstance(move, Halt) and deployment.request.rollout.on_failure == "rollback":
            cause = Failure(move.code, move.message)
            await self._turn_back(deployment, prepared.plan, record, cause)
        elif move is None or move.code is None:
            await self._close(DeploymentState.SUCCEEDED, None)
        else:
            await self._close(DeploymentState.FAILED, Failure(move.code, move.message))

    async def _roll(self, rolling: RolloutLoop, deployment: Deployment, *, elapsed: float) -> Halt | Complete | None:
        self._rolling = rolling
        if self._handing_over:
            rolling.hand_over()
        if self._leaving:
            rolling.leave()
        limit = deployment.request.timeouts.deployment
        move = await rolling.run(DeploymentClock(limit=limit, elapsed=elapsed, on_expiry=rolling.expire))
        self._state = rolling.state
        if deployment.traffic is not None:
            await _look_back(deployment.traffic, deployment.limits.settle_seconds)
        return move

    async def _turn_back(self, deployment: Deployment, plan: Plan, record: DeploymentRecord, cause: Failure) -> None:
        """The first half of a rollback, in one transaction: from now on every owner goes back."""
        cause = Failure(cause.code, self._redact(cause.message))
        touched = [row for row in self._rows if row.touched]
        back = tuple(row.way_back() for row in touched)
        told = Emit("deployment.rolling_back", {"requested_by": None, "reason": None, "failure": cause.as_json()})
        await self._recorder.write(
            SkipPending(Direction.FORWARD),
            AddTargets(back),
            MoveDeployment(
                self._state, deployment_move(self._state, DeploymentState.ROLLING_BACK), cause, resets_clock=True
            ),
            told,
        )
        self._state = DeploymentState.ROLLING_BACK
        for row in self._rows:
            if row.state is TargetState.PENDING:
                row.move(TargetState.SKIPPED, finished=True)
        await self._back(deployment, plan, record, cause=cause, fresh=back)

    async def _back(
        self,
        deployment: Deployment,
        plan: Plan,
        record: DeploymentRecord,
        *,
        cause: Failure | None,
        fresh: Sequence[TargetRecord] | None = None,
    ) -> None:
        """The way back. ``fresh`` is None after a takeover: the rows are the record's then."""
        records = fresh if fresh is not None else [each for each in record.targets if each.direction is Direction.BACK]
        rows = {each.name: Row.of(each) for each in records}
        broken = frozenset(row.name for row in self._rows if row.state is not TargetState.SUCCEEDED)
        plan_back = plan.way_back(frozenset(rows), broken=broken)
        rolling = RolloutLoop(deployment, plan_back, rows, state=DeploymentState.ROLLING_BACK)
        await self._roll(rolling, deployment, elapsed=0.0 if fresh is not None else record.clock_seconds)
        state: DeploymentState
        failure: Failure | None
        where = where_each_stands(self._rows, rows, deployment.request.version)
        if rolling.stopped is not None:
            stop = rolling.failure_of(rolling.stopped)
            state, failure = _STATES_OF_STOP[rolling.stopped], Failure(stop.code, f"{stop.message}; {where}")
        elif any(row.state is not TargetState.ROLLED_BACK for row in rows.values()):
            state, failure = DeploymentState.FAILED, rollback_failed(where, cause)
        else:
            state, failure = DeploymentState.ROLLED_BACK, cause
        await self._close(state, failure, back=rows)

    async def _close(
        self,
        state: DeploymentState,
        failure: Failure | None,
        *,
        back: dict[str, Row] | None = None,
        more: Json | None = None,
    ) -> None:
        if failure is not None:
            failure = Failure(failure.code, self._redact(failure.message))
        await self._closing.close(self._state, state, failure, self._rows, back, more)


async def _look_back(traffic: Traffic, seconds: float) -> None:
    """A last time before the end, and not for long: the targets are done."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await traffic.look_back()


async def _refuse_weights(traffic: Traffic, plan: Plan) -> None:
    """A share of traffic that HAProxy would round to nothing is refused before anything starts.

    Anything else that is wrong with a server is that target's own failure, found when its turn comes.
    """
    try:
        await traffic.check(plan.names)
    except FailedError as error:
        if error.failure.code is FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO:
            raise
