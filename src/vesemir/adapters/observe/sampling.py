"""Measures that nobody reports by himself and that have to be looked at now and then."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vesemir.engine.observe import Meters
from vesemir.engine.store import StoreAwayError

LAG_SECONDS = 0.25
BACKLOG_SECONDS = 10.0


async def watch_loop_lag(meters: Meters, *, seconds: float = LAG_SECONDS) -> None:
    """For ever: how much later than asked for the event loop comes back. A late loop is late for leases too."""
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time() + seconds
        await asyncio.sleep(seconds)
        meters.loop_lag(max(0.0, loop.time() - asked))


async def watch_backlog(
    read: Callable[[], Awaitable[Mapping[str, Any]]], meters: Meters, *, seconds: float = BACKLOG_SECONDS
) -> None:
    """For ever: what waits to be published. ``read`` gives ``events``, ``oldest_seconds`` and ``parked``."""
    while True:
        try:
            backlog = await read()
        except StoreAwayError:
            backlog = {}  # the database's state is a measure of its own
        if backlog:
            meters.outbox(
                depth=int(backlog["events"] or 0),
                oldest_seconds=float(backlog["oldest_seconds"] or 0.0),
                parked=int(backlog["parked"] or 0),
            )
        await asyncio.sleep(seconds)
