"""Is my release out, and if not, why? One deployment in a sentence, made from its view. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vesemir.cli.output import count, seconds_text

Json = Mapping[str, Any]

_NAMED = 3


def last_of_each(targets: Sequence[Json]) -> list[Json]:
    """One row per target: the way back where it went that way, as its result counts."""
    latest: dict[str, Json] = {}
    for target in targets:
        went_back = target["direction"] == "back" and target["status"] not in {"pending", "skipped"}
        if target["direction"] == "forward" or went_back:
            latest[target["name"]] = target
    return list(latest.values())


def headline(view: Json) -> str:
    """What a person asks first."""
    what = f"{view['version']} of {view['application']} in {view['environment']}"
    if view["request"].get("dry_run"):
        return _rehearsed(what, view)
    return f"{what} {_STANDS[view['state']](view, last_of_each(view['targets']))}"


_STANDS: Mapping[str, Callable[[Json, Sequence[Json]], str]] = {
    "pending": lambda view, _: f"has not begun: {_waits(view)}.",
    "running": lambda view, targets: f"is on its way: {_progress(targets)}{_ownerless(view)}.",
    "paused": lambda view, targets: f"is paused: {_progress(targets)}. {_pause(view)}",
    "rolling_back": lambda view, targets: f"is being rolled back: {_progress(targets)}{_ownerless(view)}.",
    "succeeded": lambda view, targets: f"is out: {_progress(targets)}, after {seconds_text(view['duration_seconds'])}.",
    "rolled_back": lambda _, targets: f"is not out: it was rolled back, {_brought_back(targets)}.",
    "failed": lambda _, targets: f"is not out: {_progress(targets)}.",
    "timed_out": lambda _, targets: f"is not out, it ran out of time: {_progress(targets)}.",
    "cancelled": lambda _, targets: f"is not out, it was cancelled: {_progress(targets)}.",
}


def _rehearsed(what: str, view: Json) -> str:
    match view["state"]:
        case "succeeded":
            return f"Nothing stands in the way of {what} (a dry run: nothing was changed)."
        case "pending":
            return f"The dry run of {what} has not begun: {_waits(view)}."
        case "running" | "paused":
            return f"The dry run of {what} is going on."
        case state:
            return f"The dry run of {what} {state.replace('_', ' ')}; nothing was changed."


def _brought_back(targets: Sequence[Json]) -> str:
    back = len([target for target in targets if target["status"] == "rolled_back"])
    return f"and {count(back, 'target')} got the earlier release again"


def _progress(targets: Sequence[Json]) -> str:
    """``2 of 5 targets have it, 1 failed, 2 are left as they were``."""
    if not targets:
        return "no target was begun"
    numbers = Counter(_kind(target) for target in targets)
    has = "has" if len(targets) == 1 else "have"
    told = [f"{numbers.pop('have it', 0)} of {count(len(targets), 'target')} {has} it"]
    for kind in _KINDS:
        if numbers[kind]:
            names = [target["name"] for target in targets if _kind(target) == kind]
            listed = f" ({', '.join(names)})" if kind in _TOLD_BY_NAME and len(names) <= _NAMED else ""
            told.append(f"{numbers[kind]} {kind}{listed}")
    return ", ".join(told)


_KINDS = (
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
_TOLD_BY_NAME = frozenset({"in work", "failed", "unknown", "unreachable", "timed out", "cancelled"})


def _kind(target: Json) -> str:
    status = target["status"]
    if not target["finished"] and status != "pending":
        return "in work"
    match status:
        case "succeeded":
            return "have it"
        case "pending":
            return "to come"
        case "skipped":
            return "untouched"
    return str(status).replace("_", " ")


def _waits(view: Json) -> str:
    before = view["waits_for"]
    if not before:
        return "it waits for an instance that is free"
    first = before[0]
    more = f" and {len(before) - 1} more" if len(before) > 1 else ""
    state = first["state"].replace("_", " ")
    return (
        f"it waits behind {first['deployment_id']} ({first['version']}, {state}{_by(first)}){more}, "
        f"since one deployment at a time is active in {view['application']}/{view['environment']}"
    )


def _by(deployment: Json) -> str:
    return f", asked for by {deployment['requested_by']}" if deployment["requested_by"] else ""


def _pause(view: Json) -> str:
    go_on = f"`vesemir resume {view['deployment_id']}` lets it go on, `vesemir cancel {view['deployment_id']}` ends it."
    if view["awaits_approval"]:
        return (
            f"It waits for an approval (rollout.approve_after {view['request']['rollout']['approve_after']}): {go_on}"
        )
    wish = view["pause"] or {}
    by = f"by {wish['requested_by']}" if wish.get("requested_by") else ""
    why = ": ".join(part for part in (by, wish.get("reason") or "") if part)
    return f"Asked for {why}; {go_on}" if why else f"{go_on[0].upper()}{go_on[1:]}"


def _ownerless(view: Json) -> str:
    """Who should work on it does not: somebody else will, or nobody can."""
    if view["owner"] is None:
        return "; its instance gave it back and another takes it over"
    if view["lease_expired"]:
        return f"; {view['owner']} has not been heard of, and another instance takes it over (if one runs)"
    return ""
