"""Waiting for conditions of other processes, which announce nothing that a test could await."""

import time
from collections.abc import Callable
from typing import TypeVar

_Seen = TypeVar("_Seen")

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
"""For what takes a second on an idle machine: tests share two cores."""


def until(look: Callable[[], _Seen], *, what: str, seconds: float = PATIENCE_SECONDS) -> _Seen:
    """What ``look`` returns as soon as that is true. Fails with ``what`` and the last look."""
    deadline = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        assert time.monotonic() < deadline, f"within {seconds:g} s it was not seen that {what}; last look: {seen!r}"
        time.sleep(PAUSE_SECONDS)
