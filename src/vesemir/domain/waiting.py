"""When a deployment may wait, and its end if it was not begun in time (``not_after``). Pure.

Moments are seconds since 1970; ``not_after`` in a failure is RFC 3339.
"""

from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.result import empty_metrics
from vesemir.domain.states import DeploymentState

LATEST_SECONDS = 30 * 24 * 3600.0
"""So far ahead ``not_before`` may be (contract section 2)."""


def moment_problems(not_before: float | None, not_after: float | None, now: float) -> list[Problem]:
    """What only the clock can say of a new request; ``now`` is the database's."""
    problems = []
    if not_before is not None and not_before > now + LATEST_SECONDS:
        problems.append(Problem("not_before", "must be at most 30 days ahead"))
    if not_after is not None and not_after <= now:
        problems.append(Problem("not_after", "must not be past, by the clock of the database"))
    return problems


def expired(not_after: str) -> Failure:
    """Whatever it waited for."""
    text = (
        f"it was not begun by {not_after} (not_after) and nothing was touched: look at what it waited "
        "for, and ask for it again with a new id and a later not_after"
    )
    return Failure(FailureCode.REQUEST_EXPIRED, text)


def expired_result(not_after: str, waited_seconds: float) -> DeploymentFinishedEvent:
    """Of one that no instance works on."""
    metrics = empty_metrics(waited_seconds)
    return DeploymentFinishedEvent(DeploymentState.FAILED, expired(not_after), targets=(), metrics=metrics)
