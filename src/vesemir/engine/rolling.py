"""Working through a plan: starts what ``next_move`` says, obeys control, and ends when nothing is left to do.

The loop is level-triggered: whatever changes (a target finished, a wish, the clock) only wakes it, and it looks at
everything again. It is the same for the way forward and for the way back.
"""

import asyncio
from collections.abc import Mapping

from vesemir.domain.failure import LeaseLostError
from vesemir.domain.plan import Plan
from vesemir.domain.rollout import Begin, Complete, Halt, Standing, next_move
from vesemir.domain.states import DeploymentState, TargetState, deployment_move
from vesemir.engine.clock import DeploymentClock
from vesemir.engine.context import Deployment
from vesemir.engine.gate import Gate
from vesemir.engine.row import Row
from vesemir.engine.scope import StopReason
from vesemir.engine.session import TargetSession
from vesemir.engine.store import Emit, MoveDeployment, Wishes

APPROVAL_REASON = "waits for an approval (rollout.approve_after); vesemir resume lets it go on"


class HandedOverError(Exception):
    """Everything in work has ended or was left for the next owner; the lease may be handed back."""


class Rolling:
    """One direction of one deployment, until ``Halt``, ``Complete`` or a stop."""

    def __init__(
        self,
        deployment: Deployment,
        plan: Plan,
        rows: Mapping[str, Row],
        *,
        state: DeploymentState,
        awaits_approval: bool = False,
    ) -> None:
        self._deployment = deployment
        self._plan = plan
        self._rows = rows
        self.state = state
        self.stopped: StopReason | None = None
        self._sessions: dict[str, TargetSession] = {}
        self._changed = asyncio.Event()
        self._handing_over = False
        self._awaits_approval = awaits_approval
        self._approved = False
        self._gate = Gate(deployment.request.rollout, plan, on_change=self._changed.set)

    def wake(self) -> None:
        """Something changed: look again."""
        self._changed.set()

    def hand_over(self) -> None:
        """Start nothing more; what is in work may finish until ``leave``."""
        self._handing_over = True
        self._changed.set()

    def leave(self) -> None:
        """End what is in work now, without a result."""
        self._stop(StopReason.HANDED_OVER)

    def expire(self) -> None:
        """The deployment's time is over."""
        self._stop(StopReason.DEPLOYMENT_TIMED_OUT)

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
        if self.state is not DeploymentState.PAUSED:
            clock.go()
        try:
            async with asyncio.TaskGroup() as group:
                for row in self._rows.values():
                    if row.standing.in_work:
                        self._start(group, row)
                outcome = await self._loop(group, clock)
        finally:
            clock.stand_still()
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
                move = next_move(self._plan, {name: self._standing(name) for name in self._plan.names})
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

    def _standing(self, name: str) -> Standing:
        """As recorded; a session that was started but had no turn yet counts as in work."""
        standing = self._rows[name].standing
        begun = standing.pending and name in self._sessions
        return Standing(TargetState.RUNNING, finished=False) if begun else standing

    async def _begin(self, group: asyncio.TaskGroup, move: Begin, clock: DeploymentClock) -> None:
        if self.state is DeploymentState.PAUSED:
            return
        if move.opens is not None:
            if self._gate.needs_approval(move.opens) and not self._approved:
                self._awaits_approval = True
                await self._pause({"requested_by": None, "reason": APPROVAL_REASON}, clock)
                return
            if self._approved:
                self._gate.approve(move.opens)
                self._approved = False
            if self._gate.paused(move.opens):
                return
        for name in move.names:
            self._start(group, self._rows[name])

    def _start(self, group: asyncio.TaskGroup, row: Row) -> None:
        session = TargetSession(self._deployment, row)
        self._sessions[row.name] = session
        if self.stopped is not None:
            session.scope.stop(self.stopped)
        group.create_task(self._one(session, row), name=f"target {row.name}")

    async def _one(self, session: TargetSession, row: Row) -> None:
        try:
            await session.run()
        finally:
            del self._sessions[row.name]
            self._changed.set()

    async def _obey(self, clock: DeploymentClock) -> None:
        """Bring the deployment's state in line with what control wishes."""
        wishes = self._deployment.lease.wishes
        if self.stopped is not None or self._handing_over:
            return
        if wishes.cancel is not None:
            await self._deployment.recorder.write(Emit("deployment.cancelling", _who(wishes.cancel)))
            self._stop(StopReason.CANCELLED)
        elif self.state is DeploymentState.RUNNING and wishes.pause is not None:
            await self._pause(_who(wishes.pause), clock)
        elif self.state is DeploymentState.PAUSED and self._may_resume(wishes):
            self._approved, self._awaits_approval = self._awaits_approval, False
            await self._move(DeploymentState.RUNNING, Emit("deployment.resumed", _who(wishes.resume or {})))
            clock.go()

    def _may_resume(self, wishes: Wishes) -> bool:
        return wishes.pause is None and (not self._awaits_approval or wishes.approvals > 0)

    async def _pause(self, who: Mapping[str, str | None], clock: DeploymentClock) -> None:
        clock.stand_still()
        await self._move(DeploymentState.PAUSED, Emit("deployment.paused", who))

    async def _move(self, new: DeploymentState, told: Emit) -> None:
        old, self.state = self.state, deployment_move(self.state, new)
        awaits = new is DeploymentState.PAUSED and self._awaits_approval
        await self._deployment.recorder.write(MoveDeployment(old, new, awaits_approval=awaits), told)
        if awaits:
            self._deployment.lease.forget_approvals()  # as the record did


def _who(wish: Mapping[str, str | None]) -> dict[str, str | None]:
    return {"requested_by": wish.get("requested_by"), "reason": wish.get("reason")}
