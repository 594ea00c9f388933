"""How long a pause may last: a forgotten approval must not keep a lane for ever.

The time counts from when the record says that the pause began, by the database's clock, so it goes on while nobody owns
the deployment. What is not resumed in time is cancelled: what was done stays, and nothing new starts.
"""

from collections.abc import Callable

from vesemir.domain.failure import Failure, FailureCode
from vesemir.engine.deployment.clock import DeploymentClock
from vesemir.engine.limits import EngineLimits


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
            f"{self._limits.approval_seconds:g} s (limits.approval_seconds); vesemir resume lets it go on"
        )

    @property
    def failure(self) -> Failure:
        """What an overdue deployment ends with."""
        text = (
            f"no approval came within {self._seconds:g} s (limits.approval_seconds)"
            if self._approval
            else f"it was paused, and nobody resumed it within {self._seconds:g} s (limits.pause_seconds)"
        )
        more = "; the targets that were done keep the new release, the others were not begun"
        return Failure(FailureCode.DEPLOYMENT_CANCELLED, text + more)

    @property
    def _seconds(self) -> float:
        return self._limits.approval_seconds if self._approval else self._limits.pause_seconds

    def _expire(self) -> None:
        self.overdue = True
        self._on_overdue()
