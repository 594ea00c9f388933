"""What a deployment is said to have failed with, when it was not its rollout that says so."""

from collections.abc import Sequence

from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.request import DeployRequest
from vesemir.engine.row import Row
from vesemir.engine.scope import StopReason


def cancelled() -> Failure:
    return Failure(FailureCode.DEPLOYMENT_CANCELLED, "the deployment was cancelled, as asked")


def stop_failure(reason: StopReason, request: DeployRequest) -> Failure:
    """Ended by a person or by its own time."""
    if reason is StopReason.CANCELLED:
        return cancelled()
    text = f"the deployment was not done within timeouts.deployment ({request.timeouts.deployment:g} s)"
    return Failure(FailureCode.DEPLOYMENT_TIMED_OUT, text)


def rollback_failed(stuck: Sequence[Row], cause: Failure | None) -> Failure:
    """Says which target stands where."""
    each = "; ".join(f"{row.name} is {row.state}: {row.failure.message if row.failure else '?'}" for row in stuck[:10])
    why = f" (rolled back because: {cause.message})" if cause else ""
    return Failure(FailureCode.DEPLOYMENT_ROLLBACK_FAILED, f"not every target could be brought back: {each}{why}")


def outlived(deployment_id: str, expiries: int) -> Failure:
    """Its instances died over and over."""
    text = (
        f"{deployment_id} outlived {expiries} instances that worked on it and was given up; look at what ended them "
        "(memory, watchdog) before it is deployed again"
    )
    return Failure(FailureCode.INTERNAL_ERROR, text)


def unknown_recipe(name: str) -> Failure:
    """Accepted by an instance that had it."""
    text = f"recipe {name} is not known to this instance; give every instance the same recipe folders"
    return Failure(FailureCode.REQUEST_UNKNOWN_RECIPE, text)
