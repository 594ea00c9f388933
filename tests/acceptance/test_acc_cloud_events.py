"""CloudEvents 1.0 in binary mode on a real broker: every kind of message has its attributes as headers."""

import pytest
from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import CONTROL, Received, Requester

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("instance")]

PREFIX = "cloudEvents:"
NUMBERED = {
    "deployment.accepted", "deployment.started", "deployment.paused", "deployment.resumed", "deployment.cancelling",
    "deployment.finished", "target.started", "step.finished", "target.finished",
}  # fmt: skip
ANSWERS = {"deployment.rejected", "control.accepted", "control.rejected"}


def expected(received: Received) -> dict[str, str]:
    """By the contract's words."""
    body, numbered = received.body, received.event in NUMBERED
    lane = [body["application"], body["environment"]]
    attributes = {
        "specversion": "1.0",
        "id": f"{body['deployment_id']}/{body['sequence']}" if numbered else received.properties.message_id,
        "source": "/vesemir/vesemir",
        "type": f"io.vesemir.{received.event}",
        "time": body["occurred_at"],
    }
    if None not in lane:
        attributes["subject"] = "/".join(lane)
    return {f"{PREFIX}{name}": value for name, value in attributes.items()}


def test_every_message_has_its_attributes(lab: Lab, requester: Requester) -> None:
    """What a rollout with a gate tells, one that is cancelled, refusals, and answers to commands; to both places."""
    requester.watch()
    gated = lab.script("true", "web1", "web2", rollout={"approve_after": "batch"})
    name = gated["deployment_id"]
    requester.publish(gated)
    requester.event(name, "deployment.paused")
    assert requester.control("pause", "nobody").event == "control.rejected"
    assert requester.control("resume", name).event == "control.accepted"
    assert requester.finished(name)["status"] == "succeeded"

    ended = lab.script("sleep 600", "web1")
    requester.publish(ended)
    requester.event(ended["deployment_id"], "target.started")
    assert requester.control("cancel", ended["deployment_id"]).event == "control.accepted"
    requester.finished(ended["deployment_id"])

    for message, queue in ((lab.script("true") | {"recipe": "none"}, ""), (b"{", ""), (b"{", CONTROL)):
        requester.answer(requester.publish(message, **({"queue": queue} if queue else {})))
    kinds = NUMBERED | ANSWERS
    requester.wait(lambda: kinds <= {each.event for each in requester.watched}, "each kind by the exchange")
    requester.wait(lambda: kinds <= {each.event for each in requester.replies}, "each kind by the reply queue")
    for received in (*requester.replies, *requester.watched):
        headers = received.properties.headers or {}
        assert {key: value for key, value in headers.items() if key.startswith(PREFIX)} == expected(received)
        assert received.properties.content_type == "application/json"
