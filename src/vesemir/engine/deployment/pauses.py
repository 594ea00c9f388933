"""What holds a deployment back, and for how long: gates before a batch, pauses, and the deployment's own clock.

An approval is waited for in the state ``paused``; the record counts the resumes since that state was entered, and keeps
the last batch that was approved, so another instance that takes over while it waits, or at any time after it was given,
sees the same. A way back asks nobody: it is the release that was trusted before.

A forgotten approval must not keep a lane for ever. The time of a pause counts from when the record says that it began,
by the database's clock, so it goes on while no instance owns the deployment. What is not resumed in time is cancelled:
what was done stays, and nothing new starts.
"""

import asyncio
from collections.abc import Callable

from vesemir.domain.duration import limit_text
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.plan import Batch, Plan
from vesemir.domain.request import Rollout
from vesemir.engine.clock import loop_time
from vesemir.engine.limits import EngineLimits


class BatchGate:
    """Asked for each batch that would open. ``on_change`` is called when a pause has passed.

    ``approved`` is the last batch whose gate was opened; batches open in order, so those before it were too.
    """

    def __init__(
        self, rollout: Rollout, plan: Plan, *, approved: int = 0, asks: bool = True, on_change: Callable[[], None]
    ) -> None:
        self._pause_seconds = rollout.pause_seconds
        self._approve_after = rollout.approve_after if asks else None
        self._plan = plan
        self._on_change = on_change
        self._opens_at: dict[int, float] = {}
        self._approved = approved

    def needs_approval(self, batch: Batch) -> bool:
        if batch.number <= self._approved:
            return False
        before = self._plan.batches[batch.number - 2]
        match self._approve_after:
            case "batch":
                return True
            case "canary":
                return before.canary and not batch.canary
            case "group":
                return before.group != batch.group
            case _:
                return False

    def approve(self, number: int) -> None:
        self._approved = max(self._approved, number)

    def paused(self, batch: Batch) -> bool:
        """Whether ``pause_seconds`` still runs before this batch; it begins with the first question."""
        if batch.number not in self._opens_at:
            self._opens_at[batch.number] = loop_time() + self._pause_seconds
            if self._pause_seconds > 0:
                asyncio.get_running_loop().call_later(self._pause_seconds, self._on_change)
        return loop_time() < self._opens_at[batch.number]


class DeploymentClock:
    """Calls ``on_expiry`` once when ``limit`` seconds have run. ``elapsed`` is what ran under earlier owners.

    It keeps itself when it ends: a timer that is due at once is a plain handle in uvloop, which does not know its time.
    """

    def __init__(self, *, limit: float, elapsed: float, on_expiry: Callable[[], None]) -> None:
        self._left = max(0.0, limit - elapsed)
        self._ends_at = 0.0
        self._on_expiry = on_expiry
        self._timer: asyncio.Handle | None = None

    def go(self) -> None:
        """Start, or go on after a pause."""
        if self._timer is None:
            self._ends_at = loop_time() + self._left
            self._timer = asyncio.get_running_loop().call_later(self._left, self._on_expiry)

    def stand_still(self) -> None:
        """A pause, or the end."""
        if self._timer is not None:
            self._left = max(0.0, self._ends_at - loop_time())
            self._timer.cancel()
            self._timer = None


class PauseLimit:
    """``begin`` and ``end`` with each pause. ``on_overdue`` is called once when it has lasted too long."""

    def __init__(self, limits: EngineLimits, *, on_overdue: Callable[[], None]) -> None:
        self._limits = limits
        self._on_overdue = on_overdue
        self._clock: DeploymentClock | None = None
        self._approval = False
        self.overdue = False

    def begin(self, *, approval: bool, elapsed: float = 0.0) -> None:
        """``elapsed``: for how long it had lasted before this owner."""
        self.end()
        self._approval = approval
        self._clock = DeploymentClock(limit=self._seconds, elapsed=elapsed, on_expiry=self._expire)
        self._clock.go()

    def end(self) -> None:
        if self._clock is not None:
            self._clock.stand_still()
            self._clock = None

    @property
    def reason(self) -> str:
        """Why an approval is waited for, and for how long."""
        return (
            "waits for an approval (rollout.approve_after) for at most "
            f"{limit_text(self._limits.approval_seconds)} (limits.approval_seconds); vesemir resume lets it go on"
        )

    @property
    def failure(self) -> Failure:
        """What an overdue deployment ends with."""
        text = (
            f"no approval came within {limit_text(self._seconds)} (limits.approval_seconds)"
            if self._approval
            else f"it was paused, and nobody resumed it within {limit_text(self._seconds)} (limits.pause_seconds)"
        )
        more = "; the targets that were done keep the new release, the others were not begun"
        return Failure(FailureCode.DEPLOYMENT_CANCELLED, text + more)

    @property
    def _seconds(self) -> float:
        return self._limits.approval_seconds if self._approval else self._limits.pause_seconds

    def _expire(self) -> None:
        self.overdue = True
        self._on_overdue()
