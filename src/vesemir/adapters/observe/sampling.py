"""Measures that nobody reports by himself and that have to be looked at now and then."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from vesemir.engine.observe import Backlog, Meters
from vesemir.engine.store import StoreAwayError

LAG_SECONDS = 0.25
BACKLOG_SECONDS = 5.0
FULL_COLLECTION = 2
"""The oldest generation; the younger ones take microseconds."""


async def watch_loop_lag(meters: Meters, *, seconds: float = LAG_SECONDS) -> None:
    """For ever: how much later than asked for the event loop comes back. A late loop is late for leases too."""
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time() + seconds
        await asyncio.sleep(seconds)
        meters.loop_lag(max(0.0, loop.time() - asked))


async def watch_backlog(
    read: Callable[[], Awaitable[Backlog]], meters: Meters, *, seconds: float = BACKLOG_SECONDS
) -> None:
    """For ever: what waits in the record."""
    while True:
        try:
            meters.backlog(await read())
        except StoreAwayError:
            meters.backlog(None)
        await asyncio.sleep(seconds)


@contextmanager
def gc_watched(paused: Callable[[float], None]) -> Iterator[None]:
    """Within the context, ``paused`` is told the seconds of every full collection of garbage."""
    begun = 0.0

    def heard(phase: str, info: dict[str, int]) -> None:
        nonlocal begun
        if info["generation"] < FULL_COLLECTION:
            return
        if phase == "start":
            begun = time.perf_counter()
        else:
            paused(time.perf_counter() - begun)

    gc.callbacks.append(heard)
    try:
        yield
    finally:
        gc.callbacks.remove(heard)
