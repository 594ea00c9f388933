"""The law by which a canary is judged (``rollout.analysis``): from figures to a verdict; pure.

A canary fails for its errors when they exceed ``max_error_ratio`` AND are more than its siblings' in the same time by
more than chance. Siblings that are as bad clear it: what they share is broken, not the release. Within a hold both must
be beyond chance, and then nothing is waited for, ``min_requests`` neither; at the end of a hold with enough requests
the ratio that was seen is enough for the first. Where there is nothing to compare with, ``max_error_ratio`` alone
decides, by more than chance. It fails for its response times only at the end of a hold, when they are clearly longer.
"""

from dataclasses import dataclass
from enum import StrEnum

from vesemir.domain.counters import CounterTally
from vesemir.domain.request import Analysis
from vesemir.domain.response_time import MeanTime


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    TOO_LITTLE = "too little traffic"


@dataclass(frozen=True, slots=True)
class AnalysisRules:
    """The operator's part of the rules.

    ``false_alarm_rate``: how often at most a deployment of a release that is as good as the old one is blamed for its
    errors. ``slow_factor`` and ``slow_floor_ms``: a canary is too slow when its mean response time is both so many
    times and so many milliseconds above its siblings'.
    """

    false_alarm_rate: float = 0.01
    slow_factor: float = 2.0
    slow_floor_ms: float = 100.0


@dataclass(frozen=True, slots=True)
class Held:
    """One hold: at which share of the weight, for how long, and what the canary answered in it."""

    percent: int
    seconds: float
    canary: CounterTally


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that a verdict stands on. ``siblings`` counts the servers that could be compared with.

    The tallies and p-values are of the whole window, the response times of the last hold. ``lost`` names the boxes
    whose counters began anew in between; ``shared_by`` how many canaries share the false-alarm rate.
    """

    canary: str
    siblings: int
    of_canary: CounterTally
    of_siblings: CounterTally
    worse_p: float
    above_p: float
    canary_time: MeanTime | None = None
    siblings_time: MeanTime | None = None
    holds: tuple[Held, ...] = ()
    lost: tuple[str, ...] = ()
    shared_by: int = 1


@dataclass(frozen=True, slots=True)
class Judgement:
    """``reason`` is one sentence with the numbers, without a full stop."""

    verdict: Verdict
    reason: str
    figures: Figures


def beyond_doubt(figures: Figures, asked: Analysis, rules: AnalysisRules) -> Judgement | None:
    """A fail that need not wait for the end of a hold; else None."""
    return _proven(figures, asked, rules, alone=figures.siblings == 0)


def verdict(figures: Figures, asked: Analysis, rules: AnalysisRules) -> Judgement:
    """At the end of a hold."""
    proven = _proven(figures, asked, rules, alone=figures.of_siblings.requests == 0)
    if proven is not None:
        return proven
    if figures.of_canary.requests < max(1, asked.min_requests):
        return Judgement(Verdict.TOO_LITTLE, _too_little(figures, asked), figures)
    exceeds = figures.of_canary.ratio > asked.max_error_ratio
    if exceeds and figures.worse_p <= _alarm(figures, rules):
        return Judgement(Verdict.FAIL, _regressed(figures, asked, alone=False), figures)
    if slow := _slow(figures, asked, rules):
        return Judgement(Verdict.FAIL, slow, figures)
    return Judgement(Verdict.PASS, _cleared(figures, asked) if exceeds else _compared(figures), figures)


def _proven(figures: Figures, asked: Analysis, rules: AnalysisRules, *, alone: bool) -> Judgement | None:
    alarm = _alarm(figures, rules)
    if figures.above_p <= alarm and (alone or figures.worse_p <= alarm):
        return Judgement(Verdict.FAIL, _regressed(figures, asked, alone=alone), figures)
    return None


def _alarm(figures: Figures, rules: AnalysisRules) -> float:
    """The p-value that is no chance: the rate is the deployment's, so its canaries share it (Bonferroni)."""
    return rules.false_alarm_rate / figures.shared_by


def _slow(figures: Figures, asked: Analysis, rules: AnalysisRules) -> str:
    """Why it is too slow, even if both means are off by as much as they can be; empty if it is not.

    Of fewer responses than ``min_requests`` a mean says nothing.
    """
    canary, siblings = figures.canary_time, figures.siblings_time
    if canary is None or siblings is None or min(canary.requests, siblings.requests) < asked.min_requests:
        return ""
    if canary.least_ms <= max(siblings.most_ms * rules.slow_factor, siblings.most_ms + rules.slow_floor_ms):
        return ""
    return (
        f"{figures.canary} took {canary.mean_ms:.0f} ms on average to answer, its {_siblings(figures)} "
        f"{siblings.mean_ms:.0f} ms; {rules.slow_factor:g} times and {rules.slow_floor_ms:g} ms more are too much"
    )


def _compared(figures: Figures) -> str:
    others = f"its {_siblings(figures)} {_errors(figures.of_siblings)}" if figures.siblings else "it has no siblings"
    return f"{figures.canary} had {_errors(figures.of_canary)}, {others}"


def _regressed(figures: Figures, asked: Analysis, *, alone: bool) -> str:
    text = f"{_compared(figures)}; rollout.analysis allows {percent(asked.max_error_ratio)}"
    if alone:
        return f"{text} and decides alone, as there is nothing to compare with (p = {figures.above_p:.2g})"
    return f"{text} (p = {figures.worse_p:.2g})"


def _cleared(figures: Figures, asked: Analysis) -> str:
    over = f"that is over the {percent(asked.max_error_ratio)} allowed"
    if figures.of_siblings.ratio > asked.max_error_ratio:
        return f"{_compared(figures)}; {over} for both, so the release is not blamed: look at what they share"
    return f"{_compared(figures)}; {over}, but may be chance"


def _too_little(figures: Figures, asked: Analysis) -> str:
    text = f"min_requests asks for {asked.min_requests}, so it could not be judged and the rollout goes on"
    return f"{_compared(figures)}; {text}"


def _siblings(figures: Figures) -> str:
    return f"{figures.siblings} sibling{'' if figures.siblings == 1 else 's'}"


def _errors(tally: CounterTally) -> str:
    errors = f"{tally.errors} error{'' if tally.errors == 1 else 's'}"
    share = f" ({percent(tally.ratio)})" if tally.requests else ""
    return f"{errors} in {tally.requests} request{'' if tally.requests == 1 else 's'}{share}"


def percent(ratio: float) -> str:
    """``10.3 %``: three digits."""
    return f"{100 * ratio:.3g} %"
