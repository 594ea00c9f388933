"""Why the work on one deployment ends before it is done: set once, and read by every part that works on it.

The worker sets it when its instance stops, the lease when it is lost, the wishes when the deployment is cancelled, the
clock when its time is over. The first reason stays.

An instance stops in two stages. After ``hand_over`` nothing more starts: what is in work may finish, and what only
waits ends soon (``Scope.waiting``). After ``leave`` what is in work ends too, without a result.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum

from vesemir.engine.ownership.listeners import Listeners


class StopReason(StrEnum):
    """Why work ends before it is done."""

    BUDGET = "budget"
    CANCELLED = "cancelled"
    NOT_RESUMED = "not_resumed"
    DEPLOYMENT_TIMED_OUT = "deployment_timed_out"
    LEASE_LOST = "lease_lost"
    HANDED_OVER = "handed_over"
    NOT_BEGUN = "not_begun"


LEFT_ALONE = frozenset({StopReason.LEASE_LOST, StopReason.HANDED_OVER})
"""Ended without a result: the next owner finds out how it stands."""


class StopSignal:
    """One for each lease that is held, and one of the worker that they follow."""

    def __init__(self) -> None:
        self._reason: StopReason | None = None
        self._handing_over = False
        self._listeners = Listeners()

    @property
    def reason(self) -> StopReason | None:
        """Why what is in work ends; None while it may go on."""
        return self._reason

    @property
    def handing_over(self) -> bool:
        """Whether what only waits ends soon."""
        return self._handing_over

    @property
    def ending(self) -> bool:
        """Whether nothing more may start."""
        return self._handing_over or self._reason is not None

    def hand_over(self) -> None:
        """The first stage of giving it to another instance."""
        if not self._handing_over:
            self._handing_over = True
            self._listeners.call()

    def leave(self) -> None:
        """The second stage: the next owner finds out how it stands."""
        self.stop(StopReason.HANDED_OVER)

    def stop(self, reason: StopReason) -> None:
        """End what is in work at its next await."""
        if self._reason is None:
            self._reason = reason
            self._listeners.call()

    def follow(self, other: "StopSignal") -> None:
        """Come as far as ``other``, which is that of all."""
        if other.handing_over:
            self.hand_over()
        if other.reason is not None:
            self.stop(other.reason)

    def heard_by(self, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """``listener`` is called at each stage, while this is entered."""
        return self._listeners.hearing(listener)
