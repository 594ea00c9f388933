"""The mean response time of some time, taken out of HAProxy's moving average; pure.

``rtime`` is the average since long ago, so it still tells of the release before. In the source (2.6 to 3.x:
``stream_update_time_stats``, ``swrate_add_dynamic``, ``stats_fill_sv_stats``; the manual's "1024 last requests" is
not what it does) each response adds its time to a sum that first loses a 512th of itself, once there were more than
512; what is shown is the sum divided by 512, or by the number of responses while those are fewer, rounded up. All of
that is linear, so two readings and the number of responses between them tell the mean in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vesemir.domain.counters import ServerCounters

WINDOW = 512
"""TIME_STATS_SAMPLES of HAProxy."""


@dataclass(frozen=True, slots=True)
class MeanTime:
    """In milliseconds. It is off by ``error_ms`` at most, because HAProxy shows whole ones: few responses, much error.

    ``requests`` is how many responses it is the mean of; after 512 the later ones weigh more.
    """

    requests: int
    mean_ms: float
    error_ms: float

    @property
    def least_ms(self) -> float:
        return max(0.0, self.mean_ms - self.error_ms)

    @property
    def most_ms(self) -> float:
        return self.mean_ms + self.error_ms


def mean_between(before: ServerCounters, after: ServerCounters) -> MeanTime | None:
    """None when nothing was answered in between, or HAProxy has no response times (mode tcp)."""
    answered = after.averaged - before.averaged
    if answered <= 0 or after.response_ms is None:
        return None
    plain = min(answered, max(0, WINDOW - before.averaged))
    left = (1 - 1 / WINDOW) ** (answered - plain)
    weight = plain * left + WINDOW * (1 - left)
    old, new = min(before.averaged, WINDOW), min(after.averaged, WINDOW)
    mean = (new * after.response_ms - left * old * (before.response_ms or 0)) / weight
    # Shown times are rounded up, and so is what the sum loses each time: by 1 ms each at most.
    return MeanTime(answered, max(0.0, mean), 1 + (new + left * old) / weight)


def pooled(times: Iterable[MeanTime | None]) -> MeanTime | None:
    """Of several servers or boxes, each by its number of responses."""
    known = [time for time in times if time is not None]
    requests = sum(time.requests for time in known)
    if not requests:
        return None
    mean = sum(time.mean_ms * time.requests for time in known) / requests
    return MeanTime(requests, mean, sum(time.error_ms * time.requests for time in known) / requests)
