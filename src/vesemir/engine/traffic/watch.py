"""Looking at something again and again, beside work that takes its time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

WATCH_SECONDS = 1.0


@asynccontextmanager
async def watched(look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Within the block ``look`` is called about every second. What it raises ends the block, and is raised from it."""
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_looking(look), name="watch")
            yield
            watch.cancel()
    except BaseExceptionGroup as errors:
        # The block and the watch may have failed both; one reason is enough.
        raise errors.exceptions[0] from None


async def _looking(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        await look()
