"""``vesemir status``: one deployment in full, or what goes on now."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated

import typer
from rich.console import RenderableType

from vesemir.adapters.postgres import Reader
from vesemir.cli.complaint import UsageError
from vesemir.cli.doing import doing_parts
from vesemir.cli.headline import headline, last_of_each
from vesemir.cli.history import deployments_table, moment_text, short_moment
from vesemir.cli.identity import asker_text
from vesemir.cli.instances import Crew, show_instances, warn_of_nobody
from vesemir.cli.next_steps import next_steps, out_of_traffic, paused_steps
from vesemir.cli.output import STYLES, count, paragraph, print_json, seconds_text, show, status_text, table, text
from vesemir.cli.record import read, view_of
from vesemir.cli.shown_targets import shown_targets
from vesemir.cli.state_words import state_text
from vesemir.cli.without_traffic import back_of_each, known_now, out_of_each
from vesemir.domain.failure import LAST_WORDS
from vesemir.domain.states import FINAL, DeploymentState
from vesemir.domain.step import Direction
from vesemir.domain.wish import Wish
from vesemir.engine.ports.views import (
    DeploymentSummary,
    DeploymentView,
    DestinationView,
    DrainedServerView,
    LockedLaneView,
    TargetView,
    UnfinishedView,
    View,
)

_GOING_ON = 1000
"""More active and waiting deployments than anybody looks through."""
_LAST = 10
_SERVES: Mapping[bool | None, str] = {True: "yes", False: "no", None: "-"}
"""At the target's end."""
_TOLD = 8
"""Different failures of targets that are written out: more of them have one cause."""


def status_command(
    deployment_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A deployment; without it, what goes on and the last ten.")
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Instead: the instances that work, and those that did lately.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List every target; of more than 40, only those that failed are listed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show one deployment: its state, who runs it, its targets and failures. Or what goes on, and the last ten.

    That no instance works is said first. Instances of 0.1 do not tell the record that they are there.
    """
    if instances:
        if deployment_id is not None:
            raise UsageError("--instances is about all instances: leave out the deployment")
        show_instances(as_json=as_json)
    elif deployment_id is None:
        _overview(as_json=as_json)
    else:
        _one(deployment_id, everything=everything, as_json=as_json)


def _one(deployment_id: str, *, everything: bool, as_json: bool) -> None:
    async def work(reader: Reader) -> tuple[DeploymentView, Crew]:
        return await view_of(reader, deployment_id), await Crew.read(reader)

    view, crew = read(work)
    if as_json:
        print_json(view.as_json())
        return
    if view.state not in FINAL:
        warn_of_nobody(crew, waiting=1)
    show(*view_parts(view, everything=everything))


def _overview(*, as_json: bool) -> None:
    going_on, last, drained, locked, crew = read(_now_and_last)
    if as_json:
        parts: Mapping[str, Sequence[View]] = {
            "going_on": going_on,
            "last": last,
            "left_drained": drained,
            "locked_lanes": locked,
            "instances": crew.instances,
        }
        found = {name: [each.as_json() for each in part] for name, part in parts.items()}
        print_json({"no_instance_works": crew.nobody, **found})
        return
    warn_of_nobody(crew, waiting=len(going_on))
    if not going_on and not last and not locked:
        show("There is no deployment in the record yet.")
        return
    show(f"{count(len(going_on), 'deployment')} active or waiting" + (":" if going_on else "."))
    if going_on:
        show(_going_on(going_on, {each.lane for each in locked}))
    if last:
        show("", f"The last {count(len(last), 'deployment')} that ended:", deployments_table(last))
    if locked:
        show("", "Locked, so that nothing new begins there (vesemir unlock):", _locked(locked))
    if drained:
        show("", "Left without traffic by a deployment that failed there:")
        rows = [
            (each.target, each.lane, each.deployment_id, short_moment(each.since), known_now(each)) for each in drained
        ]
        show(table("target", "lane", "deployment", "since", "now", rows=rows))


def _locked(lanes: Sequence[LockedLaneView]) -> RenderableType:
    rows = [
        (each.lane, short_moment(each.since), short_moment(each.until) if each.until else "-", each.by, each.reason)
        for each in lanes
    ]
    return table("lane", "since", "until", "by", "reason", rows=rows)


def _going_on(deployments: Sequence[UnfinishedView], locked: Collection[str]) -> RenderableType:
    """With how far each is, or how many of its lane are before it, or that its lane is locked."""
    rows = [
        (
            each.deployment_id,
            each.what,
            state_text(each),
            _how_far(each, locked),
            short_moment(each.accepted_at),
            asker_text(each.requested_by, each.identity),
        )
        for each in deployments
    ]
    made = table("deployment", "what", "state", "how far", "accepted", "by", rows=rows)
    for column in (made.columns[0], made.columns[2], made.columns[4]):
        column.no_wrap = True
    return made


def _how_far(deployment: UnfinishedView, locked: Collection[str]) -> str:
    if not deployment.due and deployment.not_before is not None:
        return f"not before {short_moment(deployment.not_before)}"
    if deployment.state is DeploymentState.PENDING:
        before = deployment.before_it
        if not before and not deployment.dry_run and f"{deployment.application}/{deployment.environment}" in locked:
            return "its lane is locked"
        return f"{before} before it" if before else "is next"
    if not deployment.targets_total:
        return f"looks up its targets, {seconds_text(deployment.duration_seconds)}"
    done = f"{deployment.targets_done} of {count(deployment.targets_total, 'target')}"
    failed = f", {deployment.targets_failed} failed" if deployment.targets_failed else ""
    return f"{done}{failed}, {seconds_text(deployment.duration_seconds)}"


async def _now_and_last(
    reader: Reader,
) -> tuple[list[UnfinishedView], list[DeploymentSummary], list[DrainedServerView], list[LockedLaneView], Crew]:
    return (
        await reader.going_on(limit=_GOING_ON),
        await reader.last_ended(limit=_LAST),
        await reader.servers_left_drained(limit=_GOING_ON),
        await reader.locked_lanes(limit=_GOING_ON),
        await Crew.read(reader),
    )


def view_parts(view: DeploymentView, *, everything: bool = False) -> Iterator[RenderableType]:
    """Everything that a person on call wants to see of one deployment: first whether the release is out."""
    yield paragraph(text(headline(view), STYLES.get(view.state, "")))
    yield from _traffic(last_of_each(view.targets), view)
    yield ""
    yield _summary(view)
    if view.targets:
        yield ""
        listed, left_out = shown_targets(view.targets, view.deployment_id, everything=everything)
        if left_out:
            yield text(left_out)
        if listed:
            yield _targets(listed)
        if any(target.in_traffic is not None for target in view.targets):
            yield text("traffic: what HAProxy said at each target's end", "dim")
    if view.doing:
        yield ""
        yield text("Right now:")
        yield from doing_parts(view.doing, wall=time.time())
    yield from _failures(view.targets)
    parked = [each for each in view.destinations if each.parked_at]
    if parked:
        yield ""
        yield text("Given up: these destinations did not take their events (a repeat of the request tries again).")
        yield _parked(parked)
    left = list(out_of_traffic(view, last_of_each(view.targets)))
    if left:
        yield ""
        yield from left
    steps = [
        *(paused_steps(view.deployment_id) if view.state is DeploymentState.PAUSED else ()),
        *next_steps(view.deployment_id, view.failure, view.targets),
    ]
    if steps:
        yield ""
        yield from steps


def _traffic(targets: Sequence[TargetView], view: DeploymentView) -> Iterator[RenderableType]:
    """Before everything else: which targets get no traffic, who took them out and when, and what is known now."""
    for names, words in out_of_each(view, targets):
        yield paragraph(text(f"No traffic on {names}", "bold"), text(f": {words}."))
    for name, words in back_of_each(targets):
        yield paragraph(text(f"{name} was left drained by this deployment, and {words}."))


def _begins(view: DeploymentView) -> str:
    """When it may, and by when it must have."""
    bounds = (("not before", view.not_before), ("not after", view.not_after))
    return ", ".join(f"{words} {moment_text(moment)}" for words, moment in bounds if moment is not None)


def _summary(view: DeploymentView) -> RenderableType:
    dry = ", dry run" if view.dry_run else ""
    rows: list[tuple[object, object]] = [
        ("deployment", f"{view.deployment_id} (recipe {view.recipe}{dry})"),
        ("state", state_text(view)),
    ]
    if glass := view.request.get("break_glass"):
        rows.append(("break glass", f"{glass['reason']} (goes past locks, freezes and missing promotions)"))
    if view.not_before is not None or view.not_after is not None:
        rows.append(("begins", _begins(view)))
    if view.failure:
        rows.append(("failure", f"{view.failure.code}: {view.failure.message}"))
    rows += [(name, _wish(wish)) for name, wish in (("cancel", view.cancel), ("pause", view.pause)) if wish is not None]
    rows += [
        ("run by", _owner(view)),
        ("asked for by", _asker(view)),
        ("accepted", f"{moment_text(view.accepted_at)} UTC, waited {seconds_text(view.queued_seconds)}"),
    ]
    if view.started_at or view.duration_seconds:
        rows.append(("ran for", f"{seconds_text(view.duration_seconds)}, {count(view.steps_total, 'step')}"))
    if view.takeovers:
        rows.append(("taken over", f"{count(view.takeovers, 'time')}, last by epoch {view.epoch}"))
    shown = table("", "", rows=rows)
    shown.show_header = False
    return shown


def _owner(view: DeploymentView) -> str:
    if view.owner:
        return f"{view.owner} (lease until {moment_text(view.lease_expires_at)} UTC)"
    if view.state in FINAL:
        return f"nobody any more (last {view.last_owner or 'nobody'})"
    if view.held_by_lock is not None:
        return "no instance yet: its lane is locked"
    if view.waits_for:
        return "no instance yet: it waits in its lane, for what is before it"
    return "no instance yet: it waits for one that is free"


def _asker(view: DeploymentView) -> str:
    verified = f" (RabbitMQ user {view.user_id})" if view.user_id else ""
    if not verified and view.identity:
        verified = f" ({view.identity})"
    return f"{view.requested_by or '-'}{verified}"


def _wish(wish: Wish) -> str:
    who, why = asker_text(wish.requested_by, wish.identity), wish.reason
    return f"asked for{f' by {who}' if who else ''}{f': {why}' if why else ''}"


def _targets(targets: Sequence[TargetView]) -> RenderableType:
    """Without the failures' words, which need more room than a column."""
    known = any(target.in_traffic is not None for target in targets)
    rows = [
        (
            target.batch,
            target.name,
            target.address,
            "back" if target.direction is Direction.BACK else "",
            status_text(target.status),
            seconds_text(target.duration_seconds),
            *([_SERVES[target.in_traffic]] if known else []),
            target.failure.code if target.failure else "",
        )
        for target in targets
    ]
    traffic = ["traffic"] if known else []
    return table("batch", "target", "address", "", "status", "time", *traffic, "failure", rows=rows)


def _failures(targets: Sequence[TargetView]) -> Iterator[RenderableType]:
    """What is wrong with each target, once for those with which the same is wrong."""
    reported: dict[str, tuple[str, list[str]]] = {}
    for target in targets:
        if target.failure:
            message = target.failure.message
            reported.setdefault(message.partition(LAST_WORDS)[0], (message, []))[1].append(target.name)
    for message, names in list(reported.values())[:_TOLD]:
        yield ""
        yield paragraph(text(", ".join(names), "bold"), text(f": {message}"))
    if len(reported) > _TOLD:
        yield text(f"… and {len(reported) - _TOLD} others: vesemir status ID --json has all of them")


def _parked(destinations: Sequence[DestinationView]) -> RenderableType:
    rows = [
        (each.reply_to or "(the events exchange)", each.correlation_id, each.due, each.reason) for each in destinations
    ]
    return table("reply_to", "correlation_id", "events due", "reason", rows=rows)
