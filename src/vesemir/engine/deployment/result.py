"""The end of a deployment: its status, what each target ended as, the numbers, and the one event that tells all."""

from collections.abc import Mapping, Sequence
from typing import Any

from vesemir.domain.control import ControlledLane
from vesemir.domain.events import DeploymentFinishedEvent, TargetEnd
from vesemir.domain.failure import Failure
from vesemir.domain.identity import Asker
from vesemir.domain.result import Measured, deployment_metrics
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.engine.deployment.end import Ending
from vesemir.engine.deployment.progress import DeploymentProgress
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ports.changes import Emit, LockLane, MoveDeployment, RecordInTraffic, SkipPending
from vesemir.engine.ports.records import LaneCommand
from vesemir.engine.target.context import EnginePorts
from vesemir.engine.target.row import Row


class ResultWriter:
    """``close`` once."""

    def __init__(self, progress: DeploymentProgress, recorder: Recorder, ports: EnginePorts) -> None:
        self._progress = progress
        self._record = progress.record
        self._recorder = recorder
        self._ports = ports

    async def close(self, ending: Ending, seen: Sequence[RecordInTraffic] = ()) -> None:
        """Skip what never started and finish, in one transaction; ``seen`` is of those. Raises ``LeaseLostError``."""
        failure = ending.failure
        ends = [self._end(row, ending.back.get(row.name)) for row in self._progress.rows]
        seconds = self._progress.total_seconds
        metrics = await self._metrics(ends, seconds)
        event = DeploymentFinishedEvent(
            status=ending.state,
            failure=failure,
            targets=[_target_end(state, row) for state, row in ends],
            metrics=metrics,
            plan=ending.plan,
        )
        skips = [SkipPending(direction) for direction in (Direction.FORWARD, Direction.BACK)]
        move = MoveDeployment(self._progress.state, ending.state, failure)
        locks = self._locks(ending.state)
        await self._recorder.write(*skips, *seen, move, Emit(event), *locks)
        self._say_locked(locks)
        self._say(ending.state, failure, metrics)
        self._measure(ending.state, failure, seconds, [state for state, _ in ends])

    def _locks(self, status: DeploymentState) -> list[LockLane]:
        """A rollout that went back, whatever became of it on the way: the next one would meet the same cause."""
        if self._progress.state is not DeploymentState.ROLLING_BACK:
            return []
        record, policy = self._record, self._ports.policies.current
        lane = ControlledLane(record.request["application"], record.request["environment"])
        limit = policy.locks_after_rollback(lane)
        if limit is None:
            return []
        reason = (
            f"{record.deployment_id} ({record.request['version']}) {_ON_ITS_WAY_BACK[status]}; unlock the lane when "
            "the cause is known"
        )
        command = LaneCommand(
            "lock",
            lane,
            requested_by=None,
            reason=reason,
            asker=Asker(way="instance"),
            policy_digest=policy.digest,
            deployment_id=record.deployment_id,
        )
        return [LockLane(command, rule=f"limit {limit.name}: lock_after_rollback")]

    def _say_locked(self, locks: Sequence[LockLane]) -> None:
        for lock in locks:
            self._ports.log.warning(
                "the lane {lane} is locked ({rule}): {reason}",
                lane=lock.command.lane.name,
                rule=lock.rule,
                reason=lock.command.reason,
            )

    async def _metrics(self, ends: Sequence[tuple[TargetState, Row]], seconds: float) -> dict[str, Any]:
        totals = await self._ports.store.step_totals(self._record.deployment_id)
        return deployment_metrics(
            Measured(
                queued_seconds=self._record.queued_seconds,
                resolve_seconds=self._progress.resolve_seconds,
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
            "{what}finished: {status}, {done} of {total} targets in {seconds:.1f} s{why}",
            what="dry run " if self._record.request.get("dry_run") else "",
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


_ON_ITS_WAY_BACK = {
    DeploymentState.ROLLED_BACK: "was rolled back",
    DeploymentState.FAILED: "failed on its way back",
    DeploymentState.CANCELLED: "was cancelled on its way back",
    DeploymentState.TIMED_OUT: "ran out of time on its way back",
}


def _target_end(state: TargetState, row: Row) -> TargetEnd:
    return TargetEnd(row.target, state, row.failure, row.duration_seconds, row.in_traffic)
