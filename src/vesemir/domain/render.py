"""From a recipe and one target to the steps as they are carried out: every placeholder replaced, every word final."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vesemir.domain.action import (
    PLACING_FAILURES,
    Action,
    CheckAction,
    FetchAction,
    HttpProbe,
    PutAction,
    RenderedStep,
    RunAction,
    TcpProbe,
)
from vesemir.domain.doing import PhaseName
from vesemir.domain.failure import FailureCode
from vesemir.domain.hiding import told_by_name
from vesemir.domain.recipe import (
    LONGEST_DEADLINE,
    LONGEST_STABLE,
    Check,
    Fetch,
    HttpCheck,
    Put,
    Recipe,
    Script,
    Step,
    TcpCheck,
    Words,
)
from vesemir.domain.render_values import RenderError, RenderScope, parameter_values, request_values, variable_values
from vesemir.domain.step import Command, Direction
from vesemir.domain.template import Template

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
SHOW_SECONDS = 10.0
SHOW_BYTES = 4096
"""What ``on_failure_show`` may take, and how much of the end of its output is kept."""
_MAX_PORT = 65535


def render_steps(recipe: Recipe, direction: Direction, scope: RenderScope) -> list[RenderedStep]:
    """The steps of one direction for one target, those of ``prepare`` first. Raises ``RenderError``."""
    renderer = _renderer(recipe, scope)
    if direction is Direction.BACK:
        return [renderer.step(step, "rollback") for step in recipe.rollback]
    prepare = [renderer.step(step, "prepare") for step in recipe.prepare]
    return [*prepare, *(renderer.step(step, "target") for step in recipe.steps)]


def render_plan(recipe: Recipe, scope: RenderScope) -> list[RenderedStep]:
    """What a dry run does on one target. Raises ``RenderError``."""
    renderer = _renderer(recipe, scope)
    return [renderer.step(step, "target") for step in recipe.plan]


def _renderer(recipe: Recipe, scope: RenderScope) -> "_Renderer":
    request = request_values(recipe, scope)
    parameters = parameter_values(recipe, scope, request)
    known = request | {"target_name": scope.target.name, "target_address": scope.target.address}
    variables = variable_values(recipe, scope.target, known)
    return _Renderer(recipe.name, scope, known, parameters, variables)


def hidden_values(steps: Iterable[RenderedStep]) -> set[str]:
    """Of the environment: what the name of a variable tells to be a secret (``DB_PASSWORD``)."""
    return {
        value
        for step in steps
        for action in (step.action, *([RunAction(step.on_failure_show)] if step.on_failure_show else []))
        for name, value in _environment_of(action).items()
        if told_by_name(name, value)
    }


def _environment_of(action: Action) -> Mapping[str, str]:
    match action:
        case RunAction(command) | CheckAction(probe=Command() as command):
            return command.environment
        case PutAction() | FetchAction():
            return action.environment
        case CheckAction():
            return {}


class _Renderer:
    """Holds the values of one target while its steps are rendered."""

    def __init__(
        self,
        recipe: str,
        scope: RenderScope,
        known: Mapping[str, str],
        parameters: Mapping[str, str],
        variables: Mapping[str, str],
    ) -> None:
        self._recipe = recipe
        self._scope = scope
        self._values = {**known, **parameters, **variables}
        self._script_environment = {
            **{f"VESEMIR_{name.upper()}": value for name, value in known.items()},
            "VESEMIR_ARTIFACT_MAX_ENTRIES": str(scope.artifacts.max_entries),
            "VESEMIR_ARTIFACT_MAX_UNPACKED_BYTES": str(scope.artifacts.max_unpacked_bytes),
            **{f"PARAM_{name.upper()}": value for name, value in parameters.items()},
            **{f"VAR_{name.upper()}": value for name, value in variables.items()},
        }

    def step(self, step: Step, phase: PhaseName) -> RenderedStep:
        timeout = min(step.timeout or self._scope.step_seconds, self._scope.step_seconds)
        placing = isinstance(step.work, Put | Fetch)
        health = isinstance(step.work, Check) and step.work.health
        return RenderedStep(
            name=step.name,
            action=self._action(step, timeout),
            idempotent=self._flag(step, "idempotent", step.idempotent),
            retries=step.retries,
            failures={**(PLACING_FAILURES if placing else {}), **step.failures},
            timeout=timeout,
            failure=FailureCode.HEALTH_FAILED if health else FailureCode.STEP_FAILED,
            on_failure_show=None if step.on_failure_show is None else self._show(step, step.on_failure_show),
            phase=phase,
        )

    def _action(self, step: Step, timeout: float) -> Action:
        match step.work:
            case Words(command):
                return RunAction(self._command(step, command, timeout))
            case Script(text):
                return RunAction(self._script(step, text, timeout))
            case Put() as put:
                return self._put(step, put, timeout)
            case Fetch() as fetch:
                return self._fetch(step, fetch, timeout)
            case Check() as check:
                return self._check(step, check, timeout)

    def _command(self, step: Step, words: tuple[Template, ...], timeout: float) -> Command:
        argv = tuple(word.render(self._values) for word in words)
        return self._supervised(step, argv, self._environment(step), timeout)

    def _show(self, step: Step, words: Words) -> Command:
        return replace(self._command(step, words.command, SHOW_SECONDS), output_limit=SHOW_BYTES)

    def _script(self, step: Step, text: str, timeout: float) -> Command:
        environment = {**self._script_environment, **self._environment(step)}
        return self._supervised(step, ("sh", "-eu", "-c", text, "sh"), environment, timeout)

    def _supervised(self, step: Step, argv: tuple[str, ...], environment: Mapping[str, str], timeout: float) -> Command:
        return Command(
            argv=argv,
            environment=environment,
            timeout=timeout,
            sudo=self._flag(step, "sudo", step.sudo),
            cwd=self._text(step.cwd) or None,
            output_limit=self._scope.output_limit,
        )

    def _put(self, step: Step, put: Put, timeout: float) -> PutAction:
        content = None if put.content is None else self._text(put.content).encode()
        sha256 = "" if content is None else hashlib.sha256(content).hexdigest()
        return PutAction(
            destination=self._path(step, put.destination),
            source=None if put.source is None else self._text(put.source),
            content=content,
            mode=put.mode,
            owner=self._text(put.owner),
            group=self._text(put.group),
            sha256=sha256 if put.sha256 is None else self._sha256(step, put.sha256),
            sudo=self._flag(step, "sudo", step.sudo),
            timeout=timeout,
            environment=self._environment(step),
        )

    def _fetch(self, step: Step, fetch: Fetch, timeout: float) -> FetchAction:
        url = self._text(fetch.url)
        if not url.startswith(("file://", "http://", "https://")):
            raise self._error(step, f"url {url!r} must begin with file://, http:// or https://")
        return FetchAction(
            url=url,
            destination=self._path(step, fetch.destination),
            mode=fetch.mode,
            owner=self._text(fetch.owner),
            group=self._text(fetch.group),
            sha256=self._sha256(step, fetch.sha256),
            sudo=self._flag(step, "sudo", step.sudo),
            timeout=timeout,
            environment=self._environment(step),
            max_bytes=self._scope.artifacts.max_bytes,
        )

    def _check(self, step: Step, check: Check, timeout: float) -> CheckAction:
        deadline = min(self._seconds(step, "deadline", check.deadline, longest=LONGEST_DEADLINE), timeout)
        stable = self._seconds(step, "stable_seconds", check.stable_seconds, longest=LONGEST_STABLE)
        if deadline == 0 or stable >= deadline:
            reason = f"it can never pass for stable_seconds = {stable:g} within {deadline:g} s"
            raise self._error(step, f"{reason} (the least of deadline, timeout and the request's timeouts.step)")
        probe: HttpProbe | TcpProbe | Command
        match check.probe:
            case HttpCheck() as http:
                probe = self._http(step, http)
            case TcpCheck(address):
                probe = self._tcp(step, self._text(address))
            case Words(command):
                probe = self._command(step, command, deadline)
        return CheckAction(probe=probe, interval=check.interval, deadline=deadline, stable_seconds=stable)

    def _http(self, step: Step, check: HttpCheck) -> HttpProbe:
        url = self._text(check.url)
        if not url.startswith("http://"):
            raise self._error(step, f"url {url!r} must begin with http://: the check goes through the SSH connection")
        contains = None if check.contains is None else self._text(check.contains)
        return HttpProbe(url, check.status, contains, {key: self._text(text) for key, text in check.json.items()})

    def _tcp(self, step: Step, address: str) -> TcpProbe:
        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) <= _MAX_PORT:
            raise self._error(step, f"tcp address {address!r} must be host:port")
        return TcpProbe(host.removeprefix("[").removesuffix("]"), int(port))

    def _environment(self, step: Step) -> dict[str, str]:
        return {name: self._text(value) for name, value in step.environment.items()}

    def _text(self, template: Template | None) -> str:
        return "" if template is None else template.render(self._values)

    def _path(self, step: Step, template: Template) -> str:
        path = self._text(template)
        if not path.startswith("/"):
            raise self._error(step, f"destination {path!r} must be an absolute path")
        return path

    def _sha256(self, step: Step, template: Template) -> str:
        text = self._text(template)
        if _SHA256.fullmatch(text) is None:
            raise self._error(step, f"sha256 must be 64 hexadecimal digits, not {text!r}")
        return text.lower()

    def _flag(self, step: Step, option: str, value: bool | Template) -> bool:  # noqa: FBT001 - the recipe's own value
        if isinstance(value, bool):
            return value
        text = self._text(value).lower()
        if text not in {"true", "false"}:
            raise self._error(step, f"{option} must be true or false, not {text!r}")
        return text == "true"

    def _seconds(self, step: Step, option: str, value: float | Template, *, longest: float) -> float:
        if not isinstance(value, Template):
            return value
        text = self._text(value)
        if _SECONDS.fullmatch(text) is None or float(text) > longest:
            raise self._error(step, f"{option} must be a number of seconds up to {longest:g}, not {text!r}")
        return float(text)

    def _error(self, step: Step, reason: str) -> RenderError:
        return RenderError(f"recipe {self._recipe}, step {step.name}, on {self._scope.target.name}: {reason}")
