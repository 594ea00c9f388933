"""Deployments that ended while they waited: no run counts them."""

from vesemir.domain.failure import FailureCode
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.observe import Meters


def count_cancelled(meters: Meters, *, dry_run: bool) -> None:
    _count(meters, DeploymentState.CANCELLED, FailureCode.DEPLOYMENT_CANCELLED, dry_run=dry_run)


def count_expired(meters: Meters, *, dry_run: bool) -> None:
    """By its ``not_after``."""
    _count(meters, DeploymentState.FAILED, FailureCode.REQUEST_EXPIRED, dry_run=dry_run)


def _count(meters: Meters, state: DeploymentState, code: FailureCode, *, dry_run: bool) -> None:
    if dry_run:
        meters.dry_run_finished(state)
    else:
        meters.deployment_finished(state, code, seconds=None)
