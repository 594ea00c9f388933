"""``vesemir history``: deployments, newest first."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from vesemir.adapters.postgres import Reader
from vesemir.cli.filters import HowMany, OnlyApplication, OnlyEnvironment
from vesemir.cli.identity import asker_text
from vesemir.cli.moment import moment_of
from vesemir.cli.output import console, print_json, seconds_text, show, table
from vesemir.cli.record import read
from vesemir.cli.state_words import state_text
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.views import DeploymentSummary

_WIDE = 120
"""Columns that the table with everything needs at least."""


def history_command(
    application: OnlyApplication = None,
    environment: OnlyEnvironment = None,
    status: Annotated[DeploymentState | None, typer.Option("--status", help="Only in this state.")] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="NAME", help="Only of this team.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Accepted since then: 2026-11-01, or 12h, 7d ago.")
    ] = None,
    limit: HowMany = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List deployments, newest first."""

    begin = moment_of("--since", since, now=datetime.now(UTC))

    async def work(reader: Reader) -> list[DeploymentSummary]:
        return await reader.deployments(
            limit=limit,
            application=application,
            environment=environment,
            state=status.value if status else None,
            team=team,
            since=begin,
        )

    found = read(work)
    if as_json:
        print_json([each.as_json() for each in found])
    elif found:
        show(deployments_table(found))
    else:
        show("No such deployment is in the record.")


def deployments_table(deployments: Iterable[DeploymentSummary]) -> Table:
    """A narrow terminal gets what matters most, and ids, states and moments are never broken."""
    if console().width < _WIDE:
        return _narrow(deployments)
    rows = [
        (
            each.deployment_id,
            each.application,
            each.environment,
            each.version,
            state_text(each),
            moment_text(each.accepted_at),
            seconds_text(each.duration_seconds),
            asker_text(each.requested_by, each.identity),
            each.failure.code if each.failure else "",
        )
        for each in deployments
    ]
    columns = (
        "deployment",
        "application",
        "environment",
        "version",
        "state",
        "accepted (UTC)",
        "time",
        "by",
        "failure",
    )
    return table(*columns, rows=rows)


def _narrow(deployments: Iterable[DeploymentSummary]) -> Table:
    rows = [
        (
            each.deployment_id,
            state_text(each),
            short_moment(each.accepted_at),
            each.what + (f": {each.failure.code}" if each.failure else ""),
        )
        for each in deployments
    ]
    made = table("deployment", "state", "accepted", "what", rows=rows)
    for column in made.columns[:3]:
        column.no_wrap = True
    return made


def moment_text(moment: str | None) -> str:
    """``2026-11-23 14:02:12``, in UTC as it was recorded."""
    return "-" if moment is None else moment[:19].replace("T", " ")


def short_moment(moment: str | None) -> str:
    """``11-23 14:02``."""
    return moment_text(moment)[5:16] or "-"
