"""``vesemir stats``: how many deployments ended as what, and whether it becomes better."""

from datetime import date
from typing import Annotated

import typer

from vesemir.cli.complaint import UsageError
from vesemir.cli.filters import OnlyApplication, OnlyEnvironment
from vesemir.cli.output import console, print_json, show
from vesemir.cli.record import read
from vesemir.domain.statistics import Question, StatisticsGrouping

_DEFAULT = (StatisticsGrouping.FAILURE, StatisticsGrouping.APPLICATION)


def stats_command(  # noqa: PLR0917 -- typer passes all of them by name
    days: Annotated[int, typer.Option("--days", "-d", metavar="N", min=1, max=3650, help="The last N days.")] = 30,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="From that day on, 2026-11-01 for instance.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="To the end of that day.  [default: now]")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Since the first deployment.")] = False,
    by: Annotated[
        list[StatisticsGrouping] | None,
        typer.Option(
            "--by",
            metavar="WHAT",
            help=f"A table by {', '.join(StatisticsGrouping)}; may be repeated.  [default: failure, application]",
        ),
    ] = None,
    application: OnlyApplication = None,
    environment: OnlyEnvironment = None,
    team: Annotated[str | None, typer.Option("--team", metavar="NAME", help="Only of this team.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", "-r", metavar="NAME", help="Only with this recipe.")] = None,
    selector: Annotated[
        str | None,
        typer.Option("--selector", metavar="WHAT", help="Only with this selector, tag:shop-web or group:web."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show how many deployments succeeded and how many were defects, against the same time before.

    A defect ended failed, timed_out or rolled_back. The defect rate is their share of all that ended, without what was
    cancelled and without dry runs. Days are UTC days; a deployment counts on the day on which it ended.
    """
    question = Question(
        days=days,
        first_day=_day("--since", since),
        last_day=_day("--until", until),
        all_days=everything,
        application=application,
        environment=environment,
        team=team,
        recipe=recipe,
        selector=selector,
        by=tuple(dict.fromkeys(by or _DEFAULT)),
    )
    if since and until and since > until:
        raise UsageError(f"--since {since} is after --until {until}")
    if everything and (since or until):
        raise UsageError("--all is every day: leave --since and --until out")
    found = read(lambda reader: reader.statistics(question))
    if as_json:
        from vesemir.cli.stats_json import statistics_json  # noqa: PLC0415 -- each form costs its own imports

        print_json(statistics_json(question, found))
    else:
        from vesemir.cli.stats_tables import statistics_parts  # noqa: PLC0415 -- as above

        show(*statistics_parts(question, found, most=None if by else _FEW, width=console().width))


_FIRST_YEAR = 2000
_FEW = 5
"""Lines of a table that nobody asked for."""


def _day(option: str, given: str | None) -> str | None:
    if given is None:
        return None
    try:
        day = date.fromisoformat(given)
    except ValueError as error:
        raise UsageError(f"{option} {given}: write a day as 2026-11-25") from error
    if day.year < _FIRST_YEAR:
        raise UsageError(f"{option} {given}: no deployment is as old as that")
    return day.isoformat()
