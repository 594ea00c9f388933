"""Statistics of the deployments that ended, as PostgreSQL counts them. Nothing here locks or writes."""

from collections.abc import Mapping, Sequence

from asyncpg import Record as Row

from vesemir.adapters.postgres.rows import timestamp
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.statistics import (
    Day,
    Question,
    Statistics,
    StatisticsGroup,
    StatisticsGrouping,
    StatisticsTally,
    in_order,
)


async def statistics(connection: Connection, question: Question) -> Statistics:
    """Counted one after the other: what ends meanwhile is after ``until``."""
    period = await statements().statistics_period.row(
        connection,
        days=question.days,
        first_day=question.first_day,
        last_day=question.last_day,
        all_days=question.all_days,
    )
    assert period is not None  # noqa: S101 -- it selects from what is always one row
    within = {"since": period["since"], "until": period["until"]}
    which = {
        "application": question.application,
        "environment": question.environment,
        "team": question.team,
        "recipe": question.recipe,
        "selector": question.selector,
    }
    now = await _totals(connection, which, since=period["since"], until=period["until"])
    previous = None
    if period["before"] < period["since"]:
        previous = await _totals(connection, which, since=period["before"], until=period["since"])
    days = await statements().statistics_days.rows(connection, **within, **which)
    groups: dict[StatisticsGrouping, Sequence[StatisticsGroup]] = {}
    for grouping in question.by:
        before = period["since"] if grouping.is_time else period["before"]
        rows = await statements().statistics_groups.rows(
            connection, **within, before=before, by=grouping.value, **which
        )
        groups[grouping] = in_order(grouping, _groups(rows))
    return Statistics(
        since=timestamp(period["since"]) or "",
        until=timestamp(period["until"]) or "",
        before=timestamp(period["before"]) or "",
        now=now,
        previous=previous,
        days=[Day(row["day"], row["rated"], row["defects"]) for row in days],
        groups=groups,
    )


async def _totals(
    connection: Connection, which: Mapping[str, object], *, since: object, until: object
) -> StatisticsTally:
    (row,) = await statements().statistics_totals.rows(connection, since=since, until=until, **which)
    return _tally(row)


def _groups(rows: Sequence[Row]) -> Sequence[StatisticsGroup]:
    found: dict[str, dict[bool, StatisticsTally]] = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["is_now"]] = _tally(row)
    return [
        StatisticsGroup(name, of.get(True, StatisticsTally()), of.get(False, StatisticsTally()))
        for name, of in found.items()
    ]


def _tally(row: Row) -> StatisticsTally:
    durations, waits = row["durations"] or (None, None), row["waits"] or (None, None)
    return StatisticsTally(
        succeeded=row["succeeded"],
        failed=row["failed"],
        timed_out=row["timed_out"],
        rolled_back=row["rolled_back"],
        cancelled=row["cancelled"],
        dry_runs=row["dry_runs"],
        targets=row["targets"],
        targets_failed=row["targets_failed"],
        targets_serving=row["targets_serving"],
        targets_unserved=row["targets_unserved"],
        duration_p50=durations[0],
        duration_p95=durations[1],
        wait_p50=waits[0],
        wait_p95=waits[1],
    )
