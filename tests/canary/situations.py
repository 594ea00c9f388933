"""What canaries meet: releases as good as the old one, which must not be blamed, and bad ones, which must."""

from dataclasses import replace

from tests.canary.runs import Situation
from tests.canary.traffic import Behaviour

from vesemir.domain.request import Analysis

UNPROTECTED = Analysis(min_requests=50, hold_seconds=60, max_error_ratio=0.0)
"""No error is tolerated, so nothing but the comparison with the siblings keeps a good release from being blamed."""


def _good(name: str, errors: float, **more: object) -> Situation:
    same = Behaviour(errors)
    return replace(Situation(name, same, same, asked=UNPROTECTED), **more)  # type: ignore[arg-type]


GOOD = (
    _good("1 error in 1000, on all", 0.001),
    _good("1 % errors on all", 0.01),
    _good("20 % errors on all", 0.2),
    _good("1 % errors, two servers", 0.01, servers=2),
    _good("1 % errors, a ramp", 0.01, holds=((5, 20), (25, 20), (100, 60))),
    _good("1 % errors, three canaries of eight", 0.01, servers=8, canaries=3, per_second=80),
    _good("the database is away for 6 s", 0.0, outage={range(20, 26): 0.5}),
    _good("1 % errors, two HAProxies, one reloaded", 0.01, boxes=2, reloads=(30,)),
)

BAD = (
    Situation("10 % errors, none before", Behaviour(0.1), Behaviour(0.0)),
    Situation("10 % errors, on a ramp", Behaviour(0.1), Behaviour(0.0), holds=((10, 30), (50, 30), (100, 60))),
    Situation("10 % errors, 1 % before", Behaviour(0.1), Behaviour(0.01)),
    Situation("4 % errors, none before", Behaviour(0.04), Behaviour(0.0)),
    Situation("only errors, at 2 requests per second", Behaviour(1.0), Behaviour(0.0), per_second=2),
    Situation("three times as slow", Behaviour(0.0, response_ms=300), Behaviour(0.0, response_ms=100)),
)
