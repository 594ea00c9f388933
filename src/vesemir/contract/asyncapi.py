"""The AsyncAPI 3.0 document of the broker: queues, exchanges, and what goes in and out (contract section 2)."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from vesemir.contract.control import ControlMessage, LaneControlMessage
from vesemir.contract.deploy import DeployEvent
from vesemir.contract.events import EVENTS
from vesemir.contract.schemas import component_schemas

Document = dict[str, Any]

CONTRACT_VERSION = "1.0.0"
"""That of the messages, not of the program."""

_DURABLE = {"durable": True, "exclusive": False, "autoDelete": False}
_IN: Mapping[str, type[BaseModel]] = {
    "deploy": DeployEvent,
    "control": ControlMessage,
    "lane_control": LaneControlMessage,
}
_CONTROL = ["control", "lane_control"]
_ABOUT_CONTROL = [name for name in EVENTS if name.startswith("control.")]
_ABOUT_DEPLOYMENTS = [name for name in EVENTS if name not in _ABOUT_CONTROL]
_REFUSED: Document = {
    "name": "refused",
    "summary": "A body as it came: any bytes",
    "contentType": "application/octet-stream",
    "headers": {
        "type": "object",
        "required": ["x-vesemir-code", "x-vesemir-reason"],
        "properties": {"x-vesemir-code": {"type": "string"}, "x-vesemir-reason": {"type": "string"}},
    },
    "payload": {},
}
_CLOUD_EVENT: Document = {
    "type": "object",
    "description": "CloudEvents 1.0, binary mode; subject is APPLICATION/ENVIRONMENT, and left out where unknown.",
    "required": [f"cloudEvents:{name}" for name in ("specversion", "id", "source", "type", "time")],
    "properties": {
        f"cloudEvents:{name}": {"type": "string"} for name in ("specversion", "id", "source", "type", "subject", "time")
    },
}
_WHAT_IS_PUBLISHED = (
    "JSON, persistent, publisher-confirmed; `type` is the event's name, `app_id` is vesemir, and `message_id` stays "
    "the same when the same event is published again to the same place. At least once: drop what you have by "
    "(deployment_id, sequence)."
)


def asyncapi(namespace: str = "vesemir") -> Document:
    """The document as JSON values. ``namespace`` is the setting ``amqp.namespace``."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vesemir",
            "version": CONTRACT_VERSION,
            "description": "Brings a release to an application's hosts on request, and tells what happened.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(namespace),
        "operations": _operations(),
        "components": {
            "messages": {
                **{name: _message(name, model) for name, model in {**_IN, **EVENTS}.items()},
                "refused": _REFUSED,
            },
            "schemas": component_schemas([*_IN.values(), *EVENTS.values()], "#/components/schemas/{model}"),
        },
    }


_BY_EXCHANGE = "The fanout exchange of the same name leads to it."


def _channels(namespace: str) -> Document:
    return {
        "deployments": _queue(f"{namespace}.deployments", f"Deploy events (quorum queue). {_BY_EXCHANGE}", ["deploy"]),
        "control": _queue(
            f"{namespace}.control", f"Cancel, pause, resume, lock, unlock (quorum queue). {_BY_EXCHANGE}", _CONTROL
        ),
        "rejected": _queue(
            f"{namespace}.rejected",
            "Every refused deploy event as it came, and control messages that could not be read (quorum queue). The "
            "headers x-vesemir-code and x-vesemir-reason say why.",
            ["refused"],
        ),
        "events": {
            "address": "{application}.{environment}.{event}",
            "description": f"Topic exchange {namespace}.events: every event.",
            "parameters": {
                "application": {"description": "the application's name"},
                "environment": {"description": "the environment's name"},
                "event": {"description": "the event's name, which contains a dot"},
            },
            "messages": _references(EVENTS),
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {"name": f"{namespace}.events", "type": "topic", "durable": True, "autoDelete": False},
                }
            },
        },
        "reply": {
            "address": None,
            "description": "The queue that the message's reply_to names, by the default exchange.",
            "messages": _references(EVENTS),
        },
    }


def _queue(name: str, description: str, messages: Iterable[str]) -> Document:
    return {
        "address": name,
        "description": description,
        "messages": _references(messages),
        "bindings": {"amqp": {"is": "queue", "queue": {"name": name, **_DURABLE}}},
    }


def _operations() -> Document:
    return {
        "takeDeployEvents": _receives("deployments", ["deploy"], _ABOUT_DEPLOYMENTS),
        "takeControlMessages": _receives("control", _CONTROL, _ABOUT_CONTROL),
        "keepRefused": {
            "action": "send",
            "channel": {"$ref": "#/channels/rejected"},
            "summary": "A copy of what was refused",
            "messages": [_in_channel("rejected", "refused")],
        },
        "publishEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Every event, by topic",
            "description": _WHAT_IS_PUBLISHED,
            "messages": [_in_channel("events", name) for name in EVENTS],
        },
    }


def _receives(channel: str, messages: Iterable[str], answers: Iterable[str]) -> Document:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [_in_channel(channel, name) for name in messages],
        "reply": {
            "address": {"location": "$message.header#/reply_to"},
            "channel": {"$ref": "#/channels/reply"},
            "messages": [_in_channel("reply", name) for name in answers],
        },
    }


def _message(name: str, model: type[BaseModel]) -> Document:
    return {
        "name": name,
        "contentType": "application/json",
        **({"headers": _CLOUD_EVENT} if name in EVENTS else {}),
        "correlationId": {"location": "$message.header#/correlation_id"},
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "bindings": {"amqp": {"messageType": name}},
    }


def _references(names: Iterable[str]) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _in_channel(channel: str, name: str) -> Document:
    return {"$ref": f"#/channels/{channel}/messages/{name}"}
