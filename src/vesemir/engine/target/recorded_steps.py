"""The steps of one target: each done once, recorded with its event; adopted or redone when it was begun before."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from vesemir.domain.action import CheckAction, RenderedStep
from vesemir.domain.doing import PhaseName, phase_of
from vesemir.domain.events import StepFinishedEvent
from vesemir.domain.failure import FailedError, FailureCode, with_last_words
from vesemir.domain.step import Command, StepKey, StepResult, StepStatus, Trace
from vesemir.domain.verdict import event_output, failure_of_step, stored_output, with_shown
from vesemir.engine.clock import loop_time
from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.ownership.scope import Scope
from vesemir.engine.ownership.stop_signal import LEFT_ALONE, StopReason
from vesemir.engine.ports.changes import Emit, RecordStep
from vesemir.engine.ports.hosts import Host
from vesemir.engine.ports.records import StepRecord
from vesemir.engine.target.board import RunningStep
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.last_words import ask_last_words
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import StepRunner
from vesemir.engine.traffic.last_seen import saw, seen_by


def runner_on(
    host: Host, deployment: Deployment, *, on_try: Callable[[int], None] = lambda _number: None
) -> StepRunner:
    """Steps of this deployment, on that host. ``on_try`` hears the number of each try of a check that begins."""
    return StepRunner(
        host,
        artifact=deployment.ports.artifact,
        python=deployment.limits.python,
        redact=deployment.redact,
        on_try=on_try,
    )


class RecordedSteps:
    """``began`` tells whether anything was asked of the host or of HAProxy in this session; ``doing`` the last step;
    ``ended`` how many have ended in it; ``checked_at`` is when a check passed in it last."""

    def __init__(self, deployment: Deployment, row: Row, scope: Scope) -> None:
        self._deployment = deployment
        self._row = row
        self._scope = scope
        self._recorded: dict[str, StepRecord] = {}
        self._shows: tuple[Host, Command] | None = None
        self.began = False
        self.doing = ""
        self.ended = 0
        self.checked_at: float | None = None

    async def remember(self) -> None:
        """Read what is recorded for this target, which was in work before."""
        records = await self._deployment.ports.store.finished_steps(
            self._deployment.request.deployment_id, self._row.name, self._row.direction
        )
        self._recorded = {record.step: record for record in records}

    def show_with(self, host: Host, command: Command | None) -> None:
        """What HAProxy's word against the application is explained with, while this session lasts."""
        self._shows = None if command is None else (host, command)

    def succeeded(self, name: str) -> bool:
        record = self._recorded.get(name)
        return record is not None and record.status is StepStatus.SUCCEEDED

    def recorded_output(self, name: str) -> str:
        """Empty for a step that is not recorded."""
        record = self._recorded.get(name)
        return record.output if record is not None else ""

    async def own(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """One of Vesemir's own steps (drain, health, enable, analysis): its text is the step's output."""
        with self._deployment.ports.log.context(step=name), self._running(name, phase_of(self._row.direction)):
            await self._own(name, work)

    @contextmanager
    def _running(self, name: str, phase: PhaseName) -> Iterator[RunningStep]:
        """On the deployment's board, with what its waits see."""
        row = self._row
        with self._deployment.board.running(row.name, name, phase) as entry, seen_by(entry.answered):
            yield entry

    async def _own(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        self._deployment.lease.ensure()
        self.began, self.doing = True, name
        started = loop_time()
        try:
            text = (await self._with_last_words(name, work)).encode()
        except FailedError as error:
            text = error.output.encode()
            status = StepStatus.TIMED_OUT if error.failure.code.value.endswith("timed_out") else StepStatus.FAILED
            self._put(name, 1, StepResult(status, None, text, len(text), loop_time() - started))
            raise
        except asyncio.CancelledError:
            self._put_ended(name, 1, loop_time() - started)
            raise
        await self._put(name, 1, StepResult(StepStatus.SUCCEEDED, None, text, len(text), loop_time() - started))

    async def _with_last_words(self, name: str, work: Callable[[], Awaitable[str]]) -> str:
        try:
            return await work()
        except FailedError as error:
            if self._shows is None or error.failure.code is not FailureCode.HAPROXY_NOT_UP:
                raise
            shown = await self._last_words(*self._shows, self._key(name, 1))
            text = with_last_words(error.failure.message, shown)
            raise FailedError(error.failure.code, text, output=with_shown(error.output, shown)) from error

    def _key(self, step: str, attempt: int) -> StepKey:
        return StepKey(self._deployment.request.deployment_id, self._row.direction, step, attempt)

    async def _last_words(self, host: Host, command: Command, key: StepKey) -> str:
        """The target's budget stands still: its failure is what it is."""
        with self._scope.standing_still():
            return await ask_last_words(host, key, command, self._deployment.redact)

    async def remote(self, host: Host, step: RenderedStep, *, resumed: bool) -> None:
        """A recipe's step. Raises ``FailedError`` with the step's own code when it failed at its last try."""
        if self.succeeded(step.name):
            return
        with self._running(step.name, step.phase) as entry:
            await self._remote(host, step, entry, resumed=resumed)

    async def _remote(self, host: Host, step: RenderedStep, entry: RunningStep, *, resumed: bool) -> None:
        runner = runner_on(host, self._deployment, on_try=entry.tried)
        tried = self._recorded.get(step.name)
        attempt = 1 if tried is None else tried.attempt
        while True:
            entry.tried(attempt)
            result = None if tried is None else StepResult(tried.status, tried.exit_status)
            if result is None:
                with self._deployment.ports.log.context(step=step.name):
                    result = await self._once(host, runner, step, attempt=attempt, resumed=resumed)
                resumed = False
            tried = None
            if result.status is StepStatus.SUCCEEDED:
                if isinstance(step.action, CheckAction):
                    self.checked_at = loop_time()
                return
            if attempt > step.retries or result.status is StepStatus.CANCELLED:
                raise FailedError(*failure_of_step(step, result, self._row.name, redact=self._deployment.redact))
            saw(failure_of_step(step, result, self._row.name, redact=self._deployment.redact)[1])
            attempt += 1
            self._deployment.ports.log.info(
                "step {step} did not succeed, try {attempt} of {tries}",
                step=step.name,
                attempt=attempt,
                tries=step.retries + 1,
            )

    async def _once(
        self, host: Host, runner: StepRunner, step: RenderedStep, *, attempt: int, resumed: bool
    ) -> StepResult:
        key = self._key(step.name, attempt)
        redone = False
        if resumed and not isinstance(step.action, CheckAction):
            adopted, redone = await self._find_out(host, key, step)
            if adopted is not None:
                await self._put(step.name, attempt, adopted, phase=step.phase)
                return adopted
        self._deployment.lease.ensure()
        self.began, self.doing = True, step.name
        started = loop_time()
        try:
            reach(Failpoint.BEFORE_SEND)
            with self._scope.waiting() if isinstance(step.action, CheckAction) else nullcontext():
                result = await runner.run(key, step)
            reach(Failpoint.BEFORE_RECORD)
        except asyncio.CancelledError:
            self._put_ended(step.name, attempt, loop_time() - started, redone=redone, phase=step.phase)
            raise
        except FailedError as error:
            if error.failure.code is not FailureCode.SSH_CONNECTION_LOST:
                text = error.failure.message.encode()
                failed = StepResult(StepStatus.FAILED, None, text, len(text), loop_time() - started)
                await self._put(step.name, attempt, failed, redone=redone, phase=step.phase)
            raise
        if result.status is StepStatus.CANCELLED:
            # Nobody here asked for that: the host stopped hearing our beat. What it did is to be found out.
            raise FailedError(FailureCode.SSH_CONNECTION_LOST, f"{self._row.name} ended {step.name}: {result.reason}")
        if result.status is not StepStatus.SUCCEEDED and attempt > step.retries:
            result = await self._shown(host, key, step, result, redone=redone)
        await self._put(step.name, attempt, result, redone=redone, phase=step.phase)
        host.recorded()
        return result

    async def _shown(
        self, host: Host, key: StepKey, step: RenderedStep, result: StepResult, *, redone: bool
    ) -> StepResult:
        """The result with what the host shows of it. Ended meanwhile, the step has failed all the same."""
        command = step.on_failure_show
        if command is None:
            return result
        try:
            return replace(result, shown=await self._last_words(host, command, key))
        except asyncio.CancelledError:
            if self._scope.reason not in {None, *LEFT_ALONE}:
                self._put(key.step, key.attempt, result, redone=redone, phase=step.phase)
            raise

    async def _find_out(self, host: Host, key: StepKey, step: RenderedStep) -> tuple[StepResult | None, bool]:
        """(the result that the host remembers, whether the step is about to be done again)."""
        self._deployment.lease.ensure()
        trace = await host.trace(key)
        if trace.trace is Trace.NEVER:
            return None, False
        finished = trace.result if trace.trace is Trace.FINISHED else None
        if finished is not None and finished.status is not StepStatus.CANCELLED:
            note = b"adopted from the host's own record; its output was lost with the instance that ran it\n"
            return replace(finished, output=note), False
        if step.idempotent:
            return None, True
        text = (
            f"step {step.name} broke off on {self._row.name} and is not idempotent, so it was not run again; "
            "look at the host, put it right and deploy again"
        )
        raise FailedError(FailureCode.TARGET_STATE_UNKNOWN, text)

    def _put_ended(
        self, name: str, attempt: int, seconds: float, *, redone: bool = False, phase: PhaseName | None = None
    ) -> None:
        """The step was ended from outside. One that the next owner will verify is not said to have ended, nor one that
        only waited."""
        reason = self._scope.reason
        if reason is None or reason in LEFT_ALONE or self._scope.ended_idle:
            return
        late = reason in {StopReason.BUDGET, StopReason.DEPLOYMENT_TIMED_OUT}
        status = StepStatus.TIMED_OUT if late else StepStatus.CANCELLED
        self._put(name, attempt, StepResult(status, None, duration_seconds=seconds), redone=redone, phase=phase)

    def _put(
        self, name: str, attempt: int, result: StepResult, *, redone: bool = False, phase: PhaseName | None = None
    ) -> asyncio.Future[None]:
        """``phase`` is that of a recipe's step."""
        row, redact = self._row, self._deployment.redact
        self.ended += 1
        truncated = result.output_bytes > len(result.output)
        text = (redact.tail if truncated else redact)(stored_output(result))
        tail, cut = event_output(text)
        record = StepRecord(
            target=row.name,
            direction=row.direction,
            step=name,
            attempt=attempt,
            status=result.status,
            exit_status=result.exit_status,
            duration_seconds=result.duration_seconds,
            output=text,
            output_bytes=result.output_bytes,
            output_truncated=truncated,
            redone=redone,
        )
        event = StepFinishedEvent(
            target=row.name,
            step=name,
            phase=phase or phase_of(row.direction),
            status=result.status,
            exit_status=result.exit_status,
            duration_seconds=result.duration_seconds,
            output=tail,
            output_truncated=truncated or cut,
        )
        self._deployment.ports.log.debug(
            "step {step} {status} in {seconds:.2f} s",
            step=name,
            status=result.status.value,
            seconds=result.duration_seconds,
        )
        self._deployment.ports.meters.step_finished(result.status, seconds=result.duration_seconds, redone=redone)
        return self._deployment.recorder.put(RecordStep(record), Emit(event))
