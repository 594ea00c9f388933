"""An event loop whose clock jumps: when nothing is ready, the next timer is due at once.

Minutes of leases, pauses and timeouts pass in milliseconds, and always in the same order. Work in threads is waited for
in real time. The engine measures by its loop's clock, so only the time of day has to be changed (``on_virtual_time``).
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from vesemir.engine import clock

TOO_LONG_SECONDS = 30 * 24 * 3600.0
"""A test that lets so much time pass waits for something that never comes."""
BEGINNING = 1_800_000_000.0
"""The time of day at which every loop begins."""


class _Jumping(selectors.DefaultSelector):
    """Asks the real selector without waiting, and lets the loop's clock jump instead."""

    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self._loop.threads_at_work:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self._loop.skip(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0."""

    def __init__(self) -> None:
        self.threads_at_work = 0
        self._now = 0.0
        self._timers = 0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Timers that are due at the same moment run in the order in which they were set, as real ones do."""
        self._timers += 1
        return super().call_at(when + self._timers * 1e-9, callback, *args, context=context)

    def skip(self, seconds: float) -> None:
        self._now += max(0.0, seconds)
        if self._now > TOO_LONG_SECONDS:
            raise RuntimeError("a month of virtual time has passed: what is waited for never comes")

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        self.threads_at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002
        """Its limit, since Python 3.12, is of virtual time, which must not pass while a thread joins the others."""
        self.threads_at_work += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads_at_work -= 1

    def _thread_done(self, _future: object) -> None:
        self.threads_at_work -= 1


@contextmanager
def on_virtual_time() -> Iterator[None]:
    """The engine's times of day, and the fake record's, follow the running loop too (``vesemir.engine.clock``)."""
    clock.time = SimpleNamespace(time=lambda: BEGINNING + clock.loop_time())  # type: ignore[assignment]
    try:
        yield
    finally:
        clock.time = time


async def until(condition: Callable[[], object], *, seconds: float = 7200.0) -> None:
    """Let time pass until it holds; looked at within a tenth of a (virtual) second."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + seconds, 0.001
    while not condition():
        assert loop.time() < deadline, "it does not come to hold"
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, 0.1)
