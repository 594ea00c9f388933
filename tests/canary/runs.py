"""One simulated canary is judged by the engine's own ``CanaryHold``, on a clock that jumps; and two hundred of them."""

import asyncio
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.canary.traffic import Behaviour, SimulatedBackend
from tests.unit.engine.virtual_time import VirtualLoop

from vesemir.domain.analysis import AnalysisRules
from vesemir.domain.analysis_report import regression_in
from vesemir.domain.canary import Judge
from vesemir.domain.counters import BoxCounters
from vesemir.domain.failure import FailedError
from vesemir.domain.request import Analysis
from vesemir.engine.target.canary_hold import CanaryHold


@dataclass(frozen=True)
class Situation:
    """``new`` is how the canaries behave, ``old`` how all others do. ``holds``: (percent of the weight, seconds)."""

    name: str
    new: Behaviour
    old: Behaviour
    servers: int = 5
    canaries: int = 1
    per_second: int = 40
    holds: Sequence[tuple[int, int]] = ((100, 60),)
    boxes: int = 1
    outage: Mapping[range, float] = field(default_factory=dict)
    reloads: Sequence[int] = ()
    asked: Analysis = field(default_factory=Analysis)


@dataclass(frozen=True)
class Outcome:
    """Of one deployment: whether any canary was blamed, after how many seconds, and the step's output that says so."""

    blamed: bool
    seconds: float
    report: str


def deploy(situation: Situation, seed: int, *, rules: AnalysisRules) -> Outcome:
    """All its canaries at once, as in one batch."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_deploy(situation, seed, rules))


async def _deploy(situation: Situation, seed: int, rules: AnalysisRules) -> Outcome:
    canaries = [f"web{number}" for number in range(1, situation.canaries + 1)]
    names = [f"web{number}" for number in range(1, situation.servers + 1)]
    backend = SimulatedBackend(
        random.Random(seed),
        {name: situation.new if name in canaries else situation.old for name in names},
        situation.per_second,
        situation.boxes,
        situation.outage,
        situation.reloads,
    )
    judgings = [_judging(situation, rules, backend, name, canaries) for name in canaries]
    traffic = asyncio.create_task(_pass(backend))
    try:
        async with asyncio.TaskGroup() as group:
            works = [
                group.create_task(_held(situation, backend, *each)) for each in zip(judgings, canaries, strict=True)
            ]
    finally:
        traffic.cancel()
    reports = [work.result() for work in works]
    blamed = [report for report in reports if regression_in(report)]
    return Outcome(bool(blamed), asyncio.get_running_loop().time(), (blamed or reports)[0])


def _judging(
    situation: Situation, rules: AnalysisRules, backend: SimulatedBackend, name: str, canaries: Sequence[str]
) -> CanaryHold:
    async def counters() -> Mapping[str, BoxCounters]:
        return backend.counters

    return CanaryHold(counters, Judge(situation.asked, rules, canary=name, canaries=canaries))


async def _pass(backend: SimulatedBackend) -> None:
    """A little ahead of the looks, which come every second too."""
    await asyncio.sleep(0.5)
    while True:
        backend.pass_second()
        await asyncio.sleep(1)


async def _held(situation: Situation, backend: SimulatedBackend, judging: CanaryHold, name: str) -> str:
    """As the session of a target does it; the step's output."""
    await judging.begin()
    with suppress(FailedError):
        for percent, seconds in situation.holds:
            backend.weigh(name, percent)
            await judging.hold(seconds, percent)
    return judging.report()


@dataclass(frozen=True)
class Score:
    """Of many deployments in one situation."""

    situation: Situation
    outcomes: Sequence[Outcome]

    @property
    def blamed(self) -> int:
        return sum(outcome.blamed for outcome in self.outcomes)

    @property
    def median_seconds(self) -> float:
        """Until one was blamed."""
        return statistics.median([outcome.seconds for outcome in self.outcomes if outcome.blamed] or [math.nan])


def score(situation: Situation, runs: int, *, first_seed: int = 0, rules: AnalysisRules) -> Score:
    seeds = range(first_seed, first_seed + runs)
    return Score(situation, [deploy(situation, seed, rules=rules) for seed in seeds])


def most_alarms(runs: int, rate: float, *, doubt: float) -> int:
    """So many false alarms can come of a rate that is kept: more have a probability of at most ``doubt`` (binomial)."""
    above = 1.0
    for alarms in range(runs + 1):
        above -= math.comb(runs, alarms) * rate**alarms * (1 - rate) ** (runs - alarms)
        if above <= doubt:
            return alarms
    return runs
