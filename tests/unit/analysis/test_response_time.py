"""What HAProxy shows is a moving average since long ago; what is wanted is the mean of the last minute."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.counters import ServerCounters
from vesemir.domain.response_time import WINDOW, MeanTime, mean_between, pooled


class Average:
    """HAProxy's own integer arithmetic: ``swrate_add_dynamic`` and ``swrate_avg`` of include/haproxy/freq_ctr.h."""

    def __init__(self) -> None:
        self.sum = self.count = 0

    def add(self, milliseconds: int) -> None:
        self.count += 1
        window = WINDOW if self.count > WINDOW else 0
        self.sum += milliseconds - ((self.sum + window - 1) // window if window else 0)

    @property
    def shown(self) -> ServerCounters:
        window = min(self.count, WINDOW) or WINDOW
        return ServerCounters(averaged=self.count, response_ms=(self.sum + window - 1) // window)


def answered(average: Average, times: list[int]) -> MeanTime | None:
    before = average.shown
    for each in times:
        average.add(each)
    return mean_between(before, average.shown)


@given(
    st.integers(0, 2000),
    st.integers(0, 5000),
    st.integers(1, 3000),
    st.integers(0, 5000),
)
def test_the_mean_since_a_moment_is_found_again(old: int, old_ms: int, new: int, new_ms: int) -> None:
    """Whatever the release before it took: within the error that is told."""
    average = Average()
    answered(average, [old_ms] * old)
    found = answered(average, [new_ms] * new)
    assert found is not None
    assert found.requests == new
    assert found.mean_ms == pytest.approx(new_ms, abs=found.error_ms + 1e-6)
    assert found.least_ms <= new_ms <= found.most_ms + 1e-6


def test_the_error_is_small_where_it_matters() -> None:
    average = Average()
    answered(average, [1000] * 5000)
    found = answered(average, [20] * 200)
    assert found is not None
    assert found.error_ms < 7
    few = answered(average, [20] * 5)
    assert few is not None
    assert few.error_ms > 100, "five responses of 512 hardly move the average"


def test_times_that_differ() -> None:
    chance, average = random.Random(5), Average()
    answered(average, [int(chance.expovariate(1 / 300)) for _ in range(3000)])
    found = answered(average, [int(chance.expovariate(1 / 80)) for _ in range(400)])
    assert found is not None
    assert found.mean_ms == pytest.approx(80, rel=0.2)


def test_nothing_answered_or_no_times_at_all() -> None:
    assert mean_between(ServerCounters(averaged=7, response_ms=3), ServerCounters(averaged=7, response_ms=3)) is None
    assert mean_between(ServerCounters(averaged=7), ServerCounters(averaged=9)) is None


def test_several_count_by_their_responses() -> None:
    both = pooled([MeanTime(100, 10, 1), None, MeanTime(300, 50, 5)])
    assert both == MeanTime(400, 40, 4)
    assert pooled([None]) is None
