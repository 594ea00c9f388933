"""Statistics for people: what ended, against the time before; the days as bars; and a table per grouping."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table

from vesemir.cli.output import seconds_text, table, text
from vesemir.domain.statistics import (
    Day,
    Question,
    Statistics,
    StatisticsGroup,
    StatisticsGrouping,
    StatisticsTally,
    difference,
    merged,
    relative_change,
    share,
)

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 60
"""With their label they fit into 80 columns."""
_WIDE = 100
_NOTEWORTHY = 0.0005
"""Differences of rates below a twentieth of a point are none."""


def statistics_parts(
    question: Question, found: Statistics, *, most: int | None, width: int
) -> Iterator[RenderableType]:
    """``most`` lines per table, None is all; ``width`` in columns."""
    yield text(_heading(question, found), "bold")
    if not found.now.deployments and not found.now.dry_runs:
        yield text("No deployment ended in that time.")
        return
    yield ""
    yield _summary(found)
    if len(found.days) > 1:
        yield ""
        yield from _bars(found.days)
    for grouping, groups in found.groups.items():
        shown = [group for group in groups if _matters(grouping, group, asked=most is None)][:most]
        if shown:
            yield ""
            yield (
                _by_failure(shown, found)
                if grouping is StatisticsGrouping.FAILURE
                else _by(grouping, shown, width=width)
            )
        if len(shown) < len(groups) and most is not None and len(shown) == most:
            yield text(f"… {len(groups) - len(shown)} more: vesemir stats --by {grouping.value}", "dim")


def _heading(question: Question, found: Statistics) -> str:
    only = ", ".join(
        str(each)
        for each in (
            question.application,
            question.environment and f"in {question.environment}",
            question.team and f"team {question.team}",
            question.recipe and f"recipe {question.recipe}",
            question.selector,
        )
        if each
    )
    of = f" of {only}" if only else ""
    return f"Deployments{of} that ended from {_moment(found.since)} to {_moment(found.until)} UTC"


def _moment(moment: str) -> str:
    return moment[:16].replace("T", " ").removesuffix(" 00:00")


def _matters(grouping: StatisticsGrouping, group: StatisticsGroup, *, asked: bool) -> bool:
    """Unasked, an application without defects says nothing; and a time before alone is no line."""
    if not group.now.deployments and not group.before.defects:
        return False
    return asked or grouping.is_time or group.now.defects > 0


# --- the summary ----------------------------------------------------------------------------------------------------


def _summary(found: Statistics) -> RenderableType:
    now, before = found.now, found.previous or StatisticsTally()
    serving = f"{now.targets_serving:,} of {now.targets_serving + now.targets_unserved:,} that have the release"
    failed_targets = f"{now.targets_failed:,} of {now.targets:,}"
    asked = now.target_serving_rate is not None or before.target_serving_rate is not None
    lines = [
        _counted("ended", now.deployments, before.deployments),
        _rated("succeeded", now.success_rate, before.success_rate, f"{now.succeeded:,} of {now.rated:,}"),
        _rated("defect rate", now.defect_rate, before.defect_rate, _kinds(now)),
        _counted("cancelled", now.cancelled, before.cancelled),
        _counted("dry runs", now.dry_runs, before.dry_runs),
        _counted("targets", now.targets, before.targets),
        _rated("targets failed", now.target_failure_rate, before.target_failure_rate, failed_targets),
        *([_rated("targets serving", now.target_serving_rate, before.target_serving_rate, serving)] if asked else []),
        _timed("took, p50", now.duration_p50, before.duration_p50),
        _timed("took, p95", now.duration_p95, before.duration_p95),
        _timed("waited, p50", now.wait_p50, before.wait_p50),
        _timed("waited, p95", now.wait_p95, before.wait_p95),
    ]
    if found.previous is None:
        shown = table("", "", "", rows=[(name, value, more) for name, value, _, _, more in lines])
        shown.show_header = False
        return shown
    shown = table("", "now", "before", "change", "", rows=lines)
    for column in shown.columns[1:4]:
        column.justify = "right"
    return shown


_Line = tuple[str, str, str, str, str]


def _counted(name: str, now: int, before: int) -> _Line:
    return name, f"{now:,}", f"{before:,}", _percent_change(relative_change(now, before)), ""


def _rated(name: str, now: float | None, before: float | None, more: str) -> _Line:
    return name, _percent(now), _percent(before), _points(difference(now, before)), more


def _timed(name: str, now: float | None, before: float | None) -> _Line:
    return name, seconds_text(now), seconds_text(before), _percent_change(relative_change(now, before)), ""


def _kinds(tally: StatisticsTally) -> str:
    """``12 failed, 3 rolled back``."""
    counts = {"failed": tally.failed, "timed out": tally.timed_out, "rolled back": tally.rolled_back}
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate * 100:.1f} %"


def _points(change: float | None) -> str:
    if change is None:
        return "-"
    return "same" if abs(change) < _NOTEWORTHY else f"{change * 100:+.1f} points"


def _percent_change(change: float | None) -> str:
    if change is None:
        return "-"
    whole = round(change * 100)
    return "same" if whole == 0 else f"{whole:+,} %"


# --- days as bars ---------------------------------------------------------------------------------------------------


def _bars(days: Sequence[Day]) -> Iterator[RenderableType]:
    shown = merged(days, _MOST_BARS)
    rates = [share(day.defects, day.rated) for day in shown]
    first, last = shown[0].day, days[-1].day
    each = "day" if len(shown) == len(days) else f"{-(-len(days) // len(shown))} days"
    yield text(f"deployments  {_bar_line([day.rated for day in shown])}  at most {max(day.rated for day in shown):,}")
    worst = max((rate for rate in rates if rate is not None), default=None)
    yield text(f"defect rate  {_bar_line(rates)}  at most {_percent(worst)}", "red")
    edge = max(len(shown) - len(first) - len(last), 1)
    yield text(f"per {each:<8} {first}{' ' * edge}{last}", "dim")


def _bar_line(values: Sequence[float | None]) -> str:
    """A character each, from 0 to the highest; a dot where there is nothing."""
    highest = max((value for value in values if value), default=0)
    return "".join(_bar(value, highest) for value in values)


def _bar(value: float | None, highest: float) -> str:
    if not value:
        return "·" if value is None else "▁" if highest else "·"
    return _BARS[min(int(value / highest * (len(_BARS) - 1)) + 1, len(_BARS) - 1)]


# --- a table per grouping -------------------------------------------------------------------------------------------


_COLUMNS: Mapping[str, Callable[[StatisticsGroup], str]] = {
    "ended": lambda group: f"{group.now.deployments:,}",
    "defects": lambda group: f"{group.now.defects:,}",
    "rate": lambda group: _percent(group.now.defect_rate),
    "before": lambda group: _percent(group.before.defect_rate),
    "took p50": lambda group: seconds_text(group.now.duration_p50),
    "p95": lambda group: seconds_text(group.now.duration_p95),
    "targets": lambda group: f"{group.now.targets:,}",
    "failed": lambda group: f"{group.now.targets_failed:,}",
}


def _by(grouping: StatisticsGrouping, groups: Sequence[StatisticsGroup], *, width: int) -> RenderableType:
    """A narrow terminal goes without the targets."""
    left_out = {"before"} if grouping.is_time else set()
    if width < _WIDE:
        left_out |= {"targets", "failed"}
    columns = [name for name in _COLUMNS if name not in left_out]
    rows = [(group.name or "(none)", *(_COLUMNS[name](group) for name in columns)) for group in groups]
    return _right(table(grouping.value, *columns, rows=rows))


def _by_failure(groups: Sequence[StatisticsGroup], found: Statistics) -> RenderableType:
    """A code's share of all defects, and how many per hundred deployments it spoils."""
    rows = [
        (
            group.name,
            f"{group.now.deployments:,}",
            _percent(share(group.now.defects, found.now.defects)),
            _percent(share(group.now.defects, found.now.rated)),
            _percent(share(group.before.defects, found.previous.rated if found.previous else 0)),
        )
        for group in groups
    ]
    return _right(table("failure", "ended", "of defects", "rate", "before", rows=rows))


def _right(shown: Table) -> Table:
    for column in shown.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    return shown
