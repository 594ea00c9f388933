"""``vesemir rollback``: an ordinary deployment of the release that was good before, found in the record."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vesemir.adapters.postgres import Reader
from vesemir.cli.complaint import ProblemsError
from vesemir.cli.configuration import load_settings
from vesemir.cli.deploy import AsJson, Follow, Timeout, deployed
from vesemir.cli.event import judged, parameters_from_files
from vesemir.cli.history import moment_text
from vesemir.cli.identity import new_deployment_id, who_asks
from vesemir.cli.output import say
from vesemir.cli.record import JsonObject, read
from vesemir.domain.failure import VesemirError
from vesemir.domain.hiding import HIDDEN
from vesemir.domain.states import FINAL

Json = Mapping[str, Any]

_PAGE = 50


@dataclass(frozen=True, slots=True)
class WayBack:
    """``good`` is the deployment whose request is made again; ``newest`` the one that it goes back from.

    ``waiting`` is whether something of the lane has not ended yet, which goes first.
    """

    newest: Json
    good: Json
    waiting: bool


def rollback_command(
    application: Annotated[str, typer.Argument(metavar="APPLICATION")],
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: see what stands in the way.")] = False,
    deployment_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The deployment_id.  [default: a new one]")
    ] = None,
    parameter_files: Annotated[
        list[str] | None,
        typer.Option(
            "--set-file", metavar="KEY=FILE", help="A secret parameter from a file: the record has forgotten it."
        ),
    ] = None,
    follow: Follow = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Deploy the previous good release again: the last version that succeeded before the one deployed last.

    Recipe, parameters, targets, HAProxy and rollout are those of its own deployment. Nothing is asked; what it will do
    is said first. A dry run is followed until its end.
    """
    settings = load_settings()
    way = read(lambda reader: way_back(reader, application, environment), settings=settings)
    new_id = deployment_id or new_deployment_id()
    request = request_again(way.good, deployment_id=new_id, dry_run=dry_run)
    given = parameters_from_files(parameter_files)
    if given or "parameters" in request:
        request["parameters"] = with_secrets(request.get("parameters", {}), given)
    event = judged(request, settings)
    for line in _told(way, new_id, dry_run=dry_run):
        say(line)
    raise typer.Exit(deployed(settings, event, follow=follow or dry_run, timeout=timeout, as_json=as_json))


async def way_back(reader: Reader, application: str, environment: str) -> WayBack:
    """From the newest deployment that began, to the newest success of another version; dry runs do not count.

    Raises ``VesemirError`` when there is nothing to go back from or to.
    """
    where = f"{application} in {environment}"
    newest: JsonObject | None = None
    waiting = False
    async for each in _newest_first(reader, application, environment):
        waiting = waiting or each["state"] not in FINAL
        if newest is None:
            if each["started_at"] is not None and not await _is_dry_run(reader, each):
                newest = each
        elif each["version"] != newest["version"] and each["state"] == "succeeded":
            view = await reader.deployment_view(each["deployment_id"])
            if view is not None and not view["request"].get("dry_run"):
                return WayBack(newest, view, waiting)
    if newest is None:
        raise VesemirError(f"nothing was deployed of {where} yet; `vesemir history` lists what was")
    raise VesemirError(
        f"no other release than {newest['version']} ever succeeded for {where}: deploy the one you want with "
        "`vesemir deploy`"
    )


async def _newest_first(reader: Reader, application: str, environment: str) -> AsyncIterator[JsonObject]:
    before: str | None = None
    while True:
        page = await reader.deployments(limit=_PAGE, before=before, application=application, environment=environment)
        for each in page:
            yield each
        if len(page) < _PAGE:
            return
        before = page[-1]["deployment_id"]


async def _is_dry_run(reader: Reader, deployment: Json) -> bool:
    view = await reader.deployment_view(deployment["deployment_id"])
    return view is None or bool(view["request"].get("dry_run"))


def request_again(good: Json, *, deployment_id: str, dry_run: bool) -> JsonObject:
    """The request of that deployment under a new id."""
    return {
        **good["request"],
        "deployment_id": deployment_id,
        "requested_by": who_asks(),
        "dry_run": dry_run,
    }


def with_secrets(recorded: Json, given: Json) -> JsonObject:
    """The recorded parameters and those given now. Raises ``ProblemsError`` for secrets that are missing."""
    parameters = {**recorded, **given}
    missing = [name for name, value in parameters.items() if value == HIDDEN]
    if missing:
        raise ProblemsError(
            [f"{name} is secret and not in the record: give --set-file {name}=FILE" for name in missing]
        )
    return parameters


def _told(way: WayBack, deployment_id: str, *, dry_run: bool) -> list[str]:
    good, newest = way.good, way.newest
    what = f"{good['application']} in {good['environment']}"
    first = (
        f"{'trying out' if dry_run else 'rolling back'} {what} from {newest['version']} ({newest['state']}) to "
        f"{good['version']}, as {good['deployment_id']} deployed it on {moment_text(good['finished_at'])} UTC; "
        f"the new deployment is {deployment_id}"
    )
    if not way.waiting:
        return [first]
    return [first, "something of it has not ended yet and goes first; `vesemir status` shows it"]
