"""A judgement as the output of the step ``analysis``: the verdict first, then every number; pure."""

from collections.abc import Iterator

from vesemir.domain.analysis import AnalysisRules, Figures, Held, Judgement, Verdict, percent
from vesemir.domain.response_time import MeanTime

_TITLE, _COLUMN = 18, 14


def written(judgement: Judgement, rules: AnalysisRules) -> str:
    """For people; ends with a line end."""
    lines = [f"{judgement.verdict.value}: {judgement.reason}", "", *_table(judgement.figures), ""]
    return "\n".join([*lines, *_tests(judgement.figures, rules), *_reported(judgement.figures)]) + "\n"


def regression_in(report: str) -> str:
    """The reason for the verdict ``fail``; empty if that is another verdict, or no report."""
    verdict, _, reason = report.partition("\n")[0].partition(": ")
    return reason if verdict == Verdict.FAIL else ""


def _table(figures: Figures) -> Iterator[str]:
    canary, siblings = figures.of_canary, figures.of_siblings
    counted = f"{figures.siblings} sibling{'' if figures.siblings == 1 else 's'}"
    for title, *cells in (
        ("", figures.canary, counted),
        ("requests", canary.requests, siblings.requests),
        ("5xx", canary.server_errors, siblings.server_errors),
        ("connection errors", canary.connection_errors, siblings.connection_errors),
        ("response errors", canary.response_errors, siblings.response_errors),
        ("error ratio", percent(canary.ratio), percent(siblings.ratio)),
        ("response time", _time(figures.canary_time), _time(figures.siblings_time)),
    ):
        yield "  ".join([f"{title:<{_TITLE}}", *(f"{cell:>{_COLUMN}}" for cell in cells)]).rstrip()


def _time(time: MeanTime | None) -> str:
    """How far it may be off is said where that matters."""
    if time is None:
        return "-"
    off = f" ± {time.error_ms:.0f}" if time.error_ms > max(5.0, time.mean_ms / 10) else ""
    return f"{time.mean_ms:.0f}{off} ms"


def _tests(figures: Figures, rules: AnalysisRules) -> Iterator[str]:
    shared = f", shared by {figures.shared_by} canaries" if figures.shared_by > 1 else ""
    yield f"worse than the siblings: p = {figures.worse_p:.2g}; above max_error_ratio: p = {figures.above_p:.2g}"
    yield f"a p of {rules.false_alarm_rate:g} or less is no chance (analysis.false_alarm_rate{shared})"


def _reported(figures: Figures) -> Iterator[str]:
    if figures.holds:
        yield f"held: {', '.join(map(_held, figures.holds))}"
    if figures.lost:
        boxes = ", ".join(figures.lost)
        yield f"HAProxy on {boxes} was reloaded or its counters cleared: what it counted between two looks is missing"


def _held(held: Held) -> str:
    tally = held.canary
    errors = f"{tally.errors} error{'' if tally.errors == 1 else 's'}"
    return f"{held.percent} % for {held.seconds:.1f} s ({tally.requests} requests, {errors})"
