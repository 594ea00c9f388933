"""How an area is fuzzed: so many examples, each judged, each with a bound for the processor time that it may cost."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Check = Callable[[Any], None]

BOUND_SECONDS = 2.0
"""Of processor time, for one example. What others do on the machine does not count."""


@dataclass(frozen=True, slots=True)
class Area:
    """``opened`` gives what judges one example: it raises for whatever must not happen."""

    name: str
    claim: str
    examples: st.SearchStrategy[Any]
    opened: Callable[[], AbstractContextManager[Check]]


def examine(area: Area, *, examples: int, number: int | None = None) -> int:
    """How many examples were judged. Raises what the first bad one raised, made small.

    Without ``number`` they are the same every time.
    """
    count = 0
    with area.opened() as check:

        def judge(example: Any) -> None:
            nonlocal count
            count += 1
            began = time.process_time()
            check(example)
            spent = time.process_time() - began
            assert spent < BOUND_SECONDS, f"one example took {spent:.1f} s of processor time"

        run = given(area.examples)(judge)
        if number is not None:
            run = seed(number)(run)
        settings(
            max_examples=examples,
            derandomize=number is None,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(run)()
    return count
