"""A bound around work: a budget of seconds that can stand still, and a stop that comes from outside.

Built on ``asyncio.timeout``, which already knows how to tell its own expiry from a cancellation by somebody else.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import TracebackType
from typing import Self


class StopReason(StrEnum):
    """Why work ends before it is done."""

    BUDGET = "budget"
    CANCELLED = "cancelled"
    NOT_RESUMED = "not_resumed"
    DEPLOYMENT_TIMED_OUT = "deployment_timed_out"
    LEASE_LOST = "lease_lost"
    HANDED_OVER = "handed_over"


LEFT_ALONE = frozenset({StopReason.LEASE_LOST, StopReason.HANDED_OVER})
"""Ended without a result: the next owner finds out how it stands."""


WAIT_SECONDS = 2.0
"""How long what only waits may go on after a hand-over began: most checks pass within that, and redoing one is free."""


class StoppedError(Exception):
    """The work within a scope was ended; ``reason`` says why. Control flow of the engine, not an error of anybody's."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Scope:
    """``async with Scope(60) as scope``: raises ``StoppedError`` when the budget is used up or ``stop`` was called.

    A stop before the scope is entered counts as well. Used once.
    """

    def __init__(self, budget: float | None) -> None:
        self._budget = budget
        self._reason: StopReason | None = None
        self._timeout = asyncio.timeout(None)
        self._entered = False
        self._clock: Callable[[], float] | None = None
        self._handing_over = False
        self._waits = False
        self._ending: asyncio.Handle | None = None

    @property
    def reason(self) -> StopReason | None:
        """None as long as nothing has ended the work, or when it is cancelled by somebody else."""
        if self._reason is None and self._timeout.expired():
            return StopReason.BUDGET
        return self._reason

    def stop(self, reason: StopReason) -> None:
        """End the work at its next await. The first reason stays."""
        if self._reason is not None:
            return
        self._reason = reason
        if self._entered and not self._timeout.expired():
            self._timeout.reschedule(self._now())

    def hand_over(self) -> None:
        """What only waits ends soon, now or when it comes to that; other work goes on until ``stop``."""
        self._handing_over = True
        self._end_waiting()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Work that changes nothing and can be begun anew by anybody: a hand-over does not wait for it to end.

        It may never end otherwise: a check that waits for the very instance that is stopping.
        """
        self._waits = True
        self._end_waiting()
        try:
            yield
        finally:
            self._waits = False
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None

    def _end_waiting(self) -> None:
        if self._handing_over and self._waits and self._ending is None:
            loop = asyncio.get_running_loop()
            self._ending = loop.call_later(WAIT_SECONDS, self.stop, StopReason.HANDED_OVER)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The budget does not run: a wait for capacity, a hold at a weight."""
        deadline = self._timeout.when()
        if deadline is None or self._reason is not None:
            yield
            return
        left = deadline - self._now()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            if self._reason is None:
                self._timeout.reschedule(self._now() + left)

    def _now(self) -> float:
        if self._clock is None:
            self._clock = asyncio.get_running_loop().time
        return self._clock()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._entered = True
        if self._reason is not None:
            self._timeout.reschedule(self._now())
        elif self._budget is not None:
            self._timeout.reschedule(self._now() + self._budget)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:  # its own: one of the work passes by
            raise StoppedError(self._reason or StopReason.BUDGET) from late
