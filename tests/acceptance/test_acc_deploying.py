"""The main job: an event by ``amqp-publish`` brings a release to five boxes while somebody asks for the page."""

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

import pytest
from tests.acceptance.installed_lab import Event, Lab
from tests.acceptance.pika_requester import DEPLOYMENTS, EVENTS, Received, Requester
from tests.acceptance.running_daemon import Daemon
from tests.acceptance.web import page
from tests.published import validate_event

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("instance")]

COMMON = {
    "event", "deployment_id", "sequence", "occurred_at", "application", "environment", "version", "instance",
}  # fmt: skip
CARRIED = {
    "deployment.accepted": {"position", "break_glass"},
    "deployment.started": {"targets", "batches"},
    "target.started": {"target", "batch", "direction"},
    "step.finished": {
        "target", "step", "status", "exit_status", "duration_seconds", "output", "output_truncated",
    },
    "target.finished": {"target", "direction", "status", "failure", "duration_seconds"},
    "deployment.finished": {"status", "failure", "targets", "metrics"},
}  # fmt: skip
STATUSES = ("succeeded", "failed", "unreachable", "timed_out", "cancelled", "skipped", "rolled_back", "unknown")
METRICS = {
    "queued_seconds", "resolve_seconds", "duration_seconds", "targets_total", "target_seconds_p50",
    "target_seconds_p95", "target_seconds_max", "steps_total", "ssh_connect_seconds_p50", "ssh_connect_seconds_max",
    "output_bytes", "takeovers", "redone_steps", *(f"targets_{status}" for status in STATUSES),
}  # fmt: skip


class Observed:
    """What a load generator and somebody who looks at HAProxy saw while a block ran."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.failed: list[str] = []
        self.looks = 0
        self.most_out = 0


@contextmanager
def observed(lab: Lab, askers: int = 3) -> Iterator[Observed]:
    """Requests through HAProxy's frontend, one after the other in each thread, and looks at its socket."""
    seen, ending = Observed(), threading.Event()

    def ask() -> None:
        while not ending.wait(0.005):
            try:
                told = page(lab["http_url"], timeout=20)
                seen.answers[told["box"], told["version"]] += 1
            except (HTTPException, OSError, ValueError) as error:
                seen.failed.append(repr(error))

    def look() -> None:
        while not ending.wait(0.01):
            out = [name for name, server in lab.servers().items() if not server.takes_traffic]
            seen.looks, seen.most_out = seen.looks + 1, max(seen.most_out, len(out))

    threads = [threading.Thread(target=work) for work in [look, *([ask] * askers)]]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def check_told(received: list[Received], event: Event, correlation_id: str | None) -> Event:
    """Every event of one deployment at one place: complete, in order, once, and in its envelope. The result."""
    bodies = [each.body for each in received]
    assert [body["sequence"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert [each.event for each in received if each.event == "deployment.finished"] == ["deployment.finished"]
    assert bodies[0]["event"] == "deployment.accepted"
    assert bodies[-1]["event"] == "deployment.finished"
    for each in received:
        validate_event(each.body)
        assert each.body.keys() >= COMMON | CARRIED[each.event]
        assert {name: each.body[name] for name in ("deployment_id", "application", "environment", "version")} == {
            name: event[name] for name in ("deployment_id", "application", "environment", "version")
        }
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", each.body["occurred_at"])
        assert each.body["instance"].startswith("one/")
        properties = each.properties
        assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
        assert (properties.type, properties.app_id) == (each.event, "vesemir")
        assert properties.message_id
        if correlation_id is not None:
            assert properties.correlation_id == correlation_id
    assert len({each.properties.message_id for each in received}) == len(received)
    result = bodies[-1]
    assert result["metrics"].keys() >= METRICS
    for target in result["targets"]:
        assert target.keys() >= {"name", "address", "status", "failure", "duration_seconds"}
    return result


def check_consistent(bodies: list[Event], result: Event) -> None:
    """The numbers of the result are those of the events before it."""
    metrics, names = result["metrics"], [target["name"] for target in result["targets"]]
    started = next(body for body in bodies if body["event"] == "deployment.started")
    assert [target["name"] for target in started["targets"]] == names
    assert [name for batch in started["batches"] for name in batch] == names
    finished = Counter(body["target"] for body in bodies if body["event"] == "target.finished")
    assert finished == Counter(names)
    assert metrics["targets_total"] == len(names)
    assert metrics["targets_total"] == sum(metrics[f"targets_{status}"] for status in STATUSES)
    assert metrics["steps_total"] == sum(body["event"] == "step.finished" for body in bodies)


@pytest.mark.usefixtures("mended")
def test_amqp_publish_brings_a_release_to_five_boxes_under_load(lab: Lab, requester: Requester) -> None:
    """Nothing fails, no more than two are out, every box serves the new release, and the old one is kept."""
    five, spared, version = lab.names[:5], lab.names[5], lab.other_version()
    before = {name: lab.current(name) for name in lab.names}
    event = lab.event(version, targets={"hosts": five}, rollout={"concurrency": 2})
    name = event["deployment_id"]
    requester.watch()

    with observed(lab) as seen:
        subprocess.run(
            ["amqp-publish", f"--url={lab['amqp_url']}", f"--routing-key={DEPLOYMENTS}", "--persistent",
             f"--reply-to={requester.queue}", "--content-type=application/json"],
            input=json.dumps(event), text=True, check=True, timeout=30,
        )  # fmt: skip
        result = requester.finished(name)

    assert (result["status"], result["failure"]) == ("succeeded", None)
    assert seen.failed == []
    assert sum(seen.answers.values()) > 100
    assert {version, before[five[0]]} <= {version for _, version in seen.answers}
    assert seen.looks > 20
    assert 1 <= seen.most_out <= 2

    told = requester.events(name)
    assert check_told(told, event, None) == result
    check_consistent([each.body for each in told], result)
    started = told[1].body
    assert started["batches"] == [five[:2], five[2:4], five[4:]]
    steps = [each.body["step"] for each in told if each.body.get("target") == five[0] and each.event == "step.finished"]
    assert (steps[:3], steps[-2:]) == (["fetch", "unpack", "drain"], ["health", "enable"])

    requester.wait(lambda: len(_watched(requester, name)) >= len(told), "the same events on the topic exchange")
    published = _watched(requester, name)
    assert [each.body for each in published] == [each.body for each in told]
    assert {each.exchange for each in published} == {EVENTS}
    assert [each.routing_key for each in published] == [f"shop.production.{each.event}" for each in told]
    check_told(published, event, None)

    for box in five:
        assert lab.serves(box) == {"application": "shop", "version": version, "box": box}
        assert lab.current(box) == version
        assert (lab.app_root(box) / "releases" / before[box] / "app.py").is_file()
    assert lab.current(spared) == before[spared]
    assert all(server.is_back for server in lab.servers().values())


def _watched(requester: Requester, name: str) -> list[Received]:
    return [each for each in requester.watched if each.body["deployment_id"] == name]


def test_an_event_by_pika_is_told_in_full(lab: Lab, requester: Requester, instance: Daemon) -> None:
    """The correlation id comes back with every event, and what the script printed stands in its step."""
    script = 'printf "one\\377two"; echo "$BOX_NAME" >&2; yes 123456789 | head -c 10000; exit "${1:-0}"'
    event = lab.script(script, *lab.names[:3], rollout={"concurrency": "100%"}, team="core", requested_by="joe")
    correlation_id = requester.publish(event)
    result = requester.finished(event["deployment_id"])

    told = requester.events(event["deployment_id"])
    assert check_told(told, event, correlation_id)["status"] == "succeeded"
    check_consistent([each.body for each in told], result)
    assert [each.event for each in told[:2]] == ["deployment.accepted", "deployment.started"]
    assert told[0].body["position"] == 0
    steps = [each.body for each in told if each.event == "step.finished"]
    assert {(step["step"], step["status"], step["exit_status"]) for step in steps} == {("script", "succeeded", 0)}
    assert {len(step["output"].encode()) for step in steps} == {4096}
    assert all(step["output_truncated"] for step in steps)
    assert result["metrics"]["output_bytes"] == 3 * (10000 + len(b"one\xfftwo") + len("web1\n"))
    assert result["instance"] == told[0].body["instance"]

    assert (
        page(f"{instance.url}/api/v1/deployments/{event['deployment_id']}")["deployment_id"] == event["deployment_id"]
    )


def test_undecodable_output_is_replaced(lab: Lab, requester: Requester) -> None:
    event = lab.script('printf "one\\377two\\n"; exit 3', "web1")
    result = requester.deploy(event)
    step = requester.event(event["deployment_id"], "step.finished")
    assert (step["status"], step["exit_status"]) == ("failed", 3)
    assert step["output"].startswith("one\ufffdtwo\n")
    assert not step["output_truncated"]
    assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
    assert result["targets"][0]["failure"]["code"] == "step.failed"
