"""Deployments by the hundred, through the engine's own analysis: a good release is rarely blamed, a bad one always is.

``python -m tests.canary`` runs every situation and prints what was seen.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.canary.runs import Situation, deploy, most_alarms, score
from tests.canary.situations import BAD, GOOD, UNPROTECTED
from tests.canary.traffic import Behaviour

from vesemir.domain.analysis import AnalysisRules

RATE = 0.05
RUNS = 200
HARD = ("1 % errors on all", "1 % errors, two servers", "the database is away for 6 s")
"""Those in which false alarms are the most likely, or were with a test on sums; tests.canary has all."""


@pytest.mark.parametrize("situation", [each for each in GOOD if each.name in HARD], ids=lambda each: each.name)
def test_a_release_as_good_as_the_old_one_is_not_blamed_more_often_than_the_rate(situation: Situation) -> None:
    """Not a rounding of it: 10 of 200 at most."""
    seen = score(situation, RUNS, rules=AnalysisRules(false_alarm_rate=RATE))
    assert seen.blamed <= RUNS * RATE


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32),
    errors=st.floats(0.001, 0.5),
    servers=st.integers(2, 6),
    percent=st.integers(5, 100),
)
def test_nor_with_any_seed_ratio_or_share(seed: int, errors: float, servers: int, percent: int) -> None:
    """A rate that is kept gives more alarms than the bound once in a million times."""
    same, runs = Behaviour(errors), 20
    situation = Situation("any", same, same, servers=servers, per_second=20, holds=((percent, 30),), asked=UNPROTECTED)
    seen = score(situation, runs, first_seed=seed, rules=AnalysisRules(false_alarm_rate=RATE))
    assert seen.blamed <= most_alarms(runs, RATE, doubt=1e-6)


@pytest.mark.parametrize("situation", BAD, ids=lambda each: each.name)
def test_a_bad_release_is_caught(situation: Situation) -> None:
    seen = score(situation, 20, rules=AnalysisRules())
    assert seen.blamed == 20


def test_ten_per_cent_of_errors_are_caught_long_before_the_end_of_the_hold() -> None:
    flaky = next(each for each in BAD if each.name == "10 % errors, none before")
    seconds = sorted(deploy(flaky, seed, rules=AnalysisRules()).seconds for seed in range(40))
    assert seconds[20] <= 12, "the hold is of 60 s"
    assert seconds[-1] < 45


def test_the_bound_is_that_of_the_binomial_distribution() -> None:
    assert most_alarms(200, 0.05, doubt=0.5) == 10
    assert most_alarms(1, 0.05, doubt=0.06) == 0
    assert most_alarms(3, 0.5, doubt=0.0) == 3
