"""What is known of a deployment from its events, and the line that tells of each. Pure: no clock, no terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vesemir.cli.doing import since_of
from vesemir.cli.output import count, seconds_text
from vesemir.cli.state_words import status_words
from vesemir.domain.doing import Doing
from vesemir.domain.traffic_prior import left_as_it_was_in

Json = Mapping[str, Any]


@dataclass(slots=True)
class TargetProgress:
    """One target as it is now. ``since`` is when it began, by the caller's clock; None while it is not in work.

    ``doing`` is its running step, which began at ``doing_since`` by the same clock.
    """

    name: str
    address: str = ""
    batch: int | None = None
    direction: str = "forward"
    status: str = "pending"
    step: str = ""
    since: float | None = None
    seconds: float | None = None
    failure: Json | None = None
    doing: Doing | None = None
    doing_since: float = 0.0
    in_traffic: bool | None = None
    ended_at: str = ""
    out_before: str = ""
    """What somebody else had done to its server before, as its drain found it: ``drain on lb1``."""


@dataclass(slots=True)
class RolloutProgress:
    """Fold events into it with ``apply``; delivery is at least once, so it drops what it has already.

    ``dry_run``: it was asked for as one.
    """

    deployment_id: str
    state: str = "requested"
    note: str = ""
    version: str = ""
    targets: dict[str, TargetProgress] = field(default_factory=dict)
    rejected: Json | None = None
    accepted: Json | None = None
    finished: Json | None = None
    dry_run: bool = False
    _seen: set[int] = field(default_factory=set)

    @property
    def missing(self) -> Sequence[int]:
        """Sequence numbers below the highest that never came."""
        return [number for number in range(1, max(self._seen, default=0)) if number not in self._seen]

    @property
    def in_work(self) -> bool:
        return any(target.since is not None for target in self.targets.values())

    def show_doing(self, doing: Sequence[Doing], *, now: float, wall: float) -> None:
        """What targets in work do; ``wall`` is the time of day at ``now``."""
        by_target = {each.target: each for each in doing}
        for target in self.targets.values():
            target.doing = by_target.get(target.name) if target.since is not None else None
            if target.doing is not None:
                target.doing_since = min(now, now - (wall - since_of(target.doing)))

    def apply(self, event: Json, *, now: float) -> bool:
        """False if this event is known already or is of another deployment."""
        sequence, reported = event.get("sequence"), event.get("deployment_id")
        if not isinstance(sequence, int) or reported not in {self.deployment_id, None}:
            return False
        if sequence in self._seen:
            return False
        if sequence:
            self._seen.add(sequence)
        self.version = str(event.get("version") or self.version)
        name = str(event.get("event"))
        if name in _DEPLOYMENT_STATES:
            self.state = _DEPLOYMENT_STATES[name]
            self.note = why(event)
        match name:
            case "deployment.rejected":
                self.rejected = event
            case "deployment.accepted":
                self.accepted = event
                self.note = _waits(event)
            case "deployment.started":
                self._start(event)
            case "deployment.finished":
                self._finish(event)
            case "target.started" | "step.finished" | "target.finished":
                self._progress(name, event, now=now)
            case "target.regressed":
                target = self._target(event["target"])
                target.status, target.failure = "failed", event["failure"]
        return True

    def _start(self, event: Json) -> None:
        for place in event["targets"]:
            self._target(place["name"]).address = place["address"]
        for number, names in enumerate(event["batches"], start=1):
            for each in names:
                self._target(each).batch = number

    def _progress(self, name: str, event: Json, *, now: float) -> None:
        target = self._target(event["target"])
        if name == "step.finished":
            ended = _verdict(event).partition(":")[0] if event["status"] == "succeeded" else event["status"]
            target.step = f"{event['step']} {ended}".rstrip()
            if target.doing is not None and target.doing.step == event["step"]:
                target.doing = None
            if event["step"] == "drain":
                target.out_before = left_as_it_was_in(event["output"])
            return
        target.doing = None
        target.direction = event["direction"]
        if name == "target.started":
            target.batch, target.status, target.since, target.step = event["batch"], "running", now, ""
            target.seconds, target.failure = None, None
        else:
            target.status, target.since = event["status"], None
            target.seconds, target.failure = event["duration_seconds"], event["failure"]
            target.in_traffic, target.ended_at = event.get("in_traffic"), str(event.get("occurred_at") or "")

    def _finish(self, event: Json) -> None:
        self.finished, self.state = event, event["status"]
        for result in event["targets"]:
            target = self._target(result["name"])
            target.address, target.status, target.since = result["address"], result["status"], None
            target.seconds, target.failure = result["duration_seconds"], result["failure"]
            target.in_traffic = result.get("in_traffic")

    def _target(self, name: str) -> TargetProgress:
        return self.targets.setdefault(name, TargetProgress(name))


_DEPLOYMENT_STATES: Mapping[str, str] = {
    "deployment.rejected": "rejected",
    "deployment.accepted": "pending",
    "deployment.started": "running",
    "deployment.paused": "paused",
    "deployment.resumed": "running",
    "deployment.cancelling": "cancelling",
    "deployment.rolling_back": "rolling_back",
}


def why(event: Json) -> str:
    """Who asked for it and why, or what went wrong; empty if the event says neither."""
    failure = event.get("failure")
    if failure:
        return str(failure["message"])
    by = f"by {event['requested_by']}" if event.get("requested_by") else ""
    return ": ".join(part for part in (by, str(event.get("reason") or "")) if part)


def _waits(event: Json) -> str:
    if event.get("not_before"):
        return f"not before {event['not_before']}"
    before = event.get("position") or 0
    return f"{count(before, 'deployment')} of {event['application']}/{event['environment']} before it" if before else ""


def line_of(event: Json, *, dry_run: bool = False) -> str:
    """The event in one line, for a log: what happened where. ``dry_run``: it was asked for as one."""
    name = str(event.get("event"))
    if name.startswith(("target.", "step.")):
        return f"{event['target']}: {_of_target(name, event)}"
    match name:
        case "deployment.accepted":
            reported = f"{' as a dry run' if dry_run else ''}{_after(': ', _waits(event))}"
        case "deployment.started":
            batches = count(len(event["batches"]), "batch", "batches")
            reported = f": {count(len(event['targets']), 'target')} in {batches}"
        case "deployment.taken_over":
            reported = f" by {event['instance']} from {event['previous_instance']}"
        case "deployment.finished":
            reported = f": {status_words(event, dry_run=dry_run)}"
        case _:
            reported = _after(" ", why(event))
    return f"{name.removeprefix('deployment.').replace('_', ' ')}{reported}"


def _of_target(name: str, event: Json) -> str:
    match name:
        case "target.started":
            back = ", back" if event["direction"] == "back" else ""
            return f"started (batch {event['batch']}{back})"
        case "step.finished":
            exited = f", exit status {event['exit_status']}" if event["exit_status"] else ""
            took = seconds_text(event["duration_seconds"])
            return f"step {event['step']} {event['status']} ({took}{exited}){_after(': ', _verdict(event))}"
        case "target.regressed":
            return f"regressed{_reason(event)}"
        case "target.finished":
            unserved = ", gets no traffic" if event.get("in_traffic") is False and not event["failure"] else ""
            return f"{event['status']} ({seconds_text(event['duration_seconds'])}){unserved}{_reason(event)}"
        case _:
            return f"{name.partition('.')[2].replace('_', ' ')}{_reason(event)}"


def _reason(event: Json) -> str:
    failure = event.get("failure")
    return f": {failure['message']} [{failure['code']}]" if failure else ""


def _verdict(event: Json) -> str:
    """What the analysis of a canary came to, with its numbers: the first line of its output; empty for other steps."""
    return str(event["output"]).partition("\n")[0] if event["step"] == "analysis" else ""


def _after(separator: str, words: str) -> str:
    return f"{separator}{words}" if words else ""
