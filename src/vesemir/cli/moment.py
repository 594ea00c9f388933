"""A time as a person types it: a day, a time, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

from vesemir.cli.complaint import UsageError

_AGO = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_of(option: str, given: str | None, *, now: datetime) -> datetime | None:
    """``2026-11-01``, ``2026-11-01T12:30`` (UTC unless it says otherwise), or ``90m``, ``12h``, ``7d`` before ``now``.

    Raises ``UsageError``.
    """
    if given is None:
        return None
    if ago := _AGO.fullmatch(given):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise UsageError(
            f"{option} takes a day (2026-11-01), a time (2026-11-01T12:30) or how long ago (90m, 7d), not {given!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
