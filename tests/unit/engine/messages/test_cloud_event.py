"""CloudEvents' attributes as headers (contract section 2)."""

import pytest

from vesemir.engine.messages.cloud_event import cloud_event_headers

FINISHED = {
    "event": "deployment.finished",
    "deployment_id": "dep-1",
    "sequence": 7,
    "occurred_at": "2026-11-28T01:02:03.000004Z",
    "application": "shop",
    "environment": "production",
}


def test_of_a_numbered_event() -> None:
    assert cloud_event_headers(FINISHED, namespace="one", message_id="m") == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": "dep-1/7",
        "cloudEvents:source": "/vesemir/one",
        "cloudEvents:type": "io.vesemir.deployment.finished",
        "cloudEvents:subject": "shop/production",
        "cloudEvents:time": "2026-11-28T01:02:03.000004Z",
    }


@pytest.mark.parametrize("unknown", [{"application": None}, {"environment": None}])
def test_of_an_answer_whose_lane_is_not_known(unknown: dict[str, None]) -> None:
    """Its id is the message's: many answers to one deployment have the sequence 0."""
    headers = cloud_event_headers({**FINISHED, "sequence": 0, **unknown}, namespace="one", message_id="m")
    assert headers["cloudEvents:id"] == "m"
    assert "cloudEvents:subject" not in headers
