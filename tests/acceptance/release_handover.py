"""Deployments of the shipped ``release`` that instances of one release begin, and die in, and another one ends."""

import json
from collections import Counter
from collections.abc import Callable, Sequence

from tests.acceptance.installed_lab import Event, Lab, vesemir
from tests.acceptance.patience import until
from tests.acceptance.pika_requester import Requester, in_order
from tests.acceptance.running_daemon import Daemon

PREPARE = ("fetch", "unpack")
STEPS = (*PREPARE, "link-shared", "remember", "switch", "restart", "check-version", "prune")
"""Of the shipped ``release``, in their order: a marker of each says the same to every instance."""

DYING = {"VESEMIR_LIMITS__DEPLOYMENTS": "1", "VESEMIR_LEASE__SECONDS": "8"}
"""Each takes one, and the others have taken theirs before its lease expires."""


def plain_event(lab: Lab, version: str, lane: str, boxes: Sequence[str]) -> Event:
    """With nothing in it that the release before does not know."""
    event: Event = json.loads(vesemir("lab", "event", "--dir", str(lab.folder), "--version", version, "--plain"))
    return event | {"application": lane, "targets": {"hosts": list(boxes)}}


def begun_and_died(
    requester: Requester, start: Callable[..., Daemon], events: Sequence[Event], places: Sequence[str]
) -> list[Daemon]:
    """One instance for each deployment, each of which dies at a place of its own; returns when all are dead."""
    dying = [start(VESEMIR_FAILPOINT=place, healthy=False, **DYING) for place in places]
    for each in dying:
        each.wait_until_healthy()
    for event in events:
        requester.publish(event)
    for each, place in zip(dying, places, strict=True):
        until(lambda each=each: each.process.poll() is not None, what=f"an instance died at {place}")  # type: ignore[misc]
    return dying


def check_handed_over(lab: Lab, requester: Requester, event: Event, *, ended_by: str) -> Event:
    """It succeeded by the other instance, each step was done once on each box, and every box serves it."""
    result = requester.finished(event["deployment_id"])
    assert (result["status"], result["failure"]) == ("succeeded", None), result
    assert str(result["instance"]).partition("/")[0] == ended_by
    assert result["metrics"]["takeovers"] >= 1
    told = in_order(requester.events(event["deployment_id"]))
    assert [body["sequence"] for body in told] == list(range(1, len(told) + 1))
    done = Counter((body["target"], body["step"]) for body in told if body.get("step") in STEPS)
    boxes = event["targets"]["hosts"]
    again = {each: number for each, number in done.items() if number != 1}
    assert (again, set(done)) == ({}, {(name, step) for name in boxes for step in STEPS}), done
    assert {lab.serves(name)["version"] for name in boxes} == {event["version"]}
    return result
