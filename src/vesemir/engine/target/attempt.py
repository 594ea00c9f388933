"""Work on one host until it is done or has failed: connected again when it is lost on the way.

A failed host is a result, never an exception: only a lost lease or a hand-over ends the work without one.
"""

import asyncio
from collections.abc import Awaitable, Callable

from vesemir.domain.failure import FailedError, Failure, FailureCode, FailureKind, LeaseLostError
from vesemir.domain.verdict import message_of_stop
from vesemir.engine.clock import loop_time
from vesemir.engine.ownership.scope import Scope, StoppedError
from vesemir.engine.ownership.stop_signal import LEFT_ALONE
from vesemir.engine.ports.hosts import Host
from vesemir.engine.ports.observe import Phase
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.host_session import open_host
from vesemir.engine.target.recorded_steps import RecordedSteps
from vesemir.engine.target.row import Row

_RETRY_PAUSE_SECONDS = 1.0
_MOST_LOSSES = 5
"""Connections that may break in one step. A host that lets us in and hangs up, over and over, is not tried for ever."""


class Attempt:
    """``run`` once. ``on_host`` is called with each connection; ``resumed`` says whether it is to find out what an
    earlier one left."""

    def __init__(self, deployment: Deployment, row: Row, steps: RecordedSteps, scope: Scope, *, resumed: bool) -> None:
        self._deployment = deployment
        self._row = row
        self._steps = steps
        self._scope = scope
        self._losses = 0
        self._ended_at_loss = 0
        self.resumed = resumed

    async def run(self, on_host: Callable[[Host], Awaitable[None]]) -> Failure | None:
        """None when it went well. Raises ``StoppedError`` and ``LeaseLostError`` when it is not ours to finish."""
        try:
            async with self._scope:
                await self._work(on_host)
        except StoppedError as stop:
            if stop.reason in LEFT_ALONE:
                raise
            if self._scope.ended_idle:
                return None  # it only waited for capacity: nothing was begun, so nothing has failed
            return message_of_stop(
                stop.reason.value, self._row.name, self._deployment.request.timeouts.target, self._steps.doing
            )
        except FailedError as error:
            return error.failure
        except LeaseLostError:
            self._deployment.lease.lose()
            raise
        except StoreAwayError as error:
            # What cannot be recorded must not be done: the next owner goes on from the record and the host.
            self._deployment.lease.lose()
            raise LeaseLostError(str(error)) from error
        except Exception as error:
            self._deployment.ports.log.exception("a bug")
            text = f"Vesemir met an error of its own on {self._row.name}: {type(error).__name__}: {error}"
            return Failure(FailureCode.INTERNAL_ERROR, text)
        return None

    async def _work(self, on_host: Callable[[Host], Awaitable[None]]) -> None:
        """Connect and work; when the connection is lost in the middle, connect again and find out what happened."""
        lost_at: float | None = None
        while True:
            try:
                async with open_host(self._deployment, self._row.target) as host:
                    self._row.connect_seconds = self._row.connect_seconds or host.connect_seconds
                    self._deployment.ports.meters.phase_finished(Phase.CONNECT, seconds=host.connect_seconds)
                    lost_at = None
                    await on_host(host)
                    return
            except FailedError as error:
                lost_at = self._give_up_or_wait(error, lost_at)
            self.resumed = True
            await asyncio.sleep(_RETRY_PAUSE_SECONDS)

    def _give_up_or_wait(self, error: FailedError, lost_at: float | None) -> float:
        """Since when the host is lost, if it is worth trying again; raises what the target failed with otherwise."""
        now = loop_time()
        lost_now = error.failure.code is FailureCode.SSH_CONNECTION_LOST
        in_flight = self.resumed or lost_at is not None or self._row.touched
        if not in_flight and not lost_now:
            raise error
        if error.failure.code.kind is not FailureKind.CONNECTION:
            raise error
        since = lost_at if lost_at is not None else now
        patient = not lost_now or self._may_be_lost_again()
        if patient and now - since < self._deployment.limits.lease.reconnect_seconds:
            self._deployment.ports.log.warning(
                "{target} is connected to again: {reason} (loss {losses} of {most} in this step at most)",
                target=self._row.name,
                reason=error.failure.message,
                losses=self._losses,
                most=_MOST_LOSSES,
            )
            return since
        if not self._row.touched:
            raise error
        tried = f"could not be reached again for {self._deployment.limits.lease.reconnect_seconds:g} s"
        text = (
            f"{self._row.name} was lost in the middle of its steps and "
            f"{tried if patient else f'then {_MOST_LOSSES} times in the same step'} ({error.failure.message}); "
            "what it runs now is not known: look at the host, then deploy again"
        )
        raise FailedError(FailureCode.TARGET_STATE_UNKNOWN, text) from error

    def _may_be_lost_again(self) -> bool:
        """Counts the losses since the last step that ended."""
        if self._steps.ended > self._ended_at_loss:
            self._losses = 0
        self._ended_at_loss = self._steps.ended
        self._losses += 1
        return self._losses <= _MOST_LOSSES
