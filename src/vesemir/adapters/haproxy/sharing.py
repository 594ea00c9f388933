"""One reading for all who ask at the same time.

A deployment watches many servers of one backend at once, and each look reads the whole backend. Everybody who asks
while a reading is under way shares the next one, never the present one: what is returned was read after the question,
so nobody misses what was just set. Between readings there is a pause in proportion to what a reading costs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_PAUSE_FACTOR = 1.0
_LONGEST_PAUSE_SECONDS = 0.25


class SharedAnswer(Generic[T]):
    """``read`` is run once at a time; the one that is cancelled while waiting leaves the others undisturbed."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._next: asyncio.Task[T] | None = None
        self._present: asyncio.Task[T] | None = None
        self._not_before = 0.0

    async def get(self) -> T:
        """Raises what ``read`` raises."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._read_next(self._present), name="shared reading")
            self._next.add_done_callback(_looked_at)
        return await asyncio.shield(self._next)

    async def _read_next(self, present: asyncio.Task[T] | None) -> T:
        if present is not None and not present.done():
            await asyncio.wait({present})
        pause = self._not_before - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._present, self._next = self._next, None
        started = time.monotonic()
        try:
            return await self._read()
        finally:
            ended = time.monotonic()
            self._not_before = ended + min(_LONGEST_PAUSE_SECONDS, _PAUSE_FACTOR * (ended - started))

    async def close(self) -> None:
        """End what is still being read."""
        tasks = {task for task in (self._present, self._next) if task is not None and not task.done()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _looked_at(task: "asyncio.Task[T]") -> None:
    """All who waited may be gone: the outcome is then nobody's, and no warning is due."""
    if not task.cancelled():
        task.exception()
