"""A bound around work: a budget of seconds that can stand still, and the stop signal of its deployment.

Built on ``asyncio.timeout``, which already knows how to tell its own expiry from a cancellation by somebody else.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from vesemir.engine.clock import loop_time
from vesemir.engine.ownership.stop_signal import StopReason, StopSignal

WAIT_SECONDS = 2.0
"""How long what only waits may go on after a hand-over began: most checks pass within that, and redoing one is free."""


class StoppedError(Exception):
    """The work within a scope was ended; ``reason`` says why. Control flow of the engine, not an error of anybody's."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Scope:
    """``async with Scope(60, signal) as scope``: raises ``StoppedError`` when the budget is used up or on the signal.

    A signal that was set before the scope is entered counts as well. Used once.
    """

    def __init__(self, budget: float | None, signal: StopSignal | None = None) -> None:
        self._budget = budget
        self._signal = signal or StopSignal()
        self._hearing = ExitStack()
        self._reason: StopReason | None = None
        self._timeout = asyncio.timeout(None)
        self._waits: float | None = None
        self._ending: asyncio.Handle | None = None
        self._idle = False
        self._released = False
        self.ended_idle = False
        """Whether it was idle when it was ended."""

    @property
    def reason(self) -> StopReason | None:
        """None as long as nothing has ended the work, or when it is cancelled from elsewhere."""
        if self._reason is None and self._timeout.expired():
            return StopReason.BUDGET
        return self._reason

    def _hear(self) -> None:
        if self._signal.reason is not None:
            self._end(self._signal.reason)
        self._end_waiting()
        self._end_idle()

    def _end(self, reason: StopReason) -> None:
        """At the next await of the work. The first reason stays."""
        if self._reason is None:
            self._reason, self.ended_idle = reason, self._idle
            if not self._timeout.expired():
                self._timeout.reschedule(loop_time())

    @contextmanager
    def waiting(self, seconds: float = WAIT_SECONDS) -> Iterator[None]:
        """Work that changes nothing and can be begun anew by any instance: a hand-over lets it go on for ``seconds``.

        It may never end otherwise: a check that waits for the very instance that is stopping.
        """
        self._waits = seconds
        self._end_waiting()
        try:
            yield
        finally:
            self._waits = None
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None

    def _end_waiting(self) -> None:
        if self._signal.handing_over and self._waits is not None and self._ending is None:
            loop = asyncio.get_running_loop()
            self._ending = loop.call_later(self._waits, self._end, StopReason.HANDED_OVER)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """A wait for capacity: nothing was begun. The budget does not run, and whatever ends the work, also
        ``release``, ends it at once; nothing of what would follow the wait is then begun."""
        with self.standing_still():
            self._idle = True
            self._end_idle()
            try:
                yield
            finally:
                self._idle = False
        if self._reason is not None:
            raise StoppedError(self._reason)

    def release(self) -> None:
        """Nothing new is begun any more: what is idle, now or later, ends."""
        self._released = True
        self._end_idle()

    def _end_idle(self) -> None:
        if self._idle and self._signal.handing_over:
            self._end(StopReason.HANDED_OVER)
        if self._idle and self._released:
            self._end(StopReason.NOT_BEGUN)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The budget does not run: a wait for capacity, a hold at a weight."""
        deadline = self._timeout.when()
        if deadline is None or self._reason is not None:
            yield
            return
        left = deadline - loop_time()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            if self._reason is None:
                self._timeout.reschedule(loop_time() + left)

    def begin_anew(self) -> None:
        """The whole budget from now on, unless the work has been ended."""
        if self._budget is not None and self.reason is None:
            self._timeout.reschedule(loop_time() + self._budget)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._hearing.enter_context(self._signal.heard_by(self._hear))
        if self._budget is not None:
            self._timeout.reschedule(loop_time() + self._budget)
        self._hear()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hearing.close()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:  # its own: one of the work passes by
            raise StoppedError(self._reason or StopReason.BUDGET) from late
