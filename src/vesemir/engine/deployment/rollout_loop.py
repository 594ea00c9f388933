"""Working through a plan: starts what the rules of a rollout say, obeys control, and ends when nothing is left to do.

The loop is level-triggered: whatever changes (a target finished, a wish, the stop signal) only wakes it, and it looks
at everything again. It is the same for the way forward and for the way back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from vesemir.domain.events import DeploymentCancellingEvent, DeploymentPausedEvent, DeploymentResumedEvent
from vesemir.domain.failure import LeaseLostError
from vesemir.domain.plan import Plan
from vesemir.domain.rollout import Begin, Complete, Halt, Move, Prepare, RolloutTally
from vesemir.domain.states import DeploymentState
from vesemir.domain.wish import Wish
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.failures import stop_failure
from vesemir.engine.deployment.look_again import LookAgain
from vesemir.engine.deployment.pauses import BatchGate, DeploymentClock, PauseLimit
from vesemir.engine.deployment.prepare_all import PrepareAll
from vesemir.engine.deployment.progress import DeploymentProgress
from vesemir.engine.ownership.stop_signal import StopReason
from vesemir.engine.ports.changes import Emit, MoveDeployment
from vesemir.engine.ports.records import DeploymentRecord, Wishes
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.row import Row
from vesemir.engine.target.session import TargetSession

NAMES_TOLD = 10
"""Of a batch, in the log."""


class HandedOverError(Exception):
    """Everything in work has ended or was left for the next owner; the lease may be handed back."""


class RolloutLoop:
    """One direction of one deployment, until ``Halt``, ``Complete`` or a stop. ``run`` once.

    ``elapsed``: of the deployment's time, under earlier owners. ``earlier`` is the deployment as it was loaded, for its
    pauses and approvals; None on the way back, which has none. ``prepared`` are the targets that an earlier owner has
    prepared, if all are to be before the first begins; else None.
    """

    def __init__(
        self,
        deployment: Deployment,
        progress: DeploymentProgress,
        plan: Plan,
        rows: Mapping[str, Row],
        *,
        elapsed: float,
        earlier: DeploymentRecord | None = None,
        prepared: frozenset[str] | None = None,
    ) -> None:
        self._deployment = deployment
        self._progress = progress
        self._signal = deployment.stop_signal
        self._log = deployment.ports.log
        self._told_batches: set[int] = set()
        self._rows = rows
        self._canaries = plan.canaries
        self._tally = RolloutTally(plan, {name: rows[name].standing for name in plan.names})
        self._in_work: set[TargetSession] = set()
        self._preparation = None
        if prepared is not None:
            resumed = earlier is not None and earlier.started
            self._preparation = PrepareAll(
                deployment, rows, self._tally, prepared=prepared, resumed=resumed, on_end=self._ended
            )
        self._changed = asyncio.Event()
        self._clock = DeploymentClock(
            limit=deployment.request.timeouts.deployment,
            elapsed=elapsed,
            on_expiry=partial(self._signal.stop, StopReason.DEPLOYMENT_TIMED_OUT),
        )
        self._awaits_approval = earlier is not None and earlier.awaits_approval
        self._paused_before = 0.0 if earlier is None else earlier.paused_seconds
        self._pause_limit = PauseLimit(deployment.limits, on_overdue=self._changed.set)
        self._looks = None
        if earlier is not None:
            self._looks = LookAgain(deployment, rows, on_regressed=self._note, on_change=self._changed.set)
        self._gate = BatchGate(
            deployment.request.rollout,
            plan,
            approved=0 if earlier is None else earlier.approved_batch,
            asks=earlier is not None,
            on_change=self._changed.set,
        )

    async def run(self) -> Halt | Complete | Ending:
        """An ``Ending`` after a stop by a person or by the deployment's time.

        Raises ``LeaseLostError``, ``HandedOverError``.
        """
        if self._progress.state is DeploymentState.PAUSED:
            self._pause_limit.begin(approval=self._awaits_approval, elapsed=self._paused_before)
        else:
            self._clock.go()
        try:
            with (
                self._signal.heard_by(self._changed.set),
                self._deployment.lease.wishes_heard_by(self._changed.set),
            ):
                async with asyncio.TaskGroup() as group:
                    for row in self._rows.values():
                        if row.standing.in_work:
                            self._start(group, row)
                    outcome = await self._loop(group)
                    self._stop_looking()
        finally:
            self._clock.stand_still()
            self._pause_limit.end()
        end = self._end(outcome)
        await self._look_back()
        return end

    def _end(self, outcome: Halt | Complete | None) -> Halt | Complete | Ending:
        reason = self._signal.reason
        if reason is StopReason.LEASE_LOST:
            raise LeaseLostError(f"{self._deployment.request.deployment_id} was lost")
        if reason is None or reason is StopReason.HANDED_OVER:
            if outcome is None:
                raise HandedOverError
            return outcome
        if reason is StopReason.NOT_RESUMED:
            return Ending.stopped(reason, self._pause_limit.failure)
        return Ending.stopped(reason, stop_failure(reason, self._deployment.request))

    async def _look_back(self) -> None:
        """At the traffic, a last time before the end, and not for long: the targets are done."""
        if self._deployment.traffic is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deployment.limits.settle_seconds):
                    await self._deployment.traffic.look_back()

    async def _loop(self, group: asyncio.TaskGroup) -> Halt | Complete | None:
        """None when nothing is in work any more after a stop or for a hand-over."""
        while True:
            self._changed.clear()
            try:
                await self._obey()
                if self._changed.is_set():
                    continue  # a wish came while the last one was written: nothing starts before it is looked at
                move = self._next_move()
                self._release_waiting()
                if self._signal.reason is None and isinstance(move, Halt | Complete):
                    if self._looked_before_end(move, group):
                        return move
                elif self._signal.ending:
                    self._stop_looking()
                    if not self._in_work and not (self._preparation and self._preparation.in_work):
                        return None
                else:
                    await self._go_on(group, move)
            except LeaseLostError:
                self._deployment.lease.lose()
                continue
            await self._changed.wait()

    def _release_waiting(self) -> None:
        """What only waits for capacity is not in work: nothing more is begun once the rollout has failed."""
        if self._tally.halts:
            for session in self._in_work:
                session.stop_waiting()

    def _next_move(self) -> Move:
        move = None if self._preparation is None else self._preparation.next_move()
        return move or self._tally.next_move()

    def _looked_before_end(self, move: Halt | Complete, group: asyncio.TaskGroup) -> bool:
        """What is rolled back is not looked at: all of it gets the release before again."""
        turns = isinstance(move, Halt) and self._deployment.request.rollout.on_failure == "rollback"
        return self._looks is None or turns or self._looks.before_the_end(group)

    async def _go_on(self, group: asyncio.TaskGroup, move: Move) -> None:
        if self._progress.state is DeploymentState.PAUSED:
            self._look_in_pause(group)
        elif isinstance(move, Begin):
            await self._begin(group, move)
        elif isinstance(move, Prepare) and self._preparation is not None:
            self._preparation.begin(group, move)

    def _look_in_pause(self, group: asyncio.TaskGroup) -> None:
        if self._looks is not None:
            self._looks.in_pause(group)

    def _stop_looking(self) -> None:
        if self._looks is not None:
            self._looks.stop()

    async def _begin(self, group: asyncio.TaskGroup, move: Begin) -> None:
        if move.opens is not None:
            if self._gate.needs_approval(move.opens):
                self._awaits_approval = True
                await self._pause(Wish(reason=self._pause_limit.reason))
                self._look_in_pause(group)
                return
            if self._gate.paused(move.opens):
                self._look_in_pause(group)
                return
        if self._looks is not None and not self._looks.before(move, group):
            return
        self._say_begin(move.names)
        for name in move.names:
            self._start(group, self._rows[name])

    def _say_begin(self, names: Sequence[str]) -> None:
        """Once for a batch; in a window they begin one by one."""
        batch = self._rows[names[0]].batch
        if batch not in self._told_batches:
            self._told_batches.add(batch)
            more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
            reported = ", ".join(names[:NAMES_TOLD]) + more
            self._log.info("batch {batch} begins with {names}", batch=batch, names=reported)

    def _start(self, group: asyncio.TaskGroup, row: Row) -> None:
        session = TargetSession(self._deployment, row, canaries=self._canaries)
        self._in_work.add(session)
        if not row.resumed:
            session.begin()
        self._note(row)
        group.create_task(self._one(session, row), name=f"target {row.name}")

    async def _one(self, session: TargetSession, row: Row) -> None:
        try:
            await session.run()
        finally:
            self._in_work.discard(session)
            self._ended(row)

    def _ended(self, row: Row) -> None:
        self._note(row)
        self._changed.set()

    def _note(self, row: Row) -> None:
        self._tally.note(row.name, row.standing)

    async def _obey(self) -> None:
        """Bring the deployment's state in line with what control wishes."""
        wishes = self._deployment.lease.wishes
        if self._signal.ending:
            return
        if wishes.cancel is not None:
            self._log.info("cancelled by {who}", who=wishes.cancel.requested_by or "nobody named")
            await self._deployment.recorder.write(Emit(DeploymentCancellingEvent(wishes.cancel)))
            self._signal.stop(StopReason.CANCELLED)
        elif self._progress.state is DeploymentState.RUNNING and wishes.pause is not None:
            await self._pause(wishes.pause)
        elif self._progress.state is DeploymentState.PAUSED and self._may_resume(wishes):
            await self._resume(wishes.resume or Wish())
        elif self._progress.state is DeploymentState.PAUSED and self._pause_limit.overdue:
            wish = Wish(reason=self._pause_limit.failure.message)
            self._log.warning("{reason}", reason=wish.reason)
            await self._deployment.recorder.write(Emit(DeploymentCancellingEvent(wish)))
            self._signal.stop(StopReason.NOT_RESUMED)

    def _may_resume(self, wishes: Wishes) -> bool:
        return wishes.pause is None and (not self._awaits_approval or wishes.approvals > 0)

    async def _pause(self, wish: Wish) -> None:
        self._clock.stand_still()
        old = self._progress.move(DeploymentState.PAUSED)
        change = MoveDeployment(old, DeploymentState.PAUSED, awaits_approval=self._awaits_approval)
        await self._deployment.recorder.write(change, Emit(DeploymentPausedEvent(wish)))
        self._log.info("paused: {reason}", reason=wish.reason or "asked for")
        if self._awaits_approval:
            self._deployment.lease.forget_approvals()  # as the record did
        self._pause_limit.begin(approval=self._awaits_approval)

    async def _resume(self, wish: Wish) -> None:
        approved = self._batch_ahead() if self._awaits_approval else 0
        old = self._progress.move(DeploymentState.RUNNING)
        change = MoveDeployment(old, DeploymentState.RUNNING, approves=approved)
        await self._deployment.recorder.write(change, Emit(DeploymentResumedEvent(wish)))
        self._log.info("resumed")
        self._pause_limit.end()
        if self._looks is not None:
            self._looks.pause_over()
        self._awaits_approval = False
        self._gate.approve(approved)
        self._clock.go()

    def _batch_ahead(self) -> int:
        """The batch whose gate was reached: nothing has changed since, because nothing is in work before a gate."""
        move = self._tally.next_move()
        return move.opens.number if isinstance(move, Begin) and move.opens is not None else 0
