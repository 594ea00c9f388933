"""``vesemir status``: one deployment in full, or what goes on now."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from vesemir.adapters.postgres import Reader
from vesemir.cli.history import deployments_table, moment_text
from vesemir.cli.output import count, print_json, seconds_text, show, status_text, table, text
from vesemir.cli.record import JsonObject, read, view_of
from vesemir.cli.results import read_on
from vesemir.domain.states import ACTIVE, FINAL, DeploymentState

Json = Mapping[str, Any]

_GOING_ON = 1000
"""More active and waiting deployments than anybody looks through."""
_LAST = 10


def status_command(
    deployment_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A deployment; without it, what goes on and the last ten.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show one deployment: its state, who runs it, its targets and failures. Or what goes on, and the last ten."""
    if deployment_id is None:
        _overview(as_json=as_json)
        return
    view = read(lambda reader: view_of(reader, deployment_id))
    if as_json:
        print_json(view)
    else:
        show(*view_parts(view))


def _overview(*, as_json: bool) -> None:
    going_on, last = read(_now_and_last)
    if as_json:
        print_json({"going_on": going_on, "last": last})
        return
    if not going_on and not last:
        show("There is no deployment in the record yet.")
        return
    show(f"{count(len(going_on), 'deployment')} active or waiting" + (":" if going_on else "."))
    if going_on:
        show(deployments_table(going_on))
    if last:
        show("", f"The last {count(len(last), 'deployment')} that ended:", deployments_table(last))


async def _now_and_last(reader: Reader) -> tuple[list[JsonObject], list[JsonObject]]:
    """Newest first, both."""
    going_on: list[JsonObject] = []
    for state in (*sorted(ACTIVE), DeploymentState.PENDING):
        going_on += await reader.deployments(limit=_GOING_ON, state=state.value)
    last: list[JsonObject] = []
    for state in sorted(FINAL):
        last += await reader.deployments(limit=_LAST, state=state.value)
    newest = sorted(last, key=lambda each: each["finished_at"] or "", reverse=True)
    return going_on, newest[:_LAST]


def view_parts(view: Json) -> Iterator[RenderableType]:
    """Everything that a person on call wants to see of one deployment."""
    yield _summary(view)
    if view["targets"]:
        yield ""
        yield _targets(view["targets"])
    parked = [each for each in view["destinations"] if each["parked_at"]]
    if parked:
        yield ""
        yield text("Given up: these destinations did not take their events (a repeat of the request tries again).")
        yield _parked(parked)
    failures = [target["failure"] for target in view["targets"]]
    hints = list(read_on(view["failure"], failures))
    if hints:
        yield ""
        yield from hints


def _summary(view: Json) -> RenderableType:
    dry = " (dry run)" if view["request"].get("dry_run") else ""
    rows: list[tuple[object, object]] = [
        ("deployment", view["deployment_id"]),
        ("what", f"{view['version']} of {view['application']} in {view['environment']}, recipe {view['recipe']}{dry}"),
        ("state", status_text(view["state"])),
    ]
    if view["failure"]:
        rows.append(("failure", f"{view['failure']['code']}: {view['failure']['message']}"))
    rows += [(name, _wish(view[name])) for name in ("cancel", "pause") if view[name] is not None]
    rows += [
        ("run by", _owner(view)),
        ("asked for by", _asker(view)),
        ("accepted", f"{moment_text(view['accepted_at'])} UTC, waited {seconds_text(view['queued_seconds'])}"),
        ("ran for", f"{seconds_text(view['duration_seconds'])}, {count(view['steps_total'], 'step')}"),
    ]
    if view["takeovers"]:
        rows.append(("taken over", f"{count(view['takeovers'], 'time')}, last by epoch {view['epoch']}"))
    shown = table("", "", rows=rows)
    shown.show_header = False
    return shown


def _owner(view: Json) -> str:
    if view["owner"]:
        return f"{view['owner']} (lease until {moment_text(view['lease_expires_at'])} UTC)"
    if view["state"] in FINAL:
        return f"nobody any more (last {view['last_owner'] or 'nobody'})"
    return "nobody now: it waits for an instance that is free"


def _asker(view: Json) -> str:
    verified = f" (RabbitMQ user {view['user_id']})" if view["user_id"] else ""
    return f"{view['requested_by'] or '-'}{verified}"


def _wish(wish: Json) -> str:
    who, why = wish.get("requested_by"), wish.get("reason")
    return f"asked for{f' by {who}' if who else ''}{f': {why}' if why else ''}"


def _targets(targets: list[Json]) -> RenderableType:
    rows = [
        (
            target["batch"],
            target["name"],
            target["address"],
            "back" if target["direction"] == "back" else "",
            status_text(target["status"]),
            seconds_text(target["duration_seconds"]),
            f"{target['failure']['code']}: {target['failure']['message']}" if target["failure"] else "",
        )
        for target in targets
    ]
    return table("batch", "target", "address", "", "status", "time", "failure", rows=rows)


def _parked(destinations: list[Json]) -> RenderableType:
    rows = [
        (each["reply_to"] or "(the events exchange)", each["correlation_id"], each["due"], each["reason"])
        for each in destinations
    ]
    return table("reply_to", "correlation_id", "events due", "reason", rows=rows)
