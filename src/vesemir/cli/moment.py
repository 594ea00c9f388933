"""A time as a person types it: a day, a time, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

from vesemir.cli.complaint import UsageError

_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_of(option: str, given: str | None, *, now: datetime) -> datetime | None:
    """``2026-11-01``, ``2026-11-01T12:30`` (UTC unless it says otherwise), or ``90m``, ``12h``, ``7d`` before ``now``.

    Raises ``UsageError``.
    """
    if given is None:
        return None
    if (ago := span_of(given)) is not None:
        return now - ago
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise UsageError(
            f"{option} takes a day (2026-11-01), a time (2026-11-01T12:30) or how long ago (90m, 7d), not {given!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span_of(given: str) -> timedelta | None:
    """``90m``, ``12h``, ``7d``; None for anything else. Raises ``OverflowError`` beyond what a calendar can count."""
    span = _SPAN.fullmatch(given)
    return None if span is None else timedelta(**{_UNITS[span[2]]: int(span[1])})
