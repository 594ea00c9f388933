"""What stands before a batch may open: a pause of seconds, and the approval of a person.

An approval is waited for in the state ``paused``; the record counts the resumes since that state was entered, and keeps
the last batch that was approved, so another instance that takes over while it waits, or at any time after it was given,
sees the same. A way back asks nobody: it is the release that was trusted before.
"""

import asyncio
from collections.abc import Callable

from vesemir.domain.plan import Batch, Plan
from vesemir.domain.request import Rollout


class Gate:
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
            case _:
                return False

    def approve(self, number: int) -> None:
        self._approved = max(self._approved, number)

    def paused(self, batch: Batch) -> bool:
        """Whether ``pause_seconds`` still runs before this batch; it begins with the first question."""
        loop = asyncio.get_running_loop()
        if batch.number not in self._opens_at:
            self._opens_at[batch.number] = loop.time() + self._pause_seconds
            if self._pause_seconds > 0:
                loop.call_later(self._pause_seconds, self._on_change)
        return loop.time() < self._opens_at[batch.number]
