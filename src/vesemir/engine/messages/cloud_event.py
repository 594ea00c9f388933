"""The attributes of CloudEvents 1.0 that a message carries as AMQP headers (contract section 2; AMQP binding, 3.1)."""

from collections.abc import Mapping
from typing import Any

PREFIX = "cloudEvents:"
SPECIFICATION = "1.0"
KIND = "io.vesemir."
"""Before the event's name in ``type``."""


def cloud_event_headers(body: Mapping[str, Any], *, namespace: str, message_id: str) -> dict[str, str]:
    """``body`` is an event's. ``message_id`` is the ``id`` of what is not numbered: refusals and answers to control."""
    numbered = body["deployment_id"] and body["sequence"]
    attributes = {
        "specversion": SPECIFICATION,
        "id": f"{body['deployment_id']}/{body['sequence']}" if numbered else message_id,
        "source": f"/vesemir/{namespace}",
        "type": f"{KIND}{body['event']}",
        "time": str(body["occurred_at"]),
    }
    if body["application"] and body["environment"]:
        attributes["subject"] = f"{body['application']}/{body['environment']}"
    return {f"{PREFIX}{name}": value for name, value in attributes.items()}
