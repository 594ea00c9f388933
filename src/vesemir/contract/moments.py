"""Moments in messages: RFC 3339 with an offset, as seconds since the epoch within."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

MOMENT_SAYS = 'a moment in RFC 3339 with its offset, "2026-11-28T07:00:00+01:00" or "2026-11-28T06:00:00Z"'


def seconds_of(moment: str) -> float:
    """Since 1970-01-01T00:00:00Z. Raises ``ValueError`` for a day or hour that no calendar has."""
    return datetime.fromisoformat(moment.upper()).timestamp()


def _a_moment(moment: str) -> str:
    found = datetime.fromisoformat(moment.upper())
    try:
        found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is beyond the calendar") from error
    return moment


OffsetMoment = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
        r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$",
        json_schema_extra={"format": "date-time"},
    ),
    AfterValidator(_a_moment),
]
