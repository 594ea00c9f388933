"""From what was typed to a deploy event, judged here as the daemon will judge it before anything is published."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vesemir.adapters.recipes import RecipeBook, recipe_folders
from vesemir.cli.complaint import ProblemsError, UsageError
from vesemir.cli.identity import new_deployment_id, who_asks
from vesemir.cli.options import EventOptions
from vesemir.contract import MessageProperties, Refusal, parse_deploy_event
from vesemir.contract.deploy import DEPLOY_SCHEMA
from vesemir.contract.json_body import read_json
from vesemir.domain.recipe import Parameter, ParameterType
from vesemir.domain.request import DeployRequest
from vesemir.settings import Settings

Value = str | int | bool
JsonObject = dict[str, Any]

_WITH_FILE = frozenset({"file", "deployment_id"})
"""The only options that go with --file: the rest is the file's to say."""

_REQUIRED = ("application", "environment", "version", "recipe")


@dataclass(frozen=True, slots=True)
class DraftEvent:
    """A valid deploy event: ``body`` is what is published."""

    body: bytes
    request: DeployRequest


def event_of(options: EventOptions, settings: Settings, *, dry_run: bool | None) -> DraftEvent:
    """The event. Raises ``UsageError`` and ``ProblemsError``. ``dry_run`` None leaves it to the file."""
    made = _from_file(options) if options.file is not None else _from_options(options, settings)
    if dry_run is not None:
        made["dry_run"] = dry_run
    return judged(made, settings)


def judged(made: JsonObject, settings: Settings) -> DraftEvent:
    """What the daemon would refuse by its form is refused here, one line per problem. Raises ``ProblemsError``."""
    body = json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass")
    amqp, caps = settings.amqp, settings.limits.caps
    parsed = parse_deploy_event(
        body, max_bytes=amqp.max_message_bytes, caps=caps, namespace=amqp.namespace, properties=MessageProperties()
    )
    if isinstance(parsed, Refusal):
        raise ProblemsError([f"{problem.field} {problem.message}" for problem in parsed.problems])
    return DraftEvent(body, parsed.request)


def _from_file(options: EventOptions) -> JsonObject:
    extra = [each.name for each in fields(options) if each.name not in _WITH_FILE and getattr(options, each.name)]
    if extra:
        raise UsageError("--file has the whole event: leave the options out that describe it (--id may stay)")
    named = "standard input" if options.file == "-" else options.file
    reading = read_json(_read(str(options.file)))
    if reading.problems:
        raise ProblemsError([f"{named}: {problem.field} {problem.message}" for problem in reading.problems])
    if not isinstance(reading.value, dict):
        raise ProblemsError([f"{named}: must be a JSON object, as `vesemir schema deploy` shows"])
    made = dict(reading.value)
    if options.deployment_id is not None or "deployment_id" not in made:
        made["deployment_id"] = options.deployment_id or new_deployment_id()
    return made


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ProblemsError([f"{name} cannot be read: {error.strerror}"]) from error


def _from_options(options: EventOptions, settings: Settings) -> JsonObject:
    missing = [f"--{name}" for name in _REQUIRED if getattr(options, name) is None]
    if missing:
        raise UsageError(f"missing: {', '.join(missing)} (or --file with the whole event; see --help)")
    made: JsonObject = {
        "schema": DEPLOY_SCHEMA,
        "deployment_id": options.deployment_id or new_deployment_id(),
        "application": options.application,
        "environment": options.environment,
        "team": options.team,
        "requested_by": options.requested_by or who_asks(),
        "version": options.version,
        "recipe": options.recipe,
        "parameters": parameters_of(options.parameters or (), str(options.recipe), settings)
        | parameters_from_files(options.parameter_files),
        "targets": _targets(options),
        "haproxy": _haproxy(options),
        "rollout": _rollout(options),
        "not_before": options.not_before,
        "not_after": options.not_after,
        "break_glass": None if options.break_glass is None else {"reason": options.break_glass},
        "timeouts": _given(
            deployment=options.deployment_timeout, target=options.target_timeout, step=options.step_timeout
        ),
    }
    return {name: value for name, value in made.items() if value is not None}


def _given(**values: object) -> JsonObject:
    """Only what was given: the contract's defaults are the daemon's to fill in."""
    return {name: value for name, value in values.items() if value is not None}


def _targets(options: EventOptions) -> JsonObject:
    filters = _given(tags=options.tags or None, roles=options.roles or None, environment=options.chef_environment)
    chef = {**filters, **_given(query=options.query, cluster=options.cluster)}
    found = _selector(groups=options.groups, hosts=options.hosts, chef=chef)
    if len(found) != 1:
        raise UsageError("name the targets in exactly one way: --group, --host, or --tag, --role and --query (Chef)")
    return found


def _haproxy(options: EventOptions) -> JsonObject | None:
    chef = _given(tags=options.haproxy_tags or None, cluster=options.cluster)
    targets = _selector(groups=options.haproxy_groups, hosts=options.haproxy_hosts, chef=chef if "tags" in chef else {})
    weights = options.weights or []
    rest = _given(
        drain_seconds=options.drain_seconds,
        on_drain_timeout=options.on_drain_timeout,
        weight=(weights[0] if len(weights) == 1 else weights) or None,
        degradation_seconds=options.degradation_seconds,
    )
    if not targets and options.backend is None:
        if rest or options.server is not None:
            raise UsageError("traffic is moved only with a load balancer: add --haproxy-group (or -host, -tag)")
        return None
    if len(targets) != 1 or options.backend is None:
        raise UsageError("to move traffic give --backend, and one of --haproxy-group, --haproxy-host, --haproxy-tag")
    return {"targets": targets, "backend": options.backend, "server": options.server or "{name}", **rest}


def _selector(*, groups: list[str] | None, hosts: list[str] | None, chef: JsonObject) -> JsonObject:
    found: JsonObject = {}
    if groups:
        found["inventory"] = {"groups": groups}
    if hosts:
        found["hosts"] = hosts
    if chef:
        found["chef"] = chef
    return found


def _rollout(options: EventOptions) -> JsonObject:
    analysis = _given(
        min_requests=options.min_requests, hold_seconds=options.hold_seconds, max_error_ratio=options.max_error_ratio
    )
    return _given(
        concurrency=_share(options.concurrency),
        canary=_share(options.canary),
        max_failures=_share(options.max_failures),
        pause_seconds=options.pause_seconds,
        min_available=_share(options.min_available),
        on_failure=options.on_failure,
        mode=options.mode,
        order_by=options.order_by,
        approve_after=options.approve_after,
        min_targets=options.min_targets,
        analysis=analysis or None,
        prepare=options.prepare,
        min_healthy_seconds=options.min_healthy_seconds,
    )


def _share(given: str | None) -> int | str | None:
    """``3`` or ``25%``; anything else goes on as it is, and is judged with the rest."""
    return int(given) if given is not None and given.isascii() and given.isdecimal() else given


def parameters_of(given: Sequence[str], recipe: str, settings: Settings) -> dict[str, Value]:
    """From ``KEY=VALUE`` and ``KEY:=JSON``. Raises ``UsageError``."""
    if not given:
        return {}
    declared = _declared(recipe, settings)
    return dict(_parameter(each, declared) for each in given)


def parameters_from_files(given: Sequence[str] | None) -> dict[str, Value]:
    """Texts; one line break at the end of a file is not part of its value."""
    values: dict[str, Value] = {}
    for each in given or ():
        name, equals, file = each.partition("=")
        if not equals or not name or not file:
            raise UsageError(f"--set-file takes KEY=FILE, not {each!r}")
        try:
            values[name] = _read(file).decode("utf-8").removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ProblemsError([f"{file} is not UTF-8 text, as a parameter must be"]) from error
    return values


def _declared(recipe: str, settings: Settings) -> Mapping[str, Parameter]:
    """The recipe's parameters where this machine has it: for their types only, the instance judges the values."""
    found = RecipeBook(recipe_folders(settings.recipes)).get(recipe)
    return {} if found is None else found.parameters


def _parameter(given: str, declared: Mapping[str, Parameter]) -> tuple[str, Value]:
    name, equals, value = given.partition("=")
    if not equals or not name.removesuffix(":"):
        raise UsageError(f"--set takes KEY=VALUE or KEY:=JSON, not {given!r}")
    if name.endswith(":"):
        return name.removesuffix(":"), _json_value(given, value)
    kind = declared[name].type if name in declared else ParameterType.STRING
    if kind is ParameterType.BOOLEAN and value in {"true", "false"}:
        return name, value == "true"
    if kind is ParameterType.INTEGER and value.removeprefix("-").isdecimal() and value.isascii():
        return name, int(value)
    return name, value


def _json_value(given: str, value: str) -> Any:  # noqa: ANN401 - what is no parameter's value is refused with the event
    try:
        return json.loads(value)
    except ValueError:
        raise UsageError(f'--set {given}: what follows := must be JSON (3, true, "text")') from None
