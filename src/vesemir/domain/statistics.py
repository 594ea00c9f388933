"""What is counted over deployments that ended, and what a defect is (``docs/statistics.md``). Only arithmetic.

A *defect* is a deployment that ended ``failed``, ``timed_out`` or ``rolled_back``: the release is not where it was
asked to be. The *defect rate* is their share of all that ended, without those that somebody cancelled (a decision, no
defect) and without dry runs (they deploy nothing). What was refused never became a deployment and is not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class StatisticsGrouping(StrEnum):
    """What deployments can be grouped by. A deployment with several selectors counts under each of them."""

    APPLICATION = "application"
    ENVIRONMENT = "environment"
    TEAM = "team"
    RECIPE = "recipe"
    SELECTOR = "selector"
    FAILURE = "failure"
    STATUS = "status"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def is_time(self) -> bool:
        """Days, weeks and months have no time before to compare with: the line above them is that."""
        return self in {StatisticsGrouping.DAY, StatisticsGrouping.WEEK, StatisticsGrouping.MONTH}


@dataclass(frozen=True, slots=True)
class Question:
    """Which deployments are counted. Days are UTC days as ``2026-11-25``, the last one is included.

    ``days`` counts back from the last day unless ``first_day`` is given; ``all_days`` goes before both.
    """

    days: int = 30
    first_day: str | None = None
    last_day: str | None = None
    all_days: bool = False
    application: str | None = None
    environment: str | None = None
    team: str | None = None
    recipe: str | None = None
    selector: str | None = None
    by: Sequence[StatisticsGrouping] = ()


@dataclass(frozen=True, slots=True)
class StatisticsTally:
    """Counts of deployments that ended, and times in seconds. Everything but ``dry_runs`` is without dry runs.

    ``duration_p50`` and ``_p95`` are of those that succeeded: one that fails at its first target is quick. The waits
    are counted over the whole only, not for each group. ``targets_serving`` and ``_unserved`` succeeded, with and
    without traffic at their end; where it is not known a target is in neither.
    """

    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    rolled_back: int = 0
    cancelled: int = 0
    dry_runs: int = 0
    targets: int = 0
    targets_failed: int = 0
    targets_serving: int = 0
    targets_unserved: int = 0
    duration_p50: float | None = None
    duration_p95: float | None = None
    wait_p50: float | None = None
    wait_p95: float | None = None

    @property
    def defects(self) -> int:
        return self.failed + self.timed_out + self.rolled_back

    @property
    def rated(self) -> int:
        """What the rates are a share of: everything that ended but what was cancelled."""
        return self.succeeded + self.defects

    @property
    def deployments(self) -> int:
        return self.rated + self.cancelled

    @property
    def defect_rate(self) -> float | None:
        """0 to 1; None of nothing."""
        return share(self.defects, self.rated)

    @property
    def success_rate(self) -> float | None:
        return share(self.succeeded, self.rated)

    @property
    def target_serving_rate(self) -> float | None:
        """Of the targets that have the release, those that get traffic."""
        return share(self.targets_serving, self.targets_serving + self.targets_unserved)

    @property
    def target_failure_rate(self) -> float | None:
        return share(self.targets_failed, self.targets)


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day; ``rated`` as in ``StatisticsTally``."""

    day: str
    rated: int
    defects: int


@dataclass(frozen=True, slots=True)
class StatisticsGroup:
    """One value of what was grouped by; the empty name is "none". ``before`` is the time before, equally long."""

    name: str
    now: StatisticsTally
    before: StatisticsTally


@dataclass(frozen=True, slots=True)
class Statistics:
    """The answer. Moments are RFC 3339 in UTC; ``until`` is not included any more."""

    since: str
    until: str
    before: str
    now: StatisticsTally
    previous: StatisticsTally | None
    days: Sequence[Day]
    groups: dict[StatisticsGrouping, Sequence[StatisticsGroup]]


def share(part: int, whole: int) -> float | None:
    """None where there is nothing to have a share of."""
    return part / whole if whole else None


def relative_change(now: float | None, before: float | None) -> float | None:
    """0.1 is a tenth more; None where there is nothing to compare with."""
    if now is None or not before:
        return None
    return now / before - 1


def difference(now: float | None, before: float | None) -> float | None:
    """Of two rates."""
    return None if now is None or before is None else now - before


def merged(days: Sequence[Day], most: int) -> Sequence[Day]:
    """At most ``most`` of them: equally many neighbours become one, named by its first day."""
    each = max(1, -(-len(days) // most))
    return [
        Day(part[0].day, sum(day.rated for day in part), sum(day.defects for day in part))
        for part in (days[start : start + each] for start in range(0, len(days), each))
    ]


def in_order(grouping: StatisticsGrouping, groups: Sequence[StatisticsGroup]) -> Sequence[StatisticsGroup]:
    """Time as it goes by; anything else by how many defects it has, then by how many deployments."""
    if grouping.is_time:
        return sorted(groups, key=lambda group: group.name)
    return sorted(groups, key=lambda group: (-group.now.defects, -group.now.deployments, group.name))
