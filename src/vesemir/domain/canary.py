"""Watching a canary through HAProxy's counters, look by look, against its siblings at the same time; pure.

Only the siblings run the old release: other canaries are left out of the comparison. HAProxy boxes are compared each
for itself, since one may have another share of the traffic and other troubles, and then summed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from vesemir.domain.analysis import AnalysisRules, Figures, Held, Judgement, beyond_doubt, verdict
from vesemir.domain.counters import BoxCounters, CounterTally, total
from vesemir.domain.evidence import Evidence
from vesemir.domain.request import Analysis
from vesemir.domain.response_time import MeanTime, mean_between, pooled


class Judge:
    """Of one canary, over one window: from the first ``look`` on. ``canaries`` are the servers of all of them."""

    def __init__(self, asked: Analysis, rules: AnalysisRules, *, canary: str, canaries: Iterable[str]) -> None:
        self.asked = asked
        self.rules = rules
        self._canary = canary
        self._canaries = frozenset(canaries) | {canary}
        self._last: dict[str, BoxCounters] = {}
        self._tallies: defaultdict[str, CounterTally] = defaultdict(CounterTally)
        self._worse, self._above = Evidence(), Evidence()
        self._timed_from: dict[str, BoxCounters] = {}
        self._holds: list[Held] = []
        self._before_hold = CounterTally()
        self._lost: dict[str, None] = {}

    def look(self, boxes: Mapping[str, BoxCounters]) -> None:
        """What each HAProxy that could be read says now. One that was missing is caught up with later."""
        for name, now in boxes.items():
            before = self._last.get(name)
            self._last[name] = now
            if before is not None and now.continues(before):
                self._count(now.since(before))
            else:
                self._timed_from[name] = now
                if before is not None:
                    self._lost[name] = None

    def _count(self, interval: Mapping[str, CounterTally]) -> None:
        """One interval on one HAProxy: the canary against the siblings that it had there and then."""
        canary = interval.get(self._canary, CounterTally())
        siblings = total(tally for name, tally in interval.items() if name not in self._canaries)
        requests = canary.requests + siblings.requests
        if requests:
            self._worse.add(canary.errors, canary.errors + siblings.errors, canary.requests / requests)
        self._above.add(canary.errors, canary.requests, self.asked.max_error_ratio)
        for name, tally in interval.items():
            self._tallies[name] += tally

    def begin_hold(self) -> None:
        """Response times are those of one hold: at a smaller share, with cold caches, they may be others."""
        self._timed_from = dict(self._last)
        self._before_hold = self._tallies[self._canary]

    def end_hold(self, percent: int, seconds: float) -> None:
        self._holds.append(Held(percent, seconds, self._tallies[self._canary] - self._before_hold))

    def beyond_doubt(self) -> Judgement | None:
        """A fail that need not wait for the end of the hold, nor for ``min_requests``; else None."""
        return beyond_doubt(self.figures(), self.asked, self.rules)

    def verdict(self) -> Judgement:
        """On all that was seen, at the end of a hold."""
        return verdict(self.figures(), self.asked, self.rules)

    def figures(self) -> Figures:
        siblings = {name for box in self._last.values() for name in box.servers} - self._canaries
        return Figures(
            canary=self._canary,
            siblings=len(siblings),
            of_canary=self._tallies[self._canary],
            of_siblings=total(self._tallies[name] for name in siblings),
            worse_p=self._worse.p_value,
            above_p=self._above.p_value,
            canary_time=self._time({self._canary}),
            siblings_time=self._time(siblings),
            holds=tuple(self._holds),
            lost=tuple(self._lost),
            shared_by=len(self._canaries),
        )

    def _time(self, names: Iterable[str]) -> MeanTime | None:
        return pooled(
            mean_between(since.servers[name], self._last[box].servers[name])
            for box, since in self._timed_from.items()
            for name in names
            if name in since.servers and name in self._last[box].servers
        )
