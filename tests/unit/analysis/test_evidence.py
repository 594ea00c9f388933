"""The test behind a verdict: exact for small counts, and true however often it is looked at."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.evidence import ODDS_RATIOS, Evidence


def p_of(*intervals: tuple[int, int, float]) -> float:
    evidence = Evidence()
    for hits, trials, share in intervals:
        evidence.add(hits, trials, share)
    return evidence.p_value


def payoff(ratio: float, hits: int, trials: int, share: float) -> float:
    """What one bet makes of 1: as the docstring has it, not as the code computes it."""
    return float(ratio**hits / (1 + (ratio - 1) * share) ** trials)


@given(trials=st.integers(0, 40), share=st.floats(0, 1), worse=st.floats(0, 1))
def test_above_a_tolerance_no_bet_gains_on_average(trials: int, share: float, worse: float) -> None:
    """Exactly, over all outcomes: each thing is a hit with a probability of at most ``share``."""
    truth = share * worse
    for ratio in ODDS_RATIOS:
        mean = math.fsum(
            math.comb(trials, hits) * truth**hits * (1 - truth) ** (trials - hits) * payoff(ratio, hits, trials, share)
            for hits in range(trials + 1)
        )
        assert mean <= 1 + 1e-9


@given(canary=st.integers(0, 30), siblings=st.integers(0, 60), data=st.data())
def test_against_siblings_no_bet_gains_on_average(canary: int, siblings: int, data: st.DataObject) -> None:
    """Exactly, over all ways in which the errors of an interval can hit the requests of both."""
    requests = canary + siblings
    errors = data.draw(st.integers(0, requests))
    share = canary / requests if requests else 0.0
    for ratio in ODDS_RATIOS:
        ways = math.comb(requests, errors)
        mean = math.fsum(
            math.comb(canary, hits) * math.comb(siblings, errors - hits) / ways * payoff(ratio, hits, errors, share)
            for hits in range(max(0, errors - siblings), min(canary, errors) + 1)
        )
        assert mean <= 1 + 1e-9


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.floats(0.01, 1)), max_size=8))
def test_a_p_value_is_one_over_the_mean_of_the_bets(intervals: list[tuple[int, int, float]]) -> None:
    intervals = [(min(hits, trials), trials, share) for hits, trials, share in intervals]
    bets = [math.prod(payoff(ratio, *interval) for interval in intervals) for ratio in ODDS_RATIOS]
    assert p_of(*intervals) == pytest.approx(min(1.0, len(bets) / math.fsum(bets)), rel=1e-6)


def test_small_counts() -> None:
    assert p_of() == 1
    assert p_of((0, 500, 0.01)) == 1, "no error is no evidence"
    assert p_of((1, 1, 0.2)) > 0.2, "the canary got the only error: that happens to one in five"
    assert p_of((4, 4, 0.2)) < 0.01, "it got all four"
    assert p_of((20, 100, 0.2)) == 1, "it got its share"
    assert p_of((1, 50, 0.0)) < 0.05, "what is never to happen happened"
    assert p_of(*[(1, 1, 0.2)] * 400) < 1e-200, "no figure is too large"


def test_one_outage_for_all_proves_nothing_against_one() -> None:
    """What a test on sums would take for proof: the outage fell into a time when the canary had more of the traffic."""
    quiet, outage = (0, 0, 0.05), (250, 500, 0.5)
    assert p_of(*[quiet] * 50, outage) == 1


def test_looking_after_every_error_gives_no_more_false_alarms() -> None:
    """2000 good canaries, each looked at 200 times: at most 5 % ever seem bad at a p-value of 5 %."""
    chance, alarms = random.Random(20261125), 0
    for _ in range(2000):
        evidence = Evidence()
        for _ in range(200):
            evidence.add(chance.random() < 0.2, 1, 0.2)
            if evidence.p_value <= 0.05:
                alarms += 1
                break
    assert 10 < alarms <= 100, "and the test is not so blunt that it never speaks"
