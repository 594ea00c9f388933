"""Measures that nobody reports by himself and that have to be looked at now and then."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from vesemir.engine.ports.observe import Backlog, Meters
from vesemir.engine.ports.store import StoreAwayError

LAG_SECONDS = 0.25
BACKLOG_SECONDS = 5.0
YOUNG_OBJECTS = 10_000
"""New containers between two looks at the youngest (Python's own choice is 700): with hundreds of connections being
opened it comes every few milliseconds otherwise, and after each hundred of those all objects are gone through."""
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


@contextmanager
def gc_spared() -> Iterator[None]:
    """Within the context the garbage collector leaves alone what is there already, and looks less often.

    A full collection took 60 to 90 ms, most of it for what was imported and built at the start, and everything waited,
    health check and leases too: the loop's lag with hundreds of targets was 110 ms at the 99.9th percentile, and is 40
    (goal 4 of ``docs/performance.md``).
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
