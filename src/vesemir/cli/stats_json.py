"""Statistics for programs: every count, and the rates that follow from them."""

from dataclasses import asdict
from typing import Any

from vesemir.domain.statistics import Question, Statistics, StatisticsGroup, StatisticsTally

Json = dict[str, Any]


def statistics_json(question: Question, found: Statistics) -> Json:
    """``previous`` is null where there is no time before. Rates are 0 to 1, null of nothing; times in seconds."""
    return {
        "since": found.since,
        "until": found.until,
        "previous_since": found.before if found.previous else None,
        "filters": {
            "application": question.application,
            "environment": question.environment,
            "team": question.team,
            "recipe": question.recipe,
            "selector": question.selector,
        },
        "now": _tally(found.now),
        "previous": _tally(found.previous) if found.previous else None,
        "days": [asdict(day) for day in found.days],
        "groups": {
            grouping.value: [_group(group, compared=not grouping.is_time) for group in groups]
            for grouping, groups in found.groups.items()
        },
    }


def _group(group: StatisticsGroup, *, compared: bool) -> Json:
    before = {"previous": _tally(group.before)} if compared else {}
    return {"name": group.name or None, "now": _tally(group.now), **before}


def _tally(tally: StatisticsTally) -> Json:
    return {
        "deployments": tally.deployments,
        "defects": tally.defects,
        "defect_rate": _rounded(tally.defect_rate),
        "success_rate": _rounded(tally.success_rate),
        "target_failure_rate": _rounded(tally.target_failure_rate),
        "target_serving_rate": _rounded(tally.target_serving_rate),
        **asdict(tally),
    }


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 5)
