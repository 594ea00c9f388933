"""The options that describe a deployment, for ``deploy`` and ``plan``: one for nearly every field of the event."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import Annotated, Any

import typer

Text = str | None
Texts = list[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOptions:
    """What was typed; None is what was not."""

    file: Annotated[
        Text, typer.Option("--file", "-f", metavar="FILE", help="The event as JSON; - is standard input.")
    ] = None
    deployment_id: Annotated[
        Text, typer.Option("--id", metavar="ID", help="The deployment_id.  [default: a new one]")
    ] = None
    application: Annotated[Text, typer.Option("--application", "-a", metavar="NAME", help="What is deployed.")] = None
    environment: Annotated[Text, typer.Option("--environment", "-e", metavar="NAME", help="Where it runs.")] = None
    version: Annotated[Text, typer.Option("--version", "-v", metavar="VERSION", help="The release.")] = None
    recipe: Annotated[Text, typer.Option("--recipe", "-r", metavar="NAME", help="The recipe.")] = None
    parameters: Annotated[
        Texts,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="A parameter of the recipe; KEY:=JSON gives a number or a boolean. May be repeated, as below.",
        ),
    ] = None
    parameter_files: Annotated[
        Texts,
        typer.Option(
            "--set-file", metavar="KEY=FILE", help="A parameter from a file: a secret stays out of the process list."
        ),
    ] = None
    team: Annotated[Text, typer.Option("--team", metavar="NAME", help="Who owns the application.")] = None
    requested_by: Annotated[
        Text, typer.Option("--requested-by", metavar="WHO", help="Who asks.  [default: user@host]")
    ] = None
    groups: Annotated[Texts, typer.Option("--group", metavar="GROUP", help="Targets: a group of the inventory.")] = None
    hosts: Annotated[Texts, typer.Option("--host", metavar="HOST", help="Targets: a host.")] = None
    tags: Annotated[Texts, typer.Option("--tag", metavar="TAG", help="Targets: Chef nodes with this tag.")] = None
    roles: Annotated[Texts, typer.Option("--role", metavar="ROLE", help="Targets: Chef nodes with this role.")] = None
    chef_environment: Annotated[
        Text, typer.Option("--chef-environment", metavar="NAME", help="Only Chef nodes of this environment.")
    ] = None
    query: Annotated[Text, typer.Option("--query", metavar="QUERY", help="Targets: a Chef search.")] = None
    cluster: Annotated[Text, typer.Option("--cluster", metavar="NAME", help="Which Chef server.")] = None
    haproxy_groups: Annotated[
        Texts, typer.Option("--haproxy-group", metavar="GROUP", help="Load balancers: a group of the inventory.")
    ] = None
    haproxy_hosts: Annotated[Texts, typer.Option("--haproxy-host", metavar="HOST", help="Load balancers: a host.")] = (
        None
    )
    haproxy_tags: Annotated[
        Texts, typer.Option("--haproxy-tag", metavar="TAG", help="Load balancers: Chef nodes with this tag.")
    ] = None
    backend: Annotated[Text, typer.Option("--backend", metavar="NAME", help="HAProxy's backend.")] = None
    server: Annotated[
        Text, typer.Option("--server", metavar="NAME", help="A target's server in it.  [default: {name}]")
    ] = None
    drain_seconds: Annotated[
        float | None, typer.Option("--drain-seconds", metavar="S", help="How long sessions may take to end.")
    ] = None
    on_drain_timeout: Annotated[
        Text, typer.Option("--on-drain-timeout", metavar="fail|shutdown", help="What if they do not.")
    ] = None
    weights: Annotated[
        list[int] | None, typer.Option("--weight", metavar="PERCENT", help="A share of traffic before the full one.")
    ] = None
    degradation_seconds: Annotated[
        float | None, typer.Option("--degradation-seconds", metavar="S", help="How long each weight is held.")
    ] = None
    concurrency: Annotated[
        Text, typer.Option("--concurrency", "-c", metavar="N|N%", help="Targets at the same time.")
    ] = None
    canary: Annotated[Text, typer.Option("--canary", metavar="N|N%", help="Targets that go first.")] = None
    max_failures: Annotated[Text, typer.Option("--max-failures", metavar="N|N%", help="Failures to accept.")] = None
    min_available: Annotated[
        Text, typer.Option("--min-available", metavar="N|N%", help="Servers of the backend that must stay up.")
    ] = None
    on_failure: Annotated[
        Text, typer.Option("--on-failure", metavar="stop|rollback|continue", help="What after too many failures.")
    ] = None
    mode: Annotated[Text, typer.Option("--mode", metavar="batch|window", help="Fixed batches or a window.")] = None
    prepare: Annotated[
        Text, typer.Option("--prepare", metavar="target|all", help="Download and unpack everywhere before any drain.")
    ] = None
    min_healthy_seconds: Annotated[
        float | None, typer.Option("--min-healthy-seconds", metavar="S", help="A target must stay up so long.")
    ] = None
    pause_seconds: Annotated[
        float | None, typer.Option("--pause-seconds", metavar="S", help="Wait between batches.")
    ] = None
    order_by: Annotated[
        Text, typer.Option("--order-by", metavar="ATTRIBUTE", help="No batch mixes its values, a zone's for instance.")
    ] = None
    approve_after: Annotated[
        Text, typer.Option("--approve-after", metavar="canary|batch|group", help="Pause there until a resume.")
    ] = None
    min_targets: Annotated[
        int | None, typer.Option("--min-targets", metavar="N", help="Fewer found targets are an error.")
    ] = None
    min_requests: Annotated[
        int | None, typer.Option("--min-requests", metavar="N", help="Analysis: judge the canary by so many requests.")
    ] = None
    hold_seconds: Annotated[
        float | None, typer.Option("--hold-seconds", metavar="S", help="Analysis: hold the canary so long to judge it.")
    ] = None
    max_error_ratio: Annotated[
        float | None, typer.Option("--max-error-ratio", metavar="R", help="Analysis: errors to accept, 0 to 1.")
    ] = None
    not_before: Annotated[
        Text, typer.Option("--not-before", metavar="TIME", help="Begin then or later: 2026-11-28T22:00:00+01:00.")
    ] = None
    not_after: Annotated[
        Text, typer.Option("--not-after", metavar="TIME", help="Begin by then, or end as failed (request.expired).")
    ] = None
    break_glass: Annotated[
        Text,
        typer.Option(
            "--break-glass",
            metavar="REASON",
            help="Go past locks, freezes and missing promotions, where the policy lets you; it is audited.",
        ),
    ] = None
    deployment_timeout: Annotated[
        float | None, typer.Option("--deployment-timeout", metavar="S", help="Limit of the deployment.")
    ] = None
    target_timeout: Annotated[
        float | None, typer.Option("--target-timeout", metavar="S", help="Limit of one target.")
    ] = None
    step_timeout: Annotated[float | None, typer.Option("--step-timeout", metavar="S", help="Limit of one step.")] = None

    def with_id(self, deployment_id: str) -> "EventOptions":
        return replace(self, deployment_id=deployment_id)


def takes_event_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all of the options; it gets them as its first argument, an ``EventOptions``."""
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        for each in fields(EventOptions)
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:  # noqa: ANN401 - typer passes what was typed
        options = EventOptions(**{each.name: given.pop(each.name) for each in shared})
        command(options, **given)

    parameters = [*shared, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own)]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # how inspect is told
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options
