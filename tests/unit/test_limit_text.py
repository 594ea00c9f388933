"""Limits in units that people think in."""

import pytest

from vesemir.domain.duration import limit_text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86400, "24 h"), (604800, "7 days"), (172800, "2 days"), (14400.0, "4 h"), (5400, "90 min"), (300, "5 min"),
        (90, "90 s"), (60, "1 min"), (2.5, "2.5 s"), (0, "0 s"), (3600.5, "3600.5 s"),
    ],
)  # fmt: skip
def test_the_largest_unit_that_says_it_exactly(seconds: float, words: str) -> None:
    assert limit_text(seconds) == words
