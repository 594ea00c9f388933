"""``vesemir lock`` and ``unlock``: a control message about a lane, and its answer; without a broker, the record."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from vesemir.cli.complaint import UsageError
from vesemir.cli.configuration import load_settings
from vesemir.cli.control_answer import AsJson, Timeout, accepted_answer
from vesemir.cli.control_order import ControlOrder
from vesemir.cli.moment import span_of
from vesemir.cli.output import show
from vesemir.cli.requesting import ANSWER_SECONDS
from vesemir.domain.control import LaneCommandName

Application = Annotated[str, typer.Argument(metavar="APPLICATION", help="The application of the lane.")]
Environment = Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Its environment.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded and shown.")]


def lock_command(
    application: Application,
    environment: Environment,
    *,
    reason: Reason,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="WHEN",
            help="When it ends by itself: 90m, 4h, 2d from now, or 2026-11-30T08:00 (UTC unless it says otherwise).  "
            "[default: when somebody unlocks it]",
        ),
    ] = None,
    timeout: Timeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let nothing new begin in a lane (one application in one environment) until `vesemir unlock`.

    What has begun goes on; what waits, waits on; new deploy events are refused with lane.locked, but for dry runs and
    for those that may break the glass. A second lock replaces reason and end.
    """
    end = None if until is None else end_of(until, now=datetime.now(UTC))
    then = "nothing new begins there until `vesemir unlock`" if end is None else f"nothing new begins there until {end}"
    _sent("lock", application, environment, reason=reason, until=end, timeout=timeout, as_json=as_json, then=then)


def unlock_command(
    application: Application,
    environment: Environment,
    *,
    reason: Reason,
    timeout: Timeout = ANSWER_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Let deployments begin in a lane again. One that is not locked stays so."""
    then = "what waits there may begin"
    _sent("unlock", application, environment, reason=reason, until=None, timeout=timeout, as_json=as_json, then=then)


def end_of(given: str, *, now: datetime) -> str:
    """RFC 3339 in UTC. Raises ``UsageError``."""
    wrong = f"--until takes a time (2026-11-30T08:00) or how long from now (90m, 4h, 2d), not {given!r}"
    try:
        ahead = span_of(given)
        moment = datetime.fromisoformat(given) if ahead is None else now + ahead
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(wrong) from None
    if moment <= now:
        raise UsageError(f"--until must be in the future, and {given} has passed")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _sent(
    command: LaneCommandName,
    application: str,
    environment: str,
    *,
    reason: str,
    until: str | None,
    timeout: float,
    as_json: bool,
    then: str,
) -> None:
    about = {"application": application, "environment": environment, **({} if until is None else {"until": until})}
    order = ControlOrder(load_settings(), command, about, reason, "vesemir status")
    accepted_answer(order, timeout=timeout, as_json=as_json)
    show(f"{application}/{environment}: {command} accepted, {then}.")
