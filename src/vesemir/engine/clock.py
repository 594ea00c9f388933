"""The engine's one clock is the running event loop's: a limit, the timer that keeps it and a lease's trust agree.

Times of day are needed for freeze windows only, and come from here too, so that a test has one place to change.
"""

import asyncio
import time


def loop_time() -> float:
    """Seconds that only grow, from an unknown beginning: for limits and durations, within the event loop."""
    return asyncio.get_running_loop().time()


def wall_time() -> float:
    """Seconds since 1970, as the machine believes: may jump, so nothing is measured by it."""
    return time.time()
