"""What a deployment is said to have failed with, when it was not its rollout that says so."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from vesemir.domain.duration import limit_text
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.request import DeployRequest
from vesemir.domain.states import TargetState
from vesemir.engine.ownership.stop_signal import StopReason
from vesemir.engine.target.row import Row

_EACH = 3
"""Targets with the same kind of failure that are each told with their own words."""


def cancelled() -> Failure:
    return Failure(FailureCode.DEPLOYMENT_CANCELLED, "the deployment was cancelled, as asked")


def stop_failure(reason: StopReason, request: DeployRequest) -> Failure:
    """Ended by a person or by its own time."""
    if reason is StopReason.CANCELLED:
        return cancelled()
    text = f"the deployment was not done within timeouts.deployment ({limit_text(request.timeouts.deployment)})"
    return Failure(FailureCode.DEPLOYMENT_TIMED_OUT, text)


def rollback_failed(where: str, cause: Failure | None) -> Failure:
    why = f" (rolled back because: {cause.message})" if cause else ""
    return Failure(FailureCode.DEPLOYMENT_ROLLBACK_FAILED, f"not every target could be brought back: {where}{why}")


def where_each_stands(forward: Sequence[Row], back: Mapping[str, Row], version: str) -> str:
    """After a rollback that did not bring all back: every target, by what it serves as far as that is known.

    What its server in HAProxy was left as is said in the failure of each that was in work.
    """
    rest = [row for row in forward if row.name not in back]
    idle = {TargetState.PENDING, TargetState.SKIPPED}
    unbegun = [row for row in forward if row.name in back and back[row.name].state in idle]
    stuck = [row for row in back.values() if row.state not in {TargetState.ROLLED_BACK, *idle}]
    parts = [
        *_stuck(stuck),
        _named(f"not brought back, still on {version}", (row for row in unbegun if row.state is TargetState.SUCCEEDED)),
        _named(
            "not begun, left as the way forward left them (see their failures)",
            (row for row in unbegun if row.state is not TargetState.SUCCEEDED),
        ),
        _named("on the release before again", (row for row in back.values() if row.state is TargetState.ROLLED_BACK)),
        _named("never changed", rest),
    ]
    return "; ".join(filter(None, parts))


def _stuck(rows: Iterable[Row]) -> Iterator[str]:
    def kind(row: Row) -> tuple[str, str]:
        return row.state.value, row.failure.code.value if row.failure else ""

    for (state, code), members in groupby(sorted(rows, key=kind), key=kind):
        same = list(members)
        words = [row.failure.message if row.failure else "its failure was not recorded" for row in same]
        if len(same) <= _EACH:
            yield from (f"{row.name} is {state}: {wording}" for row, wording in zip(same, words, strict=True))
        else:
            names = ", ".join(row.name for row in same)
            yield f"{names} are {state} ({code}), the first because: {words[0]}"


def _named(what: str, rows: Iterable[Row]) -> str:
    names = ", ".join(row.name for row in rows)
    return f"{what}: {names}" if names else ""


def outlived(deployment_id: str, expiries: int) -> Failure:
    """Its instances died over and over."""
    text = (
        f"{deployment_id} outlived {expiries} instances that worked on it and was given up; look at what ended them "
        "(memory, watchdog) before it is deployed again"
    )
    return Failure(FailureCode.INTERNAL_ERROR, text)


def unknown_recipe(name: str, *, recorded: bool) -> Failure:
    """Accepted by an instance that had it, or begun by a version that could read it."""
    text = (
        f"recipe {name}, as the deployment began with it, cannot be read by this version of Vesemir"
        if recorded
        else f"recipe {name} is not known to this instance; give every instance the same recipe folders"
    )
    return Failure(FailureCode.REQUEST_UNKNOWN_RECIPE, text)
