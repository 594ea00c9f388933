"""The windows of a freeze: a span of time, or hours of the week as clocks on the wall show them.

A weekly window follows its zone through changes to and from summer time: it is a matter of local hours.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from vesemir.domain.freeze import FreezeEnd

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES


def _ending(at: datetime) -> FreezeEnd:
    return FreezeEnd(at.timestamp(), at.isoformat(timespec="minutes"))


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` up to ``end``; both know their zone."""

    start: datetime
    end: datetime

    def end_after(self, now: float) -> FreezeEnd | None:
        return _ending(self.end) if self.start.timestamp() <= now < self.end.timestamp() else None


@dataclass(frozen=True, slots=True)
class Weekly:
    """``start`` is a minute of the week (0: Monday 00:00) in ``zone``; it holds for ``minutes``, at most a week."""

    start: int
    minutes: int
    zone: tzinfo

    def end_after(self, now: float) -> FreezeEnd | None:
        wall = datetime.fromtimestamp(now, UTC).astimezone(self.zone).replace(tzinfo=None, second=0, microsecond=0)
        minute = wall.weekday() * DAY_MINUTES + wall.hour * 60 + wall.minute
        passed = (minute - self.start) % WEEK_MINUTES
        if passed >= self.minutes:
            return None
        return _ending((wall + timedelta(minutes=self.minutes - passed)).replace(tzinfo=self.zone))
