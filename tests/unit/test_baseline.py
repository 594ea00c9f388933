"""The regression guard of the benchmarks: instructions of three core paths against benchmarks/baseline.json."""

import json

import pytest
from benchmarks.guard import BASELINE, MARGIN, PYTHON, instructions, measured, regressions


def test_no_core_path_takes_more_instructions_than_the_baseline_allows() -> None:
    baseline = json.loads(BASELINE.read_text())
    if PYTHON not in baseline:
        pytest.skip(f"there is no baseline for Python {PYTHON}; python -m benchmarks.guard --write makes one")
    assert regressions(measured(), baseline[PYTHON]) == []


def test_the_guard_can_bark() -> None:
    assert regressions({"path": 100.0 * MARGIN + 1}, {"path": 100.0})
    assert not regressions({"path": 100.0 * MARGIN - 1}, {"path": 100.0})


def test_instructions_follow_the_work() -> None:
    def count(limit: int) -> None:
        for _ in range(limit):
            pass

    few, many = (instructions(lambda limit=limit: count(limit)) for limit in (10, 1000))
    assert many > 20 * few
