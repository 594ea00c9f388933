"""One target's part of a dry run: what its steps need of the host is looked at, and nothing is changed there.

What could not be looked at is no obstacle: it is listed in the plan.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from vesemir.domain.action import (
    EXIT_UNAVAILABLE,
    PLACING_FAILURES,
    CheckAction,
    FetchAction,
    HttpProbe,
    PutAction,
    RenderedStep,
    RunAction,
    TcpProbe,
)
from vesemir.domain.failure import FailedError, Failure, FailureCode
from vesemir.domain.step import Command, Direction, StepKey, StepResult, StepStatus
from vesemir.domain.visible import words_of_host
from vesemir.engine.deployment.artifact_look import ArtifactLook
from vesemir.engine.ports.hosts import Look
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.look import LOOK_SECONDS, UNKNOWN_STATUS, place_look_command, size_command
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import plan_for, steps_for

SUDO_REASON = "sudo:"
"""How a supervisor begins the reason when sudo did not let it run a step as root."""


@dataclass(slots=True)
class LookFindings:
    """``unchecked`` is what could not be looked at, and why."""

    obstacles: list[Failure] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


class Rehearsal:
    """``look`` is a session with the target's host."""

    def __init__(self, deployment: Deployment, row: Row, look: Look, artifacts: ArtifactLook) -> None:
        self._deployment = deployment
        self._target = row.target
        self._look = look
        self._artifacts = artifacts
        self._root = True
        self._findings = LookFindings()

    async def findings(self) -> LookFindings:
        """Every obstacle, not only the first. Raises ``FailedError`` when the host is lost, ``LeaseLostError``."""
        deployment, target = self._deployment, self._target
        steps = steps_for(deployment.recipe, deployment.request, target, Direction.FORWARD, deployment.limits)
        plan = plan_for(deployment.recipe, deployment.request, target, deployment.limits)
        await self._look_at_sudo([*steps, *plan])
        await self._look_at_channels(steps)
        for step in steps:
            if isinstance(step.action, PutAction | FetchAction):
                await self._look_at_file(step, step.action)
        for step in plan:
            if isinstance(step.action, RunAction) and (self._root or not step.action.command.sudo):
                await self._do_plan(step, step.action.command)
        return self._findings

    async def _look_at_sudo(self, steps: Iterable[RenderedStep]) -> None:
        """As the run will ask it, for ``id``; rules of the host that allow less than that come after sudo."""
        step = next((step for step in steps if _needs_root(step)), None)
        if step is None:
            return
        result = await self._asked(step, Command(("id", "-u"), timeout=LOOK_SECONDS, sudo=True))
        if result.reason.startswith(SUDO_REASON):
            self._root = False
            self._obstacle(step, step.failure, result)
        elif result.status is StepStatus.SUCCEEDED and result.output.strip() != b"0":
            self._root = False
            self._findings.unchecked.append("what sudo allows: the supervisor installed there is of an older release")

    async def _look_at_channels(self, steps: Iterable[RenderedStep]) -> None:
        uploads = [step for step in steps if _uploads(step)]
        probes = [step.action.probe for step in steps if isinstance(step.action, CheckAction)]
        try:
            if uploads:
                await self._look.try_sftp()
        except FailedError as error:
            self._failed(error)
        try:
            for host, port in sorted({place for probe in probes for place in _place_of(probe)}):
                await self._look.try_forwarding(host, port)
        except FailedError as error:
            self._failed(error)

    async def _look_at_file(self, step: RenderedStep, action: PutAction | FetchAction) -> None:
        async def ask(fetched: FetchAction) -> int | None:
            result = await self._asked(step, size_command(fetched, python=self._deployment.limits.python))
            text = result.output.decode("ascii", "replace").strip()
            here = ""
            if result.exit_status == EXIT_UNAVAILABLE:
                here = f"; from this instance: {words_of_host(await self._deployment.ports.artifact_seen(fetched.url))}"
            known = self._judge(step, result, "whether its artifact is there", more=here)
            return int(text) if known and text.isdigit() else None

        try:
            size = await self._artifacts.size(action, ask)
        except FailedError as error:
            self._failed(error)
            size = None
        if action.sudo and not self._root:
            return
        command = place_look_command(action, size, python=self._deployment.limits.python)
        self._judge(step, await self._asked(step, command), f"whether {action.destination} can be written")

    async def _do_plan(self, step: RenderedStep, command: Command) -> None:
        result, what = await self._asked(step, command), f"plan step {step.name}"
        if command.sudo and result.exit_status is None and result.reason:
            # The host's rules name what a recipe's own steps may do as root, and need not know what a dry run looks at.
            self._findings.unchecked.append(f"{what}: {self._words(result)}")
        else:
            self._judge(step, result, what)

    async def _asked(self, step: RenderedStep, command: Command) -> StepResult:
        key = StepKey(self._deployment.request.deployment_id, Direction.FORWARD, f"plan:{step.name}")
        return await self._look.run(key, command)

    def _judge(self, step: RenderedStep, result: StepResult, what: str, *, more: str = "") -> bool:
        """Whether it was looked at and nothing stands in the way; ``more`` is added to the words of what does."""
        if result.status is StepStatus.SUCCEEDED:
            return True
        if result.exit_status == UNKNOWN_STATUS or result.status is not StepStatus.FAILED:
            words = self._words(result) or "it did not end in time"
            self._findings.unchecked.append(f"{what}: {words}")
            return False
        codes = {**PLACING_FAILURES, **step.failures}
        self._obstacle(step, codes.get(result.exit_status or 0, FailureCode.STEP_FAILED), result, more=more)
        return False

    def _obstacle(self, step: RenderedStep, code: FailureCode, result: StepResult, *, more: str = "") -> None:
        words = self._words(result) or f"exit status {result.exit_status}"
        text = f"step {step.name} would fail on {self._target.name}: {words}{more}"
        self._findings.obstacles.append(Failure(code, text))

    def _failed(self, error: FailedError) -> None:
        """Raises it again when the host is lost: nothing more can be looked at there."""
        if error.failure.code in {FailureCode.SSH_CONNECTION_LOST, FailureCode.SSH_PROTOCOL_VIOLATED}:
            raise error
        self._findings.obstacles.append(error.failure)

    def _words(self, result: StepResult) -> str:
        """The host's own, without secrets: its reason, else its last line."""
        lines = self._deployment.redact(result.output.decode("utf-8", "replace"))[-2048:].strip().splitlines()
        return words_of_host(self._deployment.redact(result.reason) or (lines[-1] if lines else ""), longest=1000)


def _needs_root(step: RenderedStep) -> bool:
    match step.action:
        case RunAction(command) | CheckAction(probe=Command() as command):
            return command.sudo
        case PutAction(sudo=sudo) | FetchAction(sudo=sudo):
            return sudo
        case CheckAction():
            return False


def _uploads(step: RenderedStep) -> bool:
    action = step.action
    return isinstance(action, PutAction) or (isinstance(action, FetchAction) and action.url.startswith("file://"))


def _place_of(probe: HttpProbe | TcpProbe | Command) -> list[tuple[str, int]]:
    match probe:
        case HttpProbe(url=url):
            parts = urlsplit(url)
            return [(parts.hostname or "", parts.port or 80)] if parts.hostname else []
        case TcpProbe(host, port):
            return [(host, port)]
        case Command():
            return []
