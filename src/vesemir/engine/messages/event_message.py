"""One recorded event as the message that it is at one place: the same ``message_id`` who publishes it, and when."""

import json
import uuid

from vesemir.domain.naming import routing_key
from vesemir.engine.messages.cloud_event import cloud_event_headers
from vesemir.engine.ports.broker import OutgoingMessage
from vesemir.engine.ports.store import StoredEvent

_IDS = uuid.UUID("b0f6a1de-54b1-4c50-8a3e-5c0f1e6f7d20")
"""Namespace of the name-based message ids (RFC 9562, version 5)."""


def event_message(
    event: StoredEvent, *, reply_to: str | None, correlation_id: str | None, namespace: str
) -> OutgoingMessage:
    """``reply_to`` None is the topic exchange."""
    body = event.body
    topic = reply_to is None
    place = f"{namespace}.events" if topic else f"queue/{reply_to}/{correlation_id or ''}"
    key = routing_key(body["application"], body["environment"], event.name) if topic else (reply_to or "")
    message_id = str(uuid.uuid5(_IDS, f"{event.deployment_id}/{event.sequence}/{place}"))
    return OutgoingMessage(
        exchange=f"{namespace}.events" if topic else "",
        routing_key=key,
        body=json.dumps(body, ensure_ascii=False).encode(),
        message_id=message_id,
        type=event.name,
        correlation_id=correlation_id,
        mandatory=not topic,
        headers=cloud_event_headers(body, namespace=namespace, message_id=message_id),
    )
