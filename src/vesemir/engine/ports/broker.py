"""The port to the broker: what is consumed, what is published, and what each outcome means."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vesemir.contract import MessageProperties
from vesemir.domain.failure import VesemirError
from vesemir.domain.identity import Asker


class BrokerAwayError(VesemirError):
    """The broker did not take it in time: it may have it or not. Publish again with the same ``message_id``."""


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message as it came. ``user_id`` is verified by RabbitMQ where present."""

    body: bytes
    reply_to: str | None
    correlation_id: str | None
    user_id: str | None
    redelivered: bool
    headers: Mapping[str, object] = field(default_factory=dict)
    content_encoding: str | None = None
    sent_at: float | None = None
    """Its ``timestamp``, in seconds since 1970: what the requester's clock said, in whole seconds."""

    @property
    def properties(self) -> MessageProperties:
        """As they are judged with the body."""
        return MessageProperties(self.reply_to, self.correlation_id, self.user_id, self.content_encoding)

    def asker(self, claimed: str | None) -> Asker:
        """Who sent it; ``claimed`` is its body's ``requested_by``."""
        return Asker.by_amqp(self.user_id, claimed=claimed)

    @property
    def returned(self) -> bool:
        """It was given back before: by an instance that died with it, or by one whose record was away."""
        return self.redelivered or bool(self.headers.get("x-delivery-count"))


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """``exchange`` "" is the default exchange, where ``routing_key`` names a queue. ``type`` is the event's name."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    type: str
    correlation_id: str | None = None
    content_type: str | None = "application/json"
    content_encoding: str | None = None
    mandatory: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    expires_seconds: float | None = None
    """After so long in a queue the broker drops it."""


class PublishOutcome(StrEnum):
    """``RETURNED``: confirmed, but no queue took it. ``REFUSED``: the broker answered nack (a full queue)."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"


Handler = Callable[[IncomingMessage], Awaitable[None]]
"""Returns when the message is dealt with and may be acknowledged; raises when it must come again."""


class Broker(Protocol):
    async def publish(self, message: OutgoingMessage) -> PublishOutcome:
        """Persistent, confirmed, with this instance's own user where it is known.

        May be called many times at once (confirms in flight). Raises ``BrokerAwayError``.
        """
        ...
