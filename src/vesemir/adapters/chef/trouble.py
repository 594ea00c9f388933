"""What a Chef server refuses or gets wrong, as failures with advice. The one place for it."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from vesemir.domain.failure import FailedError, FailureCode

_LONGEST_EXCERPT = 300
_CLOCK_SECONDS = 10 * 60
"""Chef servers allow 15 minutes; a clock this far off is the likely reason of a refusal, whatever it says."""


def unreachable(server: str, reason: str) -> FailedError:
    """Who the targets are could not be found out. ``server`` is its name and address."""
    return FailedError(FailureCode.TARGETS_INVENTORY_UNREACHABLE, f"{server} {reason}")


def no_json(server: str, content_type: str) -> FailedError:
    return unreachable(
        server,
        f"answers {content_type or 'something'} that is no JSON: a proxy, a login page or another server answers in "
        "its place; check the URL of this Chef server in the settings",
    )


def unlike_chef(server: str, what: str) -> FailedError:
    shown = what if len(what) <= _LONGEST_EXCERPT else f"{what[:_LONGEST_EXCERPT]}…"
    return unreachable(server, f"answers JSON that is no Chef search's ({shown}); check the URL in the settings")


def too_deep(server: str) -> FailedError:
    """No node that Chef wrote looks like this."""
    text = f"{server} answers JSON that is nested too deeply: look at the attributes of the nodes that the search finds"
    return FailedError(FailureCode.TARGETS_INVALID_ATTRIBUTES, text)


def refused(
    server: str, status: int, body: bytes, *, client_name: str, date: str | None, now: datetime, organization: bool
) -> FailedError:
    """The failure for a status that is no success. ``date`` is the server's own clock (the header ``Date``)."""
    wording = excerpt(body)
    if status == HTTPStatus.UNAUTHORIZED:
        return _denied(server, f"{_why_denied(wording, client_name, _clock_off(date, now))}. It says: {wording}")
    if status == HTTPStatus.FORBIDDEN:
        text = f"knows the client {client_name} but does not let it search: give it read permission on nodes"
        return _denied(server, f"{text}. It says: {wording}")
    if status == HTTPStatus.NOT_FOUND:
        where = "organization" if organization else "URL (an organization may be missing in the settings)"
        return unreachable(server, f"has no such {where}: check it in the settings. It says: {wording}")
    if status == HTTPStatus.BAD_REQUEST:
        text = f"{server} cannot read the search or its attributes: {wording}"
        return FailedError(FailureCode.REQUEST_INVALID, text)
    if 300 <= status < 400:  # noqa: PLR2004 -- redirects
        return unreachable(server, "sends us elsewhere, which a Chef server does not: set its own URL in the settings")
    return unreachable(server, f"answers {status}: look at its log. It says: {wording}")


def _denied(server: str, reason: str) -> FailedError:
    return FailedError(FailureCode.TARGETS_INVENTORY_DENIED, f"{server} {reason}")


def _why_denied(wording: str, client_name: str, off: float | None) -> str:
    """mixlib-authentication's servers say three things, and the clock's is easily read as one of the key's."""
    if off is not None and abs(off) > _CLOCK_SECONDS:
        way = "behind" if off > 0 else "ahead of"
        return f"refuses us, since our clock is {abs(off) / 60:.0f} minutes {way} its: set the clocks right (NTP)"
    lower = wording.lower()
    if "clock" in lower:
        return "refuses us for the clock: set ours and its right (NTP); 15 minutes off is too much"
    if "failed to authenticate" in lower:
        return f"does not know the client {client_name}, or by another key: check client_name and client_key"
    return f"takes the signature of {client_name} for wrong: client_key is not the key that it has of this client"


def _clock_off(date: str | None, now: datetime) -> float | None:
    """Seconds that the server is ahead of us; None if it does not tell."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except (ValueError, TypeError, IndexError, OverflowError):  # what it raises depends on how odd the text is
        return None
    return (theirs.replace(tzinfo=theirs.tzinfo or UTC) - now).total_seconds()


def excerpt(body: bytes) -> str:
    """What the server says, as one short line: ``error`` of its JSON, or the beginning of the text."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
        error = found["error"]
        text = "; ".join(map(str, error)) if isinstance(error, list) else str(error)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:_LONGEST_EXCERPT] or "nothing"
