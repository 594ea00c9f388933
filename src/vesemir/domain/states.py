"""The state machines of a deployment and of a target, each as one literal table.

Rules: a final state has no way out, but for the one move ``REGRESSION``. An illegal transition raises and changes
nothing. A lease that is handed back or expires does not change a deployment's state (who owns it is another matter); a
target that was in work then becomes ``unknown`` until it was verified. ``docs/states.md`` is generated from these
tables.
"""

from collections.abc import Mapping
from enum import StrEnum

from vesemir.domain.failure import VesemirError


class DeploymentState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    ROLLED_BACK = "rolled_back"


class TargetState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    ROLLED_BACK = "rolled_back"


_D = DeploymentState
_T = TargetState

_ENDS = frozenset({_D.SUCCEEDED, _D.FAILED, _D.CANCELLED, _D.TIMED_OUT})

DEPLOYMENT_TRANSITIONS: Mapping[DeploymentState, frozenset[DeploymentState]] = {
    # A waiting deployment is claimed, or cancelled at once, or it was not begun in time.
    _D.PENDING: frozenset({_D.RUNNING, _D.CANCELLED, _D.FAILED}),
    _D.RUNNING: _ENDS | {_D.PAUSED, _D.ROLLING_BACK},
    _D.PAUSED: _ENDS | {_D.RUNNING, _D.ROLLING_BACK},
    _D.ROLLING_BACK: frozenset({_D.ROLLED_BACK, _D.FAILED, _D.CANCELLED, _D.TIMED_OUT}),
    _D.SUCCEEDED: frozenset(),
    _D.FAILED: frozenset(),
    _D.CANCELLED: frozenset(),
    _D.TIMED_OUT: frozenset(),
    _D.ROLLED_BACK: frozenset(),
}

_RESULTS = frozenset({_T.SUCCEEDED, _T.FAILED, _T.UNREACHABLE, _T.TIMED_OUT, _T.CANCELLED, _T.ROLLED_BACK})

TARGET_TRANSITIONS: Mapping[TargetState, frozenset[TargetState]] = {
    _T.PENDING: frozenset({_T.RUNNING, _T.SKIPPED}),
    # UNKNOWN from RUNNING: its instance died or lost the lease or the connection. SKIPPED from RUNNING: it only waited
    # for capacity when the rollout ended.
    _T.RUNNING: _RESULTS | {_T.UNKNOWN, _T.SKIPPED},
    # UNKNOWN is verified (RUNNING again), or final when that is impossible to the end.
    _T.UNKNOWN: frozenset({_T.RUNNING}),
    _T.SUCCEEDED: frozenset(),
    _T.FAILED: frozenset(),
    _T.UNREACHABLE: frozenset(),
    _T.TIMED_OUT: frozenset(),
    _T.CANCELLED: frozenset(),
    _T.SKIPPED: frozenset(),
    _T.ROLLED_BACK: frozenset(),
}

REGRESSION = (_T.SUCCEEDED, _T.FAILED)
"""Not in the table: only what had succeeded and was looked at again goes this way. It stays finished."""

TARGET_ENDS = frozenset(state for state, ways in TARGET_TRANSITIONS.items() if not ways) | {_T.UNKNOWN}
"""What a target may end as."""

ACTIVE = frozenset({_D.RUNNING, _D.PAUSED, _D.ROLLING_BACK})
FINAL = frozenset(state for state, ways in DEPLOYMENT_TRANSITIONS.items() if not ways)
FAILURES = frozenset({_T.FAILED, _T.UNREACHABLE, _T.TIMED_OUT, _T.UNKNOWN})
"""Target states that count against ``max_failures`` (contract section 2), once the target is finished."""


class IllegalTransitionError(VesemirError):
    """A bug: some code tried to go where the table has no way."""


def deployment_move(old: DeploymentState, new: DeploymentState) -> DeploymentState:
    """``new``, if the table allows it. Raises ``IllegalTransitionError``."""
    if new not in DEPLOYMENT_TRANSITIONS[old]:
        raise IllegalTransitionError(f"a deployment cannot go from {old} to {new}")
    return new


def target_move(old: TargetState, new: TargetState) -> TargetState:
    """``new``, if the table allows it. Raises ``IllegalTransitionError``."""
    if new not in TARGET_TRANSITIONS[old]:
        raise IllegalTransitionError(f"a target cannot go from {old} to {new}")
    return new


def target_regression(old: TargetState) -> TargetState:
    """What a finished target becomes that is found not to be well any more. Raises ``IllegalTransitionError``."""
    before, after = REGRESSION
    if old is not before:
        raise IllegalTransitionError(f"a target that is {old} cannot regress")
    return after


def finishes_target(old: TargetState, new: TargetState, *, finished: bool) -> bool:
    """Whether the target is finished by this move, which the table must allow; raises ``IllegalTransitionError``.

    A final state always finishes it. ``unknown`` does so when the mover says that nothing more follows
    (``finished``). A target cannot end in any other state.
    """
    final = not TARGET_TRANSITIONS[target_move(old, new)]
    if finished and new not in TARGET_ENDS:
        raise IllegalTransitionError(f"a target cannot end as {new}")
    return final or finished
