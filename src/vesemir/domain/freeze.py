"""When nothing may be deployed: windows of time that follow each other. Pure: the time is an argument.

Times are seconds since the epoch. What a date or an hour of the week is, in which zone, is the window's to know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_MOST_JOINTS = 50
"""Windows that follow each other without a gap are told as one; this ends the search in a freeze without end."""


@dataclass(frozen=True, slots=True)
class FreezeEnd:
    """When a window ends, also as people write it."""

    at: float
    text: str


class Window(Protocol):
    """A time that comes once or again and again."""

    def end_after(self, now: float) -> FreezeEnd | None:
        """When it ends, if it holds at ``now``; None if it does not."""
        ...


def frozen_until(windows: Sequence[Window], now: float) -> FreezeEnd | None:
    """When the windows that hold at ``now``, and those that follow without a gap, are over; None if none holds."""
    end: FreezeEnd | None = None
    at = now
    for _ in range(_MOST_JOINTS):
        ends = [found for window in windows if (found := window.end_after(at)) is not None]
        if not ends:
            return end
        end = max(ends, key=lambda each: each.at)
        at = end.at
    return end
