"""Is my release out, and if not, why? One deployment in a sentence, made from its view. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vesemir.cli.history import moment_text
from vesemir.cli.identity import asker_text
from vesemir.cli.output import count, seconds_text
from vesemir.cli.state_words import state_words
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.wish import Wish
from vesemir.engine.ports.views import DeploymentView, PredecessorView, TargetView

_NAMED = 3
_NOT_BEGUN = frozenset({TargetState.PENDING, TargetState.SKIPPED})


class EndedTarget(Protocol):
    """A target of the record or of a result."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def finished(self) -> bool: ...

    @property
    def in_traffic(self) -> bool | None: ...


def last_of_each(targets: Sequence[TargetView]) -> list[TargetView]:
    """One row per target: the way back where it went that way, as its result counts."""
    latest: dict[str, TargetView] = {}
    for target in targets:
        went_back = target.direction is Direction.BACK and target.status not in _NOT_BEGUN
        if target.direction is Direction.FORWARD or went_back:
            latest[target.name] = target
    return list(latest.values())


def headline(view: DeploymentView) -> str:
    """What a person asks first."""
    if view.dry_run:
        return _rehearsed(view)
    return f"{view.what} {_STANDS[view.state](view, last_of_each(view.targets))}"


_STANDS: Mapping[DeploymentState, Callable[[DeploymentView, Sequence[TargetView]], str]] = {
    DeploymentState.PENDING: lambda view, _: f"has not begun: {_waits(view)}.",
    DeploymentState.RUNNING: lambda view, targets: f"is on its way: {progress(targets)}{_ownerless(view)}.",
    DeploymentState.PAUSED: lambda view, targets: f"is paused: {progress(targets)}. {_pause(view)}",
    DeploymentState.ROLLING_BACK: lambda view, targets: f"is being rolled back: {progress(targets)}{_ownerless(view)}.",
    DeploymentState.SUCCEEDED: lambda view, targets: (
        f"{is_out(targets)}: {progress(targets)}, after {seconds_text(view.duration_seconds)}."
    ),
    DeploymentState.ROLLED_BACK: lambda _, targets: f"is not out: it was rolled back, {_brought_back(targets)}.",
    DeploymentState.FAILED: lambda _, targets: f"is not out: {progress(targets)}.",
    DeploymentState.TIMED_OUT: lambda _, targets: f"is not out, it ran out of time: {progress(targets)}.",
    DeploymentState.CANCELLED: lambda _, targets: f"is not out, it was cancelled: {progress(targets)}.",
}


def _rehearsed(view: DeploymentView) -> str:
    match view.state:
        case DeploymentState.SUCCEEDED:
            return f"Nothing stands in the way of {view.what} (a dry run: nothing was changed)."
        case DeploymentState.PENDING:
            return f"The dry run of {view.what} has not begun: {_waits(view)}."
        case DeploymentState.RUNNING | DeploymentState.PAUSED:
            return f"The dry run of {view.what} is going on."
        case state:
            return f"The dry run of {view.what} {state.replace('_', ' ')}; nothing was changed."


def _brought_back(targets: Sequence[TargetView]) -> str:
    back = len([target for target in targets if target.status is TargetState.ROLLED_BACK])
    return f"and {count(back, 'target')} got the earlier release again"


def is_out(targets: Sequence[EndedTarget]) -> str:
    """A release that is on every target but gets no traffic on any is not out."""
    kinds = {_kind(target) for target in targets}
    return "is installed, but not out" if _OUT in kinds and not kinds & {"serve it", "have it"} else "is out"


def progress(targets: Sequence[EndedTarget]) -> str:
    """``2 of 5 targets serve it, 1 failed, 2 untouched``. Without HAProxy they have it."""
    if not targets:
        return "no target was begun"
    numbers = Counter(_kind(target) for target in targets)
    serve, have, has = numbers.pop("serve it", 0), numbers.pop("have it", 0), "have"
    counted = have
    if serve or numbers[_OUT]:
        counted, has = serve, "serve"
        numbers[_NOT_KNOWN] = have
    if len(targets) == 1:
        has = {"have": "has", "serve": "serves"}[has]
    reported = [f"{counted} of {count(len(targets), 'target')} {has} it"]
    for kind in _KINDS:
        if numbers[kind]:
            names = [target.name for target in targets if _kind(target) == kind]
            listed = f" ({', '.join(names)})" if kind in _TOLD_BY_NAME and len(names) <= _NAMED else ""
            words = _OF_ONE.get(kind, kind) if numbers[kind] == 1 else kind
            reported.append(f"{numbers[kind]} {words}{listed}")
    return ", ".join(reported)


_OUT = "have it but get no traffic"
_NOT_KNOWN = "have it, traffic not known"
_OF_ONE = {_OUT: "has it but gets no traffic", _NOT_KNOWN: "has it, traffic not known"}
_KINDS = (
    _OUT,
    _NOT_KNOWN,
    "in work",
    "failed",
    "unknown",
    "unreachable",
    "timed out",
    "cancelled",
    "rolled back",
    "to come",
    "untouched",
)
_TOLD_BY_NAME = frozenset({_OUT, "in work", "failed", "unknown", "unreachable", "timed out", "cancelled"})


def _kind(target: EndedTarget) -> str:
    if not target.finished and target.status is not TargetState.PENDING:
        return "in work"
    match target.status:
        case TargetState.SUCCEEDED:
            return {None: "have it", True: "serve it", False: _OUT}[target.in_traffic]
        case TargetState.PENDING:
            return "to come"
        case TargetState.SKIPPED:
            return "untouched"
    return target.status.replace("_", " ")


def _waits(view: DeploymentView) -> str:
    before, lock = view.waits_for, view.held_by_lock
    if not view.due and view.not_before is not None:
        return f"not before {moment_text(view.not_before)}"
    if lock is not None:
        end = "until somebody unlocks it" if lock.until is None else f"until {lock.until}"
        return f"{lock.lane} is locked by {lock.by} since {lock.since}, {end}: {lock.reason}"
    if not before:
        return "it waits for an instance that is free"
    first = before[0]
    more = f" and {len(before) - 1} more" if len(before) > 1 else ""
    state = state_words(first.state, dry_run=first.dry_run)
    return (
        f"it waits behind {first.deployment_id} ({first.version}, {state}{_by(first)}){more}, "
        f"since one deployment at a time is active in {view.application}/{view.environment}"
    )


def _by(deployment: PredecessorView) -> str:
    who = asker_text(deployment.requested_by, deployment.identity)
    return f", asked for by {who}" if who else ""


def _pause(view: DeploymentView) -> str:
    if view.awaits_approval:
        return f"It waits for an approval (rollout.approve_after {view.approve_after})."
    wish = view.pause or Wish()
    who = asker_text(wish.requested_by, wish.identity)
    by = f"by {who}" if who else ""
    why = ": ".join(part for part in (by, wish.reason or "") if part)
    return f"Asked for {why}." if why else "It waits to be resumed."


def _ownerless(view: DeploymentView) -> str:
    """Who should work on it does not: somebody else will, or nobody can."""
    if view.owner is None:
        return "; its instance gave it back and another takes it over"
    if view.lease_expired:
        return f"; {view.owner} has not been heard of, and another instance takes it over (if one runs)"
    return ""
