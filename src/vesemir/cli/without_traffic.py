"""Targets of a deployment that get no traffic: who took each out, when, and what is known of it now. Pure.

What a target was at its end is the deployment's own (``in_traffic``). After that only servers that some deployment left
drained are looked at, by the instances (``engine/upkeep/drained_servers.py``): of others it is said since when nothing
is known.
"""

from collections.abc import Iterator, Sequence

from vesemir.cli.history import moment_text
from vesemir.cli.output import seconds_text
from vesemir.domain.states import FINAL, TargetState
from vesemir.domain.traffic_prior import LEFT_DRAINED, PriorTraffic
from vesemir.engine.ports.views import DeploymentView, DrainedServerView, TargetView

FRESH_SECONDS = 180.0
"""Three looks: instances look at what is left drained every ``lease.seconds``, which is 60 unless set."""

NOT_TOUCHED = "out, not UP or unknown in HAProxy, and not by this deployment"
NOT_SERVING = "ready, but not UP in HAProxy or without weight"
_BECAUSE = {
    TargetState.CANCELLED: "it was cancelled there",
    TargetState.UNKNOWN: "what runs there is unknown",
    TargetState.TIMED_OUT: "it timed out there",
}


def is_out(target: TargetView) -> bool:
    """By the last that is known: an instance's look since, else what HAProxy said at its end."""
    if target.left_drained is not None:
        return True
    return target.in_traffic is False and not _put_back(target)


def _put_back(target: TargetView) -> bool:
    """Its row among the servers left drained is gone, with or (release 0.1 saw it) without a moment."""
    left = target.failure is not None and LEFT_DRAINED in target.failure.message
    return target.left_drained is None and (left or target.back_in_traffic_at is not None)


def out_of_each(view: DeploymentView, targets: Sequence[TargetView]) -> Iterator[tuple[str, str]]:
    """Names that share the same words, and the words."""
    reported: dict[str, list[str]] = {}
    for target in targets:
        if is_out(target):
            reported.setdefault(_who(view, target), []).append(target.name)
    for words, names in reported.items():
        yield ", ".join(names), words


def back_of_each(targets: Sequence[TargetView]) -> Iterator[tuple[str, str]]:
    """Those that this deployment left drained, and what is known of when they were set ready."""
    for target in targets:
        if _put_back(target):
            moment = target.back_in_traffic_at
            yield target.name, f"seen back in traffic at {moment_text(moment)} UTC" if moment else "put back since"


def known_now(drained: DrainedServerView) -> str:
    """``still drained 12 s ago (seen by a/1)``, or since when it is not known."""
    if drained.known_seconds_ago > FRESH_SECONDS:
        seen = "no instance could look since" if drained.seen_at else "no instance has looked since"
        return f"not known since {moment_text(drained.seen_at or drained.since)} UTC: {seen}"
    ago = f"{seconds_text(drained.known_seconds_ago)} ago"
    return f"still drained {ago} (seen by {drained.seen_by})" if drained.seen_by else f"left so {ago}"


def _who(view: DeploymentView, target: TargetView) -> str:
    if target.left_drained is not None:
        return f"{_left_by(view, target, target.left_drained)}; {known_now(target.left_drained)}"
    return f"{_by_others(target)}; {_at_its_end(view)}"


def _left_by(view: DeploymentView, target: TargetView, drained: DrainedServerView) -> str:
    when = f"{moment_text(drained.since)} UTC"
    if drained.deployment_id == view.deployment_id:
        return f"left drained by this deployment at {when}, because {_BECAUSE.get(target.status, 'it failed there')}"
    later = view.finished_at is not None and drained.since > view.finished_at
    return f"left drained by {'a later' if later else 'an earlier'} deployment, {drained.deployment_id}, at {when}"


def _by_others(target: TargetView) -> str:
    """No deployment of this lane."""
    prior = None if target.traffic is None else PriorTraffic.of_json(target.traffic)
    if prior is not None and (found := prior.taken_out):
        return f"somebody else took it out before this deployment ({found})"
    return NOT_TOUCHED if prior is None else NOT_SERVING


def _at_its_end(view: DeploymentView) -> str:
    if view.state not in FINAL:
        return "so when the target ended"
    return f"so when it ended, not known since {moment_text(view.finished_at)} UTC"
