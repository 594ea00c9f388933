"""The time of a deployment: counted from its start, pauses excluded, on this instance's monotonic clock."""

import asyncio
from collections.abc import Callable


class DeploymentClock:
    """Calls ``on_expiry`` once when ``limit`` seconds have run. ``elapsed`` is what ran under earlier owners."""

    def __init__(self, *, limit: float, elapsed: float, on_expiry: Callable[[], None]) -> None:
        self._left = max(0.0, limit - elapsed)
        self._on_expiry = on_expiry
        self._timer: asyncio.TimerHandle | None = None

    def go(self) -> None:
        """Start, or go on after a pause."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._left, self._on_expiry)

    def stand_still(self) -> None:
        """A pause, or the end."""
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
            self._timer.cancel()
            self._timer = None
