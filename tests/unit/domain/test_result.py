"""The numbers of a result."""

from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.result import Measured, deployment_metrics, empty_metrics, percentile
from vesemir.domain.states import TargetState


def test_metrics_have_the_same_fields_whether_or_not_anything_ran() -> None:
    measured = Measured(
        queued_seconds=0.5,
        resolve_seconds=0.1,
        duration_seconds=9,
        states=[TargetState.SUCCEEDED, TargetState.FAILED, TargetState.SKIPPED],
        target_seconds=[3, 1],
        connect_seconds=[0.25],
        steps=7,
        redone=1,
        output_bytes=99,
        takeovers=2,
    )
    metrics = deployment_metrics(measured)
    assert list(metrics) == list(empty_metrics(0))
    assert metrics["targets_total"] == 3
    assert (metrics["targets_succeeded"], metrics["targets_failed"], metrics["targets_unreachable"]) == (1, 1, 0)
    assert (metrics["target_seconds_p50"], metrics["target_seconds_max"]) == (1, 3)
    assert (metrics["takeovers"], metrics["redone_steps"]) == (2, 1)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values_with_enough_at_or_below(values: list[float], percent: int) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= percent * len(ordered) / 100


def test_no_values_have_the_percentile_zero() -> None:
    assert percentile([], 50) == 0
