"""Holding a canary in traffic while its counters are judged (``rollout.analysis``); the law is ``domain.analysis``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

from vesemir.domain.analysis import Judgement
from vesemir.domain.analysis_report import regression_in, written
from vesemir.domain.canary import Judge
from vesemir.domain.counters import BoxCounters
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.engine.clock import loop_time

LOOK_SECONDS = 1.0
"""Between two looks at the counters: so long a regression goes on after it is beyond doubt."""


class CanaryHold:
    """One window over all holds of one canary. ``counters`` gives those of every HAProxy that answers just then.

    ``note`` is a line for the end of the report.
    """

    def __init__(
        self,
        counters: Callable[[], Awaitable[Mapping[str, BoxCounters]]],
        judge: Judge,
        *,
        note: str = "",
    ) -> None:
        self._counters = counters
        self._judge = judge
        self._note = note

    @property
    def hold_seconds(self) -> float:
        """At 100 %, after all other holds."""
        return self._judge.asked.hold_seconds

    async def begin(self) -> None:
        """Count from here on: to be called before the canary gets its first request."""
        self._judge.look(await self._counters())

    async def hold(self, seconds: float, percent: int) -> None:
        """So long at that share of its weight. Raises ``canary.regressed``, and at once if that is beyond doubt."""
        started = loop_time()
        self._judge.begin_hold()
        judged: Judgement | None = None
        while judged is None and (left := started + seconds - loop_time()) > 0:
            await asyncio.sleep(min(LOOK_SECONDS, left))
            self._judge.look(await self._counters())
            judged = self._judge.beyond_doubt()
        self._judge.end_hold(percent, loop_time() - started)
        refuse_regressed(self.report())

    async def refuse(self, error: FailedError) -> NoReturn:
        """Raise it again; a regression with all numbers for the step's output."""
        if error.failure.code is FailureCode.CANARY_REGRESSED:
            raise FailedError(error.failure.code, error.failure.message, output=self.report()) from error
        raise error

    def report(self) -> str:
        """The verdict with all its numbers: the output of the step ``analysis``."""
        judged = self._judge.beyond_doubt() or self._judge.verdict()
        return written(judged, self._judge.rules) + (f"{self._note}\n" if self._note else "")


def refuse_regressed(report: str) -> None:
    """Raises ``canary.regressed`` if that report says so; an earlier owner's, too, is not asked for again."""
    if reason := regression_in(report):
        raise FailedError(FailureCode.CANARY_REGRESSED, f"the canary regressed: {reason}")
