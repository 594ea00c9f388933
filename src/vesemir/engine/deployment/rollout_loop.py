"""Working through a plan: starts what the rules of a rollout say, obeys control, and ends when nothing is left to do.

The loop is level-triggered: whatever changes (a target finished, a wish, the clock) only wakes it, and it looks at
everything again. It is the same for the way forward and for the way back.
"""

import asyncio
from collections.abc import Mapping, Sequence

from vesemir.domain.failure import Failure, LeaseLostError
from vesemir.domain.plan import Plan
from vesemir.domain.rollout import Begin, Complete, Halt, RolloutTally
from vesemir.domain.states import DeploymentState, deployment_move
from vesemir.domain.wish import Wish
from vesemir.engine.deployment.failures import stop_failure
from vesemir.engine.deployment.pauses import BatchGate, DeploymentClock, PauseLimit
from vesemir.engine.ownership.scope import StopReason
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
    """One direction of one deployment, until ``Halt``, ``Complete`` or a stop.

    ``earlier`` is the deployment as it was loaded, for its pauses and approvals; None on the way back, which has none.
    """

    def __init__(
        self,
        deployment: Deployment,
        plan: Plan,
        rows: Mapping[str, Row],
        *,
        state: DeploymentState,
        earlier: DeploymentRecord | None = None,
    ) -> None:
        self._deployment = deployment
        self._log = deployment.ports.log
        self._told_batches: set[int] = set()
        self._rows = rows
        self._canaries = plan.canaries
        self._tally = RolloutTally(plan, {name: rows[name].standing for name in plan.names})
        self.state = state
        self.stopped: StopReason | None = None
        self._sessions: dict[str, TargetSession] = {}
        self._changed = asyncio.Event()
        self._handing_over = False
        self._awaits_approval = earlier is not None and earlier.awaits_approval
        self._paused_before = 0.0 if earlier is None else earlier.paused_seconds
        self._pause_limit = PauseLimit(deployment.limits, on_overdue=self._changed.set)
        self._gate = BatchGate(
            deployment.request.rollout,
            plan,
            approved=0 if earlier is None else earlier.approved_batch,
            asks=earlier is not None,
            on_change=self._changed.set,
        )

    def wake(self) -> None:
        """Something changed: look again."""
        self._changed.set()

    def hand_over(self) -> None:
        """Start nothing more; what is in work may finish until ``leave``, and what only waits ends soon."""
        self._handing_over = True
        for session in self._sessions.values():
            session.scope.hand_over()
        self._changed.set()

    def leave(self) -> None:
        """End what is in work now, without a result."""
        self._stop(StopReason.HANDED_OVER)

    def expire(self) -> None:
        """The deployment's time is over."""
        self._stop(StopReason.DEPLOYMENT_TIMED_OUT)

    def failure_of(self, stopped: StopReason) -> Failure:
        """What the deployment ends with after that stop."""
        if stopped is StopReason.NOT_RESUMED:
            return self._pause_limit.failure
        return stop_failure(stopped, self._deployment.request)

    def _stop(self, reason: StopReason) -> None:
        if self.stopped is not None:
            return
        self.stopped = reason
        for session in self._sessions.values():
            session.scope.stop(reason)
        self._changed.set()

    async def run(self, clock: DeploymentClock) -> Halt | Complete | None:
        """None after a stop for ``cancelled`` or ``deployment_timed_out``.

        Raises ``LeaseLostError``, ``HandedOverError``.
        """
        if self.state is DeploymentState.PAUSED:
            self._pause_limit.begin(approval=self._awaits_approval, elapsed=self._paused_before)
        else:
            clock.go()
        try:
            async with asyncio.TaskGroup() as group:
                for row in self._rows.values():
                    if row.standing.in_work:
                        self._start(group, row)
                outcome = await self._loop(group, clock)
        finally:
            clock.stand_still()
            self._pause_limit.end()
        if self.stopped is StopReason.LEASE_LOST:
            raise LeaseLostError(f"{self._deployment.request.deployment_id} was lost")
        if outcome is None and self.stopped in {None, StopReason.HANDED_OVER}:
            raise HandedOverError
        return outcome

    async def _loop(self, group: asyncio.TaskGroup, clock: DeploymentClock) -> Halt | Complete | None:
        """None when nothing is in work any more after a stop or for a hand-over."""
        while True:
            self._changed.clear()
            try:
                await self._obey(clock)
                if self._changed.is_set():
                    continue  # a wish came while the last one was written: nothing starts before it is looked at
                move = self._tally.next_move()
                if self.stopped is None and isinstance(move, Halt | Complete):
                    return move
                if self.stopped is not None or self._handing_over:
                    if not self._sessions:
                        return None
                elif isinstance(move, Begin):
                    await self._begin(group, move, clock)
            except LeaseLostError:
                self._deployment.lease.lose()
            if self._deployment.lease.lost:
                self._stop(StopReason.LEASE_LOST)
                if not self._sessions:
                    return None
            await self._changed.wait()

    async def _begin(self, group: asyncio.TaskGroup, move: Begin, clock: DeploymentClock) -> None:
        if self.state is DeploymentState.PAUSED:
            return
        if move.opens is not None:
            if self._gate.needs_approval(move.opens):
                self._awaits_approval = True
                await self._pause(Wish(reason=self._pause_limit.reason), clock)
                return
            if self._gate.paused(move.opens):
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
            told = ", ".join(names[:NAMES_TOLD]) + more
            self._log.info("batch {batch} begins with {names}", batch=batch, names=told)

    def _start(self, group: asyncio.TaskGroup, row: Row) -> None:
        session = TargetSession(self._deployment, row, canaries=self._canaries)
        self._sessions[row.name] = session
        if not row.resumed:
            session.begin()
        self._tally.note(row.name, row.standing)
        if self.stopped is not None:
            session.scope.stop(self.stopped)
        elif self._handing_over:
            session.scope.hand_over()
        group.create_task(self._one(session, row), name=f"target {row.name}")

    async def _one(self, session: TargetSession, row: Row) -> None:
        try:
            await session.run()
        finally:
            del self._sessions[row.name]
            self._tally.note(row.name, row.standing)
            self._changed.set()

    async def _obey(self, clock: DeploymentClock) -> None:
        """Bring the deployment's state in line with what control wishes."""
        wishes = self._deployment.lease.wishes
        if self.stopped is not None or self._handing_over:
            return
        if wishes.cancel is not None:
            self._log.info("cancelled by {who}", who=wishes.cancel.requested_by or "nobody named")
            await self._deployment.recorder.write(Emit("deployment.cancelling", _told(wishes.cancel)))
            self._stop(StopReason.CANCELLED)
        elif self.state is DeploymentState.RUNNING and wishes.pause is not None:
            await self._pause(wishes.pause, clock)
        elif self.state is DeploymentState.PAUSED and self._may_resume(wishes):
            await self._resume(wishes.resume or Wish(), clock)
        elif self.state is DeploymentState.PAUSED and self._pause_limit.overdue:
            wish = Wish(reason=self._pause_limit.failure.message)
            self._log.warning("{reason}", reason=wish.reason)
            await self._deployment.recorder.write(Emit("deployment.cancelling", _told(wish)))
            self._stop(StopReason.NOT_RESUMED)

    def _may_resume(self, wishes: Wishes) -> bool:
        return wishes.pause is None and (not self._awaits_approval or wishes.approvals > 0)

    async def _pause(self, wish: Wish, clock: DeploymentClock) -> None:
        clock.stand_still()
        old, self.state = self.state, deployment_move(self.state, DeploymentState.PAUSED)
        change = MoveDeployment(old, self.state, awaits_approval=self._awaits_approval)
        await self._deployment.recorder.write(change, Emit("deployment.paused", _told(wish)))
        self._log.info("paused: {reason}", reason=wish.reason or "asked for")
        if self._awaits_approval:
            self._deployment.lease.forget_approvals()  # as the record did
        self._pause_limit.begin(approval=self._awaits_approval)

    async def _resume(self, wish: Wish, clock: DeploymentClock) -> None:
        approved = self._batch_ahead() if self._awaits_approval else 0
        old, self.state = self.state, deployment_move(self.state, DeploymentState.RUNNING)
        change = MoveDeployment(old, self.state, approves=approved)
        await self._deployment.recorder.write(change, Emit("deployment.resumed", _told(wish)))
        self._log.info("resumed")
        self._pause_limit.end()
        self._awaits_approval = False
        self._gate.approve(approved)
        clock.go()

    def _batch_ahead(self) -> int:
        """The batch whose gate was reached: nothing has changed since, because nothing is in work before a gate."""
        move = self._tally.next_move()
        return move.opens.number if isinstance(move, Begin) and move.opens is not None else 0


def _told(wish: Wish) -> dict[str, str | None]:
    return {"requested_by": wish.requested_by, "reason": wish.reason}
