"""The law: what is a pass, a fail, too little traffic; each with the sentence that people read."""

from dataclasses import replace
from typing import Any

import pytest

from vesemir.domain.analysis import AnalysisRules, Figures, Held, Judgement, Verdict, beyond_doubt, verdict
from vesemir.domain.analysis_report import regression_in, written
from vesemir.domain.counters import CounterTally
from vesemir.domain.request import Analysis
from vesemir.domain.response_time import MeanTime

ASKED = Analysis(min_requests=200, hold_seconds=60, max_error_ratio=0.01)
RULES = AnalysisRules(false_alarm_rate=0.01, slow_factor=2, slow_floor_ms=100)
GOOD = Figures("web1", 4, CounterTally(250, 1), CounterTally(1000, 4), worse_p=1, above_p=1)
BAD = replace(GOOD, of_canary=CounterTally(60, 5, 1), of_siblings=CounterTally(240), worse_p=0.002, above_p=0.004)


def judged(figures: Figures = GOOD, **changes: Any) -> Judgement:
    return verdict(replace(figures, **changes), ASKED, RULES)


def test_a_good_one_passes() -> None:
    assert judged().verdict is Verdict.PASS
    assert judged().reason == (
        "web1 had 1 error in 250 requests (0.4 %), its 4 siblings 4 errors in 1000 requests (0.4 %)"
    )
    assert beyond_doubt(GOOD, ASKED, RULES) is None


def test_more_than_allowed_and_worse_than_the_siblings_fails() -> None:
    """Beyond doubt: within the hold, and below min_requests too."""
    at_once = beyond_doubt(BAD, ASKED, RULES)
    assert at_once is not None
    assert at_once == judged(BAD)
    assert at_once.verdict is Verdict.FAIL
    assert at_once.reason == (
        "web1 had 6 errors in 60 requests (10 %), its 4 siblings 0 errors in 240 requests (0 %); "
        "rollout.analysis allows 1 % (p = 0.002)"
    )


def test_one_proof_without_the_other_waits_for_the_end() -> None:
    for changes in ({"above_p": 0.02}, {"worse_p": 0.02}):
        assert beyond_doubt(replace(BAD, **changes), ASKED, RULES) is None


def test_at_the_end_the_ratio_that_was_seen_is_enough() -> None:
    """With enough requests it need not be proved that the ratio is above what is allowed."""
    seen = {"of_canary": CounterTally(250, 5), "above_p": 0.3, "worse_p": 0.009}
    assert judged(**seen).verdict is Verdict.FAIL
    assert judged(**(seen | {"of_canary": CounterTally(199, 5)})).verdict is Verdict.TOO_LITTLE
    assert judged(**(seen | {"worse_p": 0.011})).verdict is Verdict.PASS


def test_below_what_is_allowed_it_passes_however_much_worse_than_the_siblings() -> None:
    assert (
        judged(of_canary=CounterTally(1000, 10), of_siblings=CounterTally(100_000), worse_p=1e-9).verdict
        is Verdict.PASS
    )


def test_siblings_that_are_as_bad_clear_it_and_that_is_said() -> None:
    shared = judged(of_canary=CounterTally(300, 60), of_siblings=CounterTally(1200, 240), above_p=1e-30)
    assert shared.verdict is Verdict.PASS
    assert shared.reason.endswith(
        "that is over the 1 % allowed for both, so the release is not blamed: look at what they share"
    )
    chance = judged(of_canary=CounterTally(250, 4), of_siblings=CounterTally(1000, 3), worse_p=0.2, above_p=0.4)
    assert chance.verdict is Verdict.PASS
    assert chance.reason.endswith("that is over the 1 % allowed, but may be chance")


def test_too_little_traffic_says_so() -> None:
    few = judged(of_canary=CounterTally(12), of_siblings=CounterTally(1))
    assert few.verdict is Verdict.TOO_LITTLE
    assert few.reason == (
        "web1 had 0 errors in 12 requests (0 %), its 4 siblings 0 errors in 1 request (0 %); "
        "min_requests asks for 200, so it could not be judged and the rollout goes on"
    )
    nothing = verdict(replace(GOOD, of_canary=CounterTally()), replace(ASKED, min_requests=0), RULES)
    assert nothing.verdict is Verdict.TOO_LITTLE, "of no request nothing can be said, whatever is asked"


def test_without_siblings_what_is_allowed_decides_alone() -> None:
    alone = replace(BAD, siblings=0, of_siblings=CounterTally(), worse_p=1)
    at_once = beyond_doubt(alone, ASKED, RULES)
    assert at_once is not None
    assert at_once.reason == (
        "web1 had 6 errors in 60 requests (10 %), it has no siblings; rollout.analysis allows 1 % and decides alone, "
        "as there is nothing to compare with (p = 0.004)"
    )
    assert beyond_doubt(replace(alone, above_p=0.02), ASKED, RULES) is None


def test_siblings_without_a_request_may_still_get_one_until_the_end() -> None:
    unheard = replace(BAD, of_siblings=CounterTally(), worse_p=1)
    assert beyond_doubt(unheard, ASKED, RULES) is None
    assert judged(unheard).verdict is Verdict.FAIL


def test_the_rate_is_shared_by_all_canaries_of_a_deployment() -> None:
    assert judged(replace(BAD, of_canary=CounterTally(300, 30), worse_p=0.004, shared_by=2)).verdict is Verdict.FAIL
    assert judged(replace(BAD, of_canary=CounterTally(300, 30), worse_p=0.006, shared_by=2)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("canary", "siblings", "slow"),
    [
        (MeanTime(300, 420, 5), MeanTime(900, 90, 1), True),
        (MeanTime(300, 190, 0), MeanTime(900, 90, 0), False),  # twice as long, and not 100 ms more
        (MeanTime(300, 520, 0), MeanTime(900, 400, 0), False),  # 100 ms more, and not twice as long
        (MeanTime(300, 210, 30), MeanTime(900, 90, 0), False),  # it may be off by so much
        (MeanTime(199, 999, 0), MeanTime(900, 90, 0), False),  # of too few
        (MeanTime(300, 999, 0), MeanTime(199, 90, 0), False),
        (None, MeanTime(900, 90, 0), False),
        (MeanTime(300, 999, 0), None, False),
    ],
)
def test_response_times_fail_only_when_they_are_clearly_longer(
    canary: MeanTime | None,
    siblings: MeanTime | None,
    slow: bool,  # noqa: FBT001
) -> None:
    timed = {"canary_time": canary, "siblings_time": siblings}
    result = judged(**timed)
    assert (result.verdict is Verdict.FAIL) is slow
    if slow:
        assert result.reason == (
            "web1 took 420 ms on average to answer, its 4 siblings 90 ms; 2 times and 100 ms more are too much"
        )
    assert beyond_doubt(replace(GOOD, **timed), ASKED, RULES) is None, "never before the end"


def test_the_report_of_a_fail() -> None:
    figures = replace(
        BAD,
        canary_time=MeanTime(40, 12, 13.4),
        siblings_time=MeanTime(160, 2.2, 0.9),
        holds=(Held(25, 5, CounterTally(20, 1, 1)), Held(100, 3.04, CounterTally(40, 4))),
        lost=("lb2",),
        shared_by=2,
    )
    text = written(judged(figures), RULES)
    assert text == (
        "fail: web1 had 6 errors in 60 requests (10 %), its 4 siblings 0 errors in 240 requests (0 %); "
        "rollout.analysis allows 1 % (p = 0.002)\n"
        "\n"
        "                              web1      4 siblings\n"
        "requests                        60             240\n"
        "5xx                              5               0\n"
        "connection errors                1               0\n"
        "response errors                  0               0\n"
        "error ratio                   10 %             0 %\n"
        "response time           12 ± 13 ms            2 ms\n"
        "\n"
        "worse than the siblings: p = 0.002; above max_error_ratio: p = 0.004\n"
        "a p of 0.01 or less is no chance (analysis.false_alarm_rate, shared by 2 canaries)\n"
        "held: 25 % for 5.0 s (20 requests, 2 errors), 100 % for 3.0 s (40 requests, 4 errors)\n"
        "HAProxy on lb2 was reloaded or its counters cleared: what it counted between two looks is missing\n"
    )
    assert regression_in(text).startswith("web1 had 6 errors")


def test_only_a_fail_is_a_regression() -> None:
    for changes in ({}, {"of_canary": CounterTally(3)}):
        assert regression_in(written(judged(**changes), RULES)) == ""
    assert regression_in("") == ""
    assert regression_in("web1 is not UP: HAProxy shows 'DOWN'") == ""
