"""``vesemir rollback``: an ordinary deployment of the release that was good before, found in the record."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vesemir.cli.complaint import ProblemsError, UsageError
from vesemir.cli.configuration import load_settings
from vesemir.cli.deploy import AsJson, Follow, Timeout, deployed
from vesemir.cli.event import judged, parameters_from_files, parameters_of
from vesemir.cli.history import moment_text
from vesemir.cli.identity import new_deployment_id, who_asks
from vesemir.cli.output import print_json, say
from vesemir.cli.record import read
from vesemir.domain.failure import VesemirError
from vesemir.domain.hiding import HIDDEN
from vesemir.domain.states import FINAL
from vesemir.domain.way_back import NoWayBackError, Past, find_way_back
from vesemir.engine.ports.views import LaneDeployment

Json = Mapping[str, Any]

MOST = 500
"""Deployments of a lane that are looked at, newest first."""


def rollback_command(
    application: Annotated[str, typer.Argument(metavar="APPLICATION")],
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT")],
    *,
    version: Annotated[
        str | None,
        typer.Option("--to", metavar="VERSION", help="The release to go back to.  [default: the previous good one]"),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A parameter, instead of the recorded one; see deploy."),
    ] = None,
    parameter_files: Annotated[
        list[str] | None,
        typer.Option(
            "--set-file", metavar="KEY=FILE", help="A secret parameter from a file: the record has forgotten it."
        ),
    ] = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the deploy event, for another program to publish; deploy nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: see what stands in the way.")] = False,
    deployment_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The deployment_id.  [default: a new one]")
    ] = None,
    follow: Follow = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Deploy the previous good release again: the one that was served before the one that is served now.

    Good is what succeeded and what nobody has gone back from since. Recipe, parameters, HAProxy and rollout are those
    of its own deployment; the targets are those of the one that it replaces. Nothing is asked; what it will do is said
    first. A dry run is followed until its end.
    """
    if only_print and (follow or as_json or timeout is not None):
        raise UsageError("--print deploys nothing: leave out --follow, --json and --timeout")
    settings = load_settings()
    history = read(lambda reader: reader.lane_history(application, environment, limit=MOST), settings=settings)
    if not history:
        raise VesemirError(
            f"nothing was deployed of {application} in {environment} yet; `vesemir history` lists what was"
        )
    standing, good = way_back(history, version)
    made = request_again(standing, good, deployment_id=deployment_id or new_deployment_id(), dry_run=dry_run)
    given = parameters_of(parameters or (), good.recipe, settings) | parameters_from_files(parameter_files)
    if given or "parameters" in made:
        made["parameters"] = with_secrets(made.get("parameters", {}), given)
    event = judged(made, settings)
    for line in _reported(standing, good, made, waiting=any(each.state not in FINAL for each in history)):
        say(line)
    if only_print:
        print_json(made)
        return
    raise typer.Exit(deployed(settings, event, follow=follow or dry_run, timeout=timeout, as_json=as_json))


def way_back(history: Sequence[LaneDeployment], version: str | None) -> tuple[LaneDeployment, LaneDeployment]:
    """(what stands now, what to deploy again). ``history`` is the record's, newest first. Raises ``VesemirError``."""
    by_id = {each.deployment_id: each for each in history}
    begun = [_past(each) for each in reversed(history) if each.started_at is not None]
    try:
        way = find_way_back(begun, version=version)
    except NoWayBackError as error:
        newest = history[0]
        raise VesemirError(f"{newest.application} in {newest.environment}: {error}") from error
    return by_id[way.standing.deployment_id], by_id[way.good.deployment_id]


def _past(deployment: LaneDeployment) -> Past:
    return Past(
        deployment_id=deployment.deployment_id,
        version=deployment.version,
        state=deployment.state,
        selector=deployment.request["targets"],
        targets=deployment.targets,
        left=deployment.touched - deployment.brought_back,
    )


def request_again(
    standing: LaneDeployment, good: LaneDeployment, *, deployment_id: str, dry_run: bool
) -> dict[str, Any]:
    """The good release's request under a new id, for the targets of what stands now."""
    made = {
        **good.request,
        "deployment_id": deployment_id,
        "requested_by": who_asks(),
        "dry_run": dry_run,
    }
    if standing.request["targets"] != made["targets"]:
        made["targets"] = standing.request["targets"]
        # How few would be too few was said of other targets.
        made["rollout"] = {name: value for name, value in made.get("rollout", {}).items() if name != "min_targets"}
    return made


def with_secrets(recorded: Json, given: Json) -> dict[str, Any]:
    """The recorded parameters and those given now. Raises ``ProblemsError`` for secrets that are missing."""
    parameters = {**recorded, **given}
    missing = [name for name, value in parameters.items() if value == HIDDEN]
    if missing:
        raise ProblemsError(
            [f"{name} is secret and not in the record: give --set-file {name}=FILE" for name in missing]
        )
    return parameters


def _reported(standing: LaneDeployment, good: LaneDeployment, made: Json, *, waiting: bool) -> list[str]:
    what = f"{good.application} in {good.environment}"
    first = (
        f"{'trying out' if made['dry_run'] else 'rolling back'} {what} from {standing.version} "
        f"({standing.state}) to {good.version}, as {good.deployment_id} deployed it on "
        f"{moment_text(good.finished_at)} UTC; the new deployment is {made['deployment_id']}"
    )
    lines = [first]
    if good.recipe != standing.recipe:
        lines.append(f"by recipe {good.recipe}, as then; {standing.version} came by {standing.recipe}")
    if waiting:
        lines.append("something of it has not ended yet and goes first; `vesemir status` shows it")
    return lines
