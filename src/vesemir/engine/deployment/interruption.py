"""Work before the first target is touched: nothing has to be left in order, so every stop ends it at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ownership.scope import Scope, StoppedError
from vesemir.engine.ownership.stop_signal import StopReason


@asynccontextmanager
async def interruptible(lease: HeldLease, *, seconds: float | None = None) -> AsyncIterator[None]:
    """Raises ``StoppedError`` at a cancel, a lost lease and a hand-over, and when ``seconds`` have run."""
    signal = lease.stop_signal

    def obey() -> None:
        if lease.wishes.cancel is not None and not signal.ending:
            signal.stop(StopReason.CANCELLED)

    with lease.wishes_heard_by(obey):
        obey()
        async with Scope(seconds, signal) as scope:
            with scope.waiting(seconds=0):
                yield
    if signal.reason is not None:  # it came in the moment in which the work was done
        raise StoppedError(signal.reason)
