"""``vesemir policy``: what the rules would decide, and whether a file of rules is sound. No instance need run."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from vesemir.adapters.policy import read_policy
from vesemir.adapters.postgres import PostgresStore
from vesemir.cli.complaint import NOT_DONE, ProblemsError, UsageError
from vesemir.cli.configuration import load_settings
from vesemir.cli.moment import moment_of
from vesemir.cli.output import count, print_json, say, show, table
from vesemir.contract import MessageProperties, Refusal, parse_control, parse_deploy_event
from vesemir.contract.control import CONTROL_SCHEMA, ControlRequest, LaneRequest
from vesemir.contract.json_body import read_json
from vesemir.domain.control import ControlledDeployment, ControlledLane
from vesemir.domain.decision import Decision, RecordAnswers, decide_command, decide_request
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.policy import ALLOW_ALL, Policy
from vesemir.domain.request import DeployRequest
from vesemir.engine.messages.promotions import successes_for
from vesemir.engine.ports.store import StoreAwayError
from vesemir.settings import Settings

policy_app = typer.Typer(
    help="Tell what the policy would decide, and whether it is sound.", no_args_is_help=True, rich_markup_mode=None
)

PolicyFile = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="These rules; else those of the setting policy.file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@policy_app.command("test")
def policy_test_command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A deploy event or control message; - is standard input.")
    ],
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="KIND:NAME", help="Who asks; a name alone is a RabbitMQ user.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="NAME", help="A group of the identity; may be repeated.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When: 2026-12-24T18:00+01:00 (UTC unless said). Now.")
    ] = None,
    policy_file: PolicyFile = None,
    lane: Annotated[
        str | None,
        typer.Option("--lane", metavar="APPLICATION/ENVIRONMENT", help="Of the deployment that a command is about."),
    ] = None,
    requester: Annotated[
        str | None, typer.Option("--requester", metavar="KIND:NAME", help="Who asked for that deployment.")
    ] = None,
    awaits_approval: Annotated[
        bool, typer.Option("--awaits-approval", help="It waits for an approval: a resume would be one.")
    ] = False,
    no_record: Annotated[bool, typer.Option("--no-record", help="Do not ask the database.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what would be decided of a deploy event or a control message, and by which rule. Nothing is sent.

    Exit status 0 if it would be allowed, 1 if not. The record is asked for what only it knows (what has succeeded
    elsewhere, how many wait, the lane's lock, what a command is about); where it is away that is told as not known.
    """
    settings = load_settings()
    policy, body = _policy(settings, policy_file), _body(file)
    asker = Asker(None if identity is None else _identity("--identity", identity), groups=tuple(group or ()))
    moment = moment_of("--at", at, now=datetime.now(UTC)) or datetime.now(UTC)
    if _is_control(body):
        given = None if lane is None else _given(lane, requester, awaits_approval=awaits_approval)
        what, decision = _of_control(settings, policy, body, asker, given=given, no_record=no_record)
    else:
        what, decision = _of_event(settings, policy, body, asker, moment, no_record=no_record)
    if as_json:
        print_json({**decision.as_json(), "identity": identity, "at": moment.isoformat()})
    else:
        _show(what, decision, who=identity or "somebody without identity", at=moment)
    raise typer.Exit(0 if decision.allowed else NOT_DONE)


@policy_app.command("check")
def policy_check_command(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The rules; else those of the setting policy.file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a file of rules and tell everything that is wrong with it, each with its line.

    Exit status 1 if it cannot be used. `vesemir check` looks at recipes and rights beyond that.
    """
    policy = _policy(load_settings(), file)
    rules = {
        "identity": len(policy.persons.known),
        "allow": len(policy.permissions),
        "freeze": len(policy.freezes),
        "limit": len(policy.limits),
        "promote": len(policy.promotions),
        "control": len(policy.controls),
    }
    if as_json:
        print_json({"digest": policy.digest, "rules": rules})
    else:
        show("sound: " + ", ".join(f"{number} {name}" for name, number in rules.items()))


def _policy(settings: Settings, file: Path | None) -> Policy:
    """Raises ``PolicyFileError``."""
    found = file or settings.policy.file
    if found is None:
        say("there is no policy (policy.file, or --policy): everything is allowed")
        return ALLOW_ALL
    return read_policy(found)


def _identity(option: str, text: str) -> Identity:
    try:
        return Identity.of(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}; give KIND:NAME, amqp:ci-shop for instance") from error


def _given(lane: str, requester: str | None, *, awaits_approval: bool) -> ControlledDeployment:
    application, slash, environment = lane.partition("/")
    if not slash or not application or not environment:
        raise UsageError(f"--lane takes APPLICATION/ENVIRONMENT, not {lane!r}")
    asked_by = None if requester is None else _identity("--requester", requester)
    return ControlledDeployment(application, environment, "", requester=asked_by, awaits_approval=awaits_approval)


def _body(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ProblemsError([f"{file} cannot be read: {error.strerror}"]) from error


def _is_control(body: bytes) -> bool:
    value = read_json(body).value
    return isinstance(value, dict) and value.get("schema") == CONTROL_SCHEMA


def _of_event(
    settings: Settings, policy: Policy, body: bytes, asker: Asker, moment: datetime, *, no_record: bool
) -> tuple[str, Decision]:
    amqp = settings.amqp
    parsed = parse_deploy_event(
        body,
        max_bytes=amqp.max_message_bytes,
        caps=settings.limits.caps,
        namespace=amqp.namespace,
        properties=MessageProperties(),
    )
    if isinstance(parsed, Refusal):
        return "a deploy event that cannot be read", _unread(parsed)
    request = parsed.request
    record = None if no_record else asyncio.run(_record(settings, policy, request, asker))
    what = f"{request.version} of {request.application} in {request.environment}"
    return what, decide_request(policy, request, asker, moment.timestamp(), record=record)


def _unread(refusal: Refusal) -> Decision:
    return Decision(refusal.code, problems=refusal.problems)


async def _record(settings: Settings, policy: Policy, request: DeployRequest, asker: Asker) -> RecordAnswers | None:
    """None where it is away: the rest can be told all the same."""
    lane = ControlledLane(request.application, request.environment)
    try:
        async with PostgresStore.connected(settings.postgres, instance="cli") as store:
            return RecordAnswers(
                await successes_for(policy, request, store),
                await store.waiting(quotas) if (quotas := policy.waiting_quotas(request, asker)) else (),
                await store.lane_lock(lane),
            )
    except StoreAwayError as error:
        say(f"the record was not asked: {error}")
        return None


def _of_control(
    settings: Settings,
    policy: Policy,
    body: bytes,
    asker: Asker,
    *,
    given: ControlledDeployment | None,
    no_record: bool,
) -> tuple[str, Decision]:
    amqp = settings.amqp
    parsed = parse_control(
        body, max_bytes=amqp.max_message_bytes, namespace=amqp.namespace, properties=MessageProperties()
    )
    if isinstance(parsed, Refusal):
        return "a control message that cannot be read", _unread(parsed)
    if isinstance(parsed, LaneRequest):
        lane = ControlledLane(parsed.application, parsed.environment)
        return f"{parsed.command} of {lane.name}", decide_command(policy, parsed.command, lane, asker)
    about = given
    if about is None and not no_record:
        about = asyncio.run(_deployment(settings, parsed))
    if about is None:
        raise ProblemsError([f"what {parsed.deployment_id} is about is not known here: give --lane (and --requester)"])
    return f"{parsed.command} of {parsed.deployment_id}", decide_command(policy, parsed.command, about, asker)


async def _deployment(settings: Settings, asked: ControlRequest) -> ControlledDeployment | None:
    """As the record has it; None where it is away or has no such deployment."""
    try:
        async with PostgresStore.connected(settings.postgres, instance="cli") as store:
            view = await store.deployment_view(asked.deployment_id)
    except StoreAwayError as error:
        say(f"the record was not asked: {error}")
        return None
    if view is None:
        return None
    return ControlledDeployment(
        view.application,
        view.environment,
        view.version,
        requester=Identity.recorded(view.identity),
        awaits_approval=view.awaits_approval,
    )


_HOLDS = {True: "yes", False: "no", None: "not known yet"}


def _show(what: str, decision: Decision, *, who: str, at: datetime) -> None:
    when = at.isoformat(timespec="minutes")
    if decision.allowed:
        by = f" by {', '.join(decision.rules)}" if decision.rules else ": no rule has to allow it"
        show(f"allowed{by}: {what}, asked for by {who} at {when}")
    else:
        code = "" if decision.code is None else decision.code.value
        show(*(f"refused [{code}]: {each.field} {each.message}" for each in decision.problems))
        show(f"{count(len(decision.problems), 'reason')} against {what}, asked for by {who} at {when}")
    if decision.held:
        rows = [(each.rule, each.says, _HOLDS[each.holds]) for each in decision.held]
        show("", table("rule", "says", "is kept to", rows=rows))
    if decision.unknown:
        show("", *(f"Not told here: {each}" for each in decision.unknown))
