"""What a defect is, and the arithmetic over deployments that ended."""

import pytest

from vesemir.domain.statistics import (
    Day,
    StatisticsGroup,
    StatisticsGrouping,
    StatisticsTally,
    difference,
    in_order,
    merged,
    relative_change,
    share,
)


def test_a_defect_is_a_release_that_is_not_where_it_was_asked_to_be() -> None:
    """Cancelled ones and dry runs are in no rate."""
    tally = StatisticsTally(succeeded=90, failed=6, timed_out=3, rolled_back=1, cancelled=50, dry_runs=1000)
    assert (tally.defects, tally.rated, tally.deployments) == (10, 100, 150)
    assert tally.defect_rate == pytest.approx(0.1)
    assert tally.success_rate == pytest.approx(0.9)


def test_of_nothing_there_is_no_rate() -> None:
    assert StatisticsTally(cancelled=3).defect_rate is None
    assert StatisticsTally().target_failure_rate is None
    assert StatisticsTally(targets=9).target_serving_rate is None
    assert StatisticsTally(targets=9, targets_serving=3, targets_unserved=1).target_serving_rate == 0.75
    assert share(0, 5) == 0


def test_changes_need_something_before() -> None:
    assert relative_change(110, 100) == pytest.approx(0.1)
    assert relative_change(5, 0) is None
    assert relative_change(None, 3) is None
    assert difference(0.02, 0.05) == pytest.approx(-0.03)
    assert difference(0.02, None) is None


def test_many_days_become_few_and_none_is_lost() -> None:
    days = [Day(f"2026-01-{number:02}", rated=number, defects=1) for number in range(1, 32)]
    few = merged(days, 10)
    assert len(few) == 8
    assert (few[0].day, few[1].day) == ("2026-01-01", "2026-01-05")
    assert sum(day.rated for day in few) == sum(day.rated for day in days)
    assert sum(day.defects for day in few) == 31
    assert merged(days, 31) == days
    assert merged([], 10) == []


def test_the_worst_come_first_and_time_as_it_goes() -> None:
    groups = [
        StatisticsGroup("b", StatisticsTally(succeeded=5, failed=1), StatisticsTally()),
        StatisticsGroup("a", StatisticsTally(succeeded=5, failed=1), StatisticsTally()),
        StatisticsGroup("busy", StatisticsTally(succeeded=50, failed=1), StatisticsTally()),
        StatisticsGroup("worst", StatisticsTally(failed=2), StatisticsTally()),
    ]
    assert [group.name for group in in_order(StatisticsGrouping.TEAM, groups)] == ["worst", "busy", "a", "b"]
    assert [group.name for group in in_order(StatisticsGrouping.WEEK, groups)] == ["a", "b", "busy", "worst"]
