"""Carrying out one rendered step on an open host, whatever its kind, and telling how it ended."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from vesemir.domain.action import CheckAction, FetchAction, HttpProbe, PutAction, RenderedStep, RunAction, TcpProbe
from vesemir.domain.check_tries import CheckTries
from vesemir.domain.probe import refuse_answer
from vesemir.domain.recipe import Recipe
from vesemir.domain.render import render_plan, render_steps
from vesemir.domain.render_values import RenderScope
from vesemir.domain.request import DeployRequest
from vesemir.domain.step import Command, Direction, StepKey, StepResult, StepStatus
from vesemir.domain.target import Target
from vesemir.engine.clock import loop_time
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ports.hosts import Host
from vesemir.engine.target.placement import fetch_command, place_command
from vesemir.engine.traffic.last_seen import saw

PROBE_SECONDS = 10.0
"""One try of a check at most."""


class StepRunner:
    """Runs steps on one host. ``artifact`` tells which file of this instance is meant, if it may be read (else it
    raises ``FailedError``); ``python`` is the host's interpreter; ``redact`` is applied before an output is cut;
    ``on_try`` is called with the number of each try of a check that begins."""

    def __init__(
        self,
        host: Host,
        *,
        artifact: Callable[[str], Path],
        python: str,
        redact: Callable[[str], str] = str,
        on_try: Callable[[int], None] = lambda _number: None,
    ) -> None:
        self._host = host
        self._redact = redact
        self._artifact = artifact
        self._on_try = on_try
        self._python = python

    async def run(self, key: StepKey, step: RenderedStep) -> StepResult:
        """Do it once. Raises ``FailedError`` (host lost, artifact not to be read), ``LeaseLostError``."""
        match step.action:
            case RunAction(command):
                return await self._host.run(key, command)
            case CheckAction() as check:
                return await self._check(key, check)
            case PutAction() | FetchAction() as action:
                return await self._place(key, action)

    async def try_once(self, key: StepKey, check: CheckAction) -> str | None:
        """Why the check does not pass now; None when it does. Raises as ``run``."""
        reason, _ = await self._probe(key, check, PROBE_SECONDS)
        return reason

    async def _place(self, key: StepKey, action: PutAction | FetchAction) -> StepResult:
        started = loop_time()
        try:
            async with asyncio.timeout(action.timeout):
                command = await self._placing(key, action)
        except TimeoutError:
            text = f"sending the file took longer than {action.timeout:g} s".encode()
            return StepResult(StepStatus.TIMED_OUT, None, text, len(text), loop_time() - started)
        return await self._host.run(key, command)

    async def _placing(self, key: StepKey, action: PutAction | FetchAction) -> Command:
        name = f"{key.deployment_id}.{key.step}"
        match action:
            case FetchAction(url=url) if not url.startswith("file://"):
                return fetch_command(action, python=self._python)
            case FetchAction(url=url):
                uploaded = await self._host.upload(self._artifact(url), name)
            case PutAction(source=str() as source):
                uploaded = await self._host.upload(self._artifact(source), name)
            case PutAction(content=content):
                uploaded = await self._host.write(content or b"", name)
        return place_command(action, uploaded, python=self._python)

    async def _check(self, key: StepKey, check: CheckAction) -> StepResult:
        """Try until it has passed for long enough. The deadline is the check's own; a command in it is supervised like
        any step."""
        started, tries = loop_time(), CheckTries(check.stable_seconds)
        while True:
            self._on_try(tries.count + 1)
            left = check.deadline - (loop_time() - started)
            reason, status = await self._probe(key, check, max(0.1, min(left, PROBE_SECONDS)))
            elapsed = loop_time() - started
            if tries.seen(reason, elapsed):
                text = f"{tries.words_of_pass}\n".encode()
                return StepResult(StepStatus.SUCCEEDED, status, text, len(text), elapsed)
            pause = tries.pause(check.interval, elapsed)
            if elapsed + pause >= check.deadline:
                why = tries.words_of_failure
                text = f"{why} {tries.counted(elapsed)}\n".encode()
                return StepResult(StepStatus.FAILED, status, text, len(text), elapsed, reason=why)
            saw(reason or tries.words_so_far)
            await asyncio.sleep(pause)

    async def _probe(self, key: StepKey, check: CheckAction, timeout: float) -> tuple[str | None, int | None]:
        """(why not, exit status): the first is None when it passed."""
        match check.probe:
            case Command() as command:
                result = await self._host.run(key, command)
                passed = result.status is StepStatus.SUCCEEDED
                words = self._redact(result.output.decode("utf-8", "replace"))[-1024:].strip() or result.reason
                return None if passed else f"ended with {result.exit_status}: {words}", result.exit_status
            case HttpProbe() as probe:
                try:
                    answer = await self._host.http_get(probe.url, timeout=timeout)
                except (ConnectionError, TimeoutError) as error:
                    return str(error) or f"{probe.url} gave no answer within {timeout:.1f} s", None
                refused = refuse_answer(probe, answer.status, answer.body, coding=answer.coding, cut=answer.cut)
                return refused, None
            case TcpProbe(host, port):
                try:
                    await self._host.tcp_connect(host, port, timeout=timeout)
                except (ConnectionError, TimeoutError) as error:
                    return str(error) or f"{host}:{port} gave no answer within {timeout:.1f} s", None
                return None, None


def steps_for(
    recipe: Recipe, request: DeployRequest, target: Target, direction: Direction, limits: EngineLimits
) -> list[RenderedStep]:
    """The recipe's steps for one target. Raises ``RenderError``."""
    return render_steps(recipe, direction, _scope(request, target, limits))


def plan_for(recipe: Recipe, request: DeployRequest, target: Target, limits: EngineLimits) -> list[RenderedStep]:
    """What the recipe has a dry run do on one target. Raises ``RenderError``."""
    return render_plan(recipe, _scope(request, target, limits))


def _scope(request: DeployRequest, target: Target, limits: EngineLimits) -> RenderScope:
    return RenderScope(
        application=request.application,
        environment=request.environment,
        version=request.version,
        deployment_id=request.deployment_id,
        target=target,
        team=request.team or "",
        parameters=request.parameters,
        step_seconds=request.timeouts.step,
        output_limit=limits.output_bytes,
        artifacts=limits.artifacts,
    )
