"""The run of one deployment by its owner. It reads as its phases: load, prepare, go forward or back, close.

A phase returns an ``Ending``; only here it is written. Whatever stops the deployment before it is done comes by the
lease's stop signal.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

from vesemir.domain.events import DeploymentCancellingEvent
from vesemir.domain.failure import FailedError, Failure, LeaseLostError
from vesemir.domain.hiding import Redactor
from vesemir.domain.request import DeployRequest
from vesemir.domain.states import DeploymentState
from vesemir.domain.wish import Wish
from vesemir.engine.clock import loop_time
from vesemir.engine.deployment.doing_writer import DoingWriter
from vesemir.engine.deployment.dry_run import dry_run
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.failures import outlived, stop_failure
from vesemir.engine.deployment.give_up import give_up
from vesemir.engine.deployment.interruption import interruptible
from vesemir.engine.deployment.last_look import last_look
from vesemir.engine.deployment.prepare import BeginBy, Claimed, PreparedDeployment, again, asked_for, prepare
from vesemir.engine.deployment.progress import DeploymentProgress, StartedDeployment
from vesemir.engine.deployment.result import ResultWriter
from vesemir.engine.deployment.rollout_loop import HandedOverError
from vesemir.engine.deployment.way_back import go_on_back
from vesemir.engine.deployment.way_forward import go_forward
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ownership.scope import StoppedError
from vesemir.engine.ownership.stop_signal import StopReason
from vesemir.engine.ports.changes import Emit
from vesemir.engine.ports.observe import Phase
from vesemir.engine.ports.records import DeploymentRecord, Json
from vesemir.engine.target.board import Board
from vesemir.engine.target.context import Deployment, EnginePorts
from vesemir.engine.traffic.left_before import LeftBefore
from vesemir.engine.traffic.traffic import Traffic


class DeploymentRun:
    """``run`` once."""

    def __init__(
        self,
        lease: HeldLease,
        *,
        ports: EnginePorts,
        limits: EngineLimits,
        read_request: Callable[[Json, Json | None], DeployRequest],
        on_event: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._ports = ports
        self._limits = limits
        self._read_request = read_request
        self._recorder = Recorder(ports.store, lease, on_event=on_event)
        self._redact = Redactor(ports.redact)
        self._board = Board()
        self._doing = DoingWriter(self._board, ports.store, lease.claim, redact=self._redact, log=ports.log)
        self._begin_by: BeginBy | None = None
        self._deployment: Deployment | None = None
        """Once its load balancers can be asked."""

    async def run(self) -> None:
        """Until it is finished. Raises ``LeaseLostError``, ``HandedOverError``, ``StoreAwayError``."""
        record = await self._load()
        progress = DeploymentProgress(record)
        async with self._recorder, self._doing.running(), AsyncExitStack() as held:
            claimed = await self._claimed(record)
            self._log_as(claimed.request, held)
            self._say_claimed(record)
            try:
                ending = await self._phases(claimed, progress, held)
            except FailedError as error:
                ending = Ending.failed(error.failure)
            except StoppedError as stop:
                ending = await self._stopped_early(stop.reason, claimed.request, progress)
            await self._close(ending, progress)

    async def _phases(self, claimed: Claimed, progress: DeploymentProgress, held: AsyncExitStack) -> Ending:
        """Raises ``FailedError`` and ``StoppedError`` for an end that a phase came to by itself."""
        if claimed.unrecoverable is not None and not progress.record.started:
            return Ending.failed(claimed.unrecoverable)
        prepared = await self._prepared(claimed, progress)
        deployment = self._deployment = await self._ready(claimed, prepared, held)
        started = StartedDeployment(deployment, prepared, progress)
        if claimed.unrecoverable is not None:
            return await give_up(started, claimed.unrecoverable)
        if claimed.request.dry_run:
            return await dry_run(started)
        if progress.state is DeploymentState.ROLLING_BACK:
            return await go_on_back(started)
        return await go_forward(started)

    async def _load(self) -> DeploymentRecord:
        claim = self._lease.claim
        asked_at = loop_time()
        record = await self._ports.store.load(claim.deployment_id)
        if record is None:
            raise LeaseLostError(f"{claim.deployment_id} is not in the record any more")
        self._lease.wish(record.wishes)
        if record.expires_in_seconds is not None and record.not_after is not None:
            self._begin_by = BeginBy(asked_at + record.expires_in_seconds, record.not_after)
        if claim.previous is None:
            self._ports.meters.phase_finished(Phase.QUEUE, seconds=record.queued_seconds)
        return record

    async def _claimed(self, record: DeploymentRecord) -> Claimed:
        """What the record asks for; a deployment that outlived its instances is unrecoverable too."""
        if not record.started:
            await asyncio.to_thread(self._refresh)
        claimed = asked_for(record, ports=self._ports, read_request=self._read_request, redact=self._redact)
        if not self._lease.claim.exhausted:
            return claimed
        return replace(claimed, unrecoverable=outlived(record.deployment_id, self._limits.max_expiries))

    def _refresh(self) -> None:
        self._ports.recipes.refresh()
        self._ports.policies.refresh()

    def _log_as(self, request: DeployRequest, held: AsyncExitStack) -> None:
        """Every line from here on tells whose deployment it is, and none tells its secrets."""
        log = self._ports.log
        held.enter_context(log.hiding(self._redact))
        held.enter_context(log.context(application=request.application, environment=request.environment))

    def _say_claimed(self, record: DeploymentRecord) -> None:
        previous, waited = self._lease.claim.previous, record.queued_seconds
        if previous is None:
            self._ports.log.info("claimed after {seconds:.1f} s in the queue", seconds=waited)
        else:
            self._ports.log.warning("taken over from {previous}", previous=previous)

    async def _prepared(self, claimed: Claimed, progress: DeploymentProgress) -> PreparedDeployment:
        """By this owner, or by an earlier one as it was recorded."""
        record = progress.record
        if record.started:
            prepared = again(record, claimed.request)
        else:
            async with interruptible(self._lease):
                prepared, progress.resolve_seconds = await prepare(
                    claimed.request,
                    claimed.recipe,
                    asker=record.asker,
                    recorder=self._recorder,
                    ports=self._ports,
                    limits=self._limits,
                    begin_by=self._begin_by,
                )
        progress.rows = tuple(prepared.rows.values())
        return prepared

    async def _ready(self, claimed: Claimed, prepared: PreparedDeployment, held: AsyncExitStack) -> Deployment:
        balancers = await held.enter_async_context(self._ports.balancers.open(prepared.balancers))
        request = claimed.request
        traffic = None
        if request.haproxy is not None:
            traffic = Traffic(
                balancers,
                request.haproxy,
                min_available=request.rollout.min_available,
                capacity_seconds=self._limits.capacity_seconds,
                up_seconds=self._limits.up_seconds,
                ensure=self._lease.ensure,
                critical=self._ports.store.section,
                before=LeftBefore(self._ports.store, request.lane),
                found=prepared.backends,
            )
        return Deployment(
            request,
            claimed.recipe,
            self._lease,
            self._recorder,
            self._ports,
            self._limits,
            traffic,
            self._redact,
            self._board,
        )

    async def _stopped_early(self, reason: StopReason, request: DeployRequest, progress: DeploymentProgress) -> Ending:
        """Before its first target, or in a dry run. Raises ``HandedOverError``, ``LeaseLostError``."""
        if reason is StopReason.HANDED_OVER:
            raise HandedOverError
        if reason is StopReason.LEASE_LOST:
            raise LeaseLostError("the lease was lost before the first target")
        if reason is StopReason.CANCELLED:
            await self._recorder.write(Emit(DeploymentCancellingEvent(self._lease.wishes.cancel or Wish())))
        record = await self._ports.store.load(request.deployment_id)
        if record is not None and record.started:
            # It may have been started in the very moment in which it was stopped.
            progress.rows = tuple(again(record, request).rows.values())
        return Ending.stopped(reason, stop_failure(reason, request))

    async def _close(self, ending: Ending, progress: DeploymentProgress) -> None:
        failure = ending.failure
        if failure is not None:
            ending = replace(ending, failure=Failure(failure.code, self._redact(failure.message)))
        seen = () if self._deployment is None else await last_look(self._deployment, progress.rows)
        await ResultWriter(progress, self._recorder, self._ports).close(ending, seen)
