"""The end of a deployment: its status, what each target ended as, the numbers, and the one event that tells all."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from vesemir.domain.failure import Failure
from vesemir.domain.result import Measured, deployment_metrics
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ports.changes import Emit, MoveDeployment, SkipPending
from vesemir.engine.ports.records import DeploymentRecord
from vesemir.engine.target.context import EnginePorts
from vesemir.engine.target.row import Row


class ResultWriter:
    """``close`` once. ``record`` is the deployment as it was loaded by this owner."""

    def __init__(self, record: DeploymentRecord, recorder: Recorder, ports: EnginePorts) -> None:
        self._record = record
        self._recorder = recorder
        self._ports = ports
        self._loaded_at = time.monotonic()
        self.resolve_seconds = record.resolve_seconds or 0.0

    async def close(
        self,
        old: DeploymentState,
        new: DeploymentState,
        failure: Failure | None,
        rows: Sequence[Row] = (),
        back: Mapping[str, Row] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Skip what never started and finish, in one transaction. Raises ``LeaseLostError``."""
        ends = [self._end(row, (back or {}).get(row.name)) for row in rows]
        totals = await self._ports.store.step_totals(self._record.deployment_id)
        seconds = self._record.total_seconds + time.monotonic() - self._loaded_at
        metrics = deployment_metrics(
            Measured(
                queued_seconds=self._record.queued_seconds,
                resolve_seconds=self.resolve_seconds,
                duration_seconds=seconds,
                states=[state for state, _ in ends],
                target_seconds=[row.duration_seconds for _, row in ends if row.duration_seconds is not None],
                connect_seconds=[row.connect_seconds for _, row in ends if row.connect_seconds is not None],
                steps=totals.steps,
                redone=totals.redone,
                output_bytes=totals.output_bytes,
                takeovers=self._record.takeovers,
            )
        )
        body = {
            "status": new.value,
            "failure": failure.as_json() if failure else None,
            "targets": [self._told(state, row) for state, row in ends],
            "metrics": metrics,
            **(more or {}),
        }
        skips = [SkipPending(direction) for direction in (Direction.FORWARD, Direction.BACK)]
        await self._recorder.write(*skips, MoveDeployment(old, new, failure), Emit("deployment.finished", body))
        self._say(new, failure, metrics)
        self._measure(new, failure, seconds, [state for state, _ in ends])

    def _measure(
        self, status: DeploymentState, failure: Failure | None, seconds: float, ends: Sequence[TargetState]
    ) -> None:
        meters = self._ports.meters
        if self._record.request.get("dry_run"):
            meters.dry_run_finished(status)
            return
        meters.deployment_finished(status, failure.code if failure else None, seconds=seconds)
        for _ in range(ends.count(TargetState.SKIPPED)):
            meters.target_finished(TargetState.SKIPPED, None, seconds=None)

    def _say(self, status: DeploymentState, failure: Failure | None, metrics: Mapping[str, Any]) -> None:
        """The one line that support looks for first."""
        log = self._ports.log
        (log.info if failure is None else log.warning)(
            "finished: {status}, {done} of {total} targets in {seconds:.1f} s{why}",
            status=status.value,
            done=metrics["targets_succeeded"],
            total=metrics["targets_total"],
            seconds=metrics["duration_seconds"],
            why="" if failure is None else f"; {failure.message}",
            code=None if failure is None else failure.code.value,
        )

    @staticmethod
    def _end(row: Row, back: Row | None) -> tuple[TargetState, Row]:
        """A target that was brought back counts as it ended on the way back."""
        last = back if back is not None and back.finished and back.state is not TargetState.SKIPPED else row
        return (last.state if last.finished else TargetState.SKIPPED), last

    @staticmethod
    def _told(state: TargetState, row: Row) -> dict[str, Any]:
        return {
            "name": row.name,
            "address": row.target.address,
            "status": state.value,
            "failure": row.failure.as_json() if row.failure else None,
            "duration_seconds": round(row.duration_seconds or 0.0, 3),
        }
