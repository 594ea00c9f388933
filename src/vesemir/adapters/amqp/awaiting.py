"""Waiting for the first of several things, for a value that comes and goes, and a pause that grows."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def any_of(*waits: Coroutine[Any, Any, object], timeout: float | None = None) -> bool:
    """Wait until one of them has ended; the others are cancelled. False when ``timeout`` seconds passed first."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return bool(done)


class Slot(Generic[T]):
    """Holds what is there now, a connection for instance; the one that needs it waits while there is none."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._filled = asyncio.Event()

    @property
    def value(self) -> T | None:
        return self._value

    def fill(self, value: T) -> None:
        self._value = value
        self._filled.set()

    def empty(self) -> None:
        self._value = None
        self._filled.clear()

    async def get(self) -> T:
        while self._value is None:
            await self._filled.wait()
        return self._value


class Backoff:
    """Pauses in seconds that double up to ``most``, each drawn from its upper half: instances do not march in step."""

    def __init__(self, *, first: float = 0.2, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._failures = 0

    def next(self) -> float:
        self._failures += 1
        return self.after(self._failures)

    def reset(self) -> None:
        self._failures = 0

    def after(self, failures: int) -> float:
        """The pause after so many failures in a row, without counting one."""
        full = min(self._most, self._first * 2.0 ** min(failures - 1, 30))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load; nothing secret
