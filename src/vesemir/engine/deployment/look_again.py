"""What was true once is looked at again: when finished targets are looked at, and what becomes of one that is not well.

With HAProxy, where a look costs one reading per load balancer: all of them before each batch (in a window before a
start, but not more often than every 2 s), every 5 s in pauses, and before the end. Without, where it costs a session
with each host: those of the batch before, in pauses all every 60 s, and all once before the end.

A target is not well when two looks, 2 s apart, say so. It then counts like any other that failed. The loop asks; a look
is a task beside it, so that control is obeyed meanwhile.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from vesemir.domain.failure import Failure, FailureCode, LeaseLostError
from vesemir.domain.recipe import Check
from vesemir.domain.rollout import Begin
from vesemir.domain.states import TargetState
from vesemir.engine.clock import loop_time
from vesemir.engine.ports.changes import Change
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.finished_health import not_well
from vesemir.engine.target.row import Row

AGAIN_SECONDS = 2.0
"""Between the two looks that make a failure, and how old a look may be before a start."""
PAUSE_SECONDS = 5.0
PAUSE_SECONDS_BY_CHECKS = 60.0
"""Between two looks in a pause, without HAProxy."""


class LookAgain:
    """Of one way forward. ``on_regressed`` hears of each target; ``on_change`` is called when there is more to do."""

    def __init__(
        self,
        deployment: Deployment,
        rows: Mapping[str, Row],
        *,
        on_regressed: Callable[[Row], None],
        on_change: Callable[[], None],
    ) -> None:
        self._deployment = deployment
        self._rows = rows
        self._on_regressed = on_regressed
        self._on_change = on_change
        self._by_haproxy = deployment.traffic is not None
        self._has_eyes = self._by_haproxy or any(isinstance(step.work, Check) for step in deployment.recipe.steps)
        self._in_window = deployment.request.rollout.mode == "window"
        self._task: asyncio.Task[None] | None = None
        self._batch = 0
        self._ended_at = float("-inf")
        self._before_end = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = False

    def before(self, move: Begin, group: asyncio.TaskGroup) -> bool:
        """Whether these may start: those to be looked at before have just been. Else that begins now."""
        self.pause_over()
        if self._task is not None:
            return False
        rows = self._rows_before(move)
        if not rows or self._is_fresh(move):
            return True
        self._batch = move.batch
        self._begin(rows, group)
        return False

    def in_pause(self, group: asyncio.TaskGroup) -> None:
        """Look when the next look is due."""
        if self._task is not None:
            return
        if self._due:
            self._due = False
            self._begin(self._finished(), group)
        elif self._timer is None:
            seconds = PAUSE_SECONDS if self._by_haproxy else PAUSE_SECONDS_BY_CHECKS
            self._timer = asyncio.get_running_loop().call_later(seconds, self._fall_due)

    def pause_over(self) -> None:
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def before_the_end(self, group: asyncio.TaskGroup) -> bool:
        """Whether all have been looked at a last time; else that begins now."""
        if self._task is not None:
            return False
        rows = self._finished()
        if self._before_end or not rows:
            return True
        self._before_end = True
        self._begin(rows, group)
        return False

    def stop(self) -> None:
        """Nothing more is looked at: the deployment ends, or is not ours any more."""
        self.pause_over()
        if self._task is not None:
            self._task.cancel()

    def _rows_before(self, move: Begin) -> Sequence[Row]:
        if self._by_haproxy:
            return self._finished() if move.opens is not None or self._in_window else ()
        return [row for row in self._finished() if row.batch == move.batch - 1]

    def _is_fresh(self, move: Begin) -> bool:
        if not self._by_haproxy:
            return self._batch == move.batch
        known = self._in_window or self._batch == move.batch
        return known and loop_time() < self._ended_at + AGAIN_SECONDS

    def _finished(self) -> Sequence[Row]:
        rows = self._rows.values() if self._has_eyes else ()
        return [row for row in rows if row.finished and row.state is TargetState.SUCCEEDED]

    def _fall_due(self) -> None:
        self._timer, self._due = None, True
        self._on_change()

    def _begin(self, rows: Sequence[Row], group: asyncio.TaskGroup) -> None:
        self._task = group.create_task(self._look(rows), name="look again")
        self._task.add_done_callback(self._end)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._task, self._ended_at = None, loop_time()
        self._on_change()

    async def _look(self, rows: Sequence[Row]) -> None:
        try:
            suspects = await not_well(self._deployment, rows)
            if suspects:
                await asyncio.sleep(AGAIN_SECONDS)
                await self._look_twice([row for row in rows if row.name in suspects])
        except LeaseLostError:
            self._deployment.lease.lose()

    async def _look_twice(self, suspects: Sequence[Row]) -> None:
        failures = await not_well(self._deployment, suspects)
        if self._deployment.lease.wishes.cancel is not None or self._deployment.stop_signal.ending:
            return
        in_traffic = False if self._by_haproxy else None
        changes: list[Change] = []
        for row in suspects:
            if (failure := failures.get(row.name)) is not None:
                failure = Failure(failure.code, self._deployment.redact(failure.message))
                changes += row.regress(failure, in_traffic=in_traffic)
                self._deployment.ports.log.warning("{target} regressed: {why}", target=row.name, why=failure.message)
                self._deployment.ports.meters.target_finished(row.state, FailureCode.HEALTH_FAILED, seconds=None)
                self._on_regressed(row)
        if changes:
            await self._deployment.recorder.write(*changes)
