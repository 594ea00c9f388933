"""Answers that are not part of a deployment's record: refusals, and replies to control messages.

They are published at once and before the acknowledgement, so they come at least once; ``message_id`` is made from what
is answered, so a repeated one can be told.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from vesemir.contract import CommonFields, Refusal, reply_to_problem
from vesemir.domain.audit import AuditHead, heads_json
from vesemir.domain.failure import Failure
from vesemir.domain.naming import routing_key
from vesemir.engine.messages.cloud_event import cloud_event_headers
from vesemir.engine.messages.control_outcome import answer_body, answer_fields
from vesemir.engine.messages.event_message import event_message
from vesemir.engine.ports.broker import Broker, IncomingMessage, OutgoingMessage, PublishOutcome
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import StoredEvent

_IDS = uuid.UUID("6f0a2c52-6c2d-4a53-9a0f-2f3b6f3a7c11")
"""Namespace of the name-based ids (RFC 9562, version 5)."""

_HEADER_BYTES = 500


class Answers:
    """``rejected_seconds``: how long a copy stays in the rejected queue; None is for ever."""

    def __init__(
        self,
        broker: Broker,
        *,
        namespace: str,
        instance: str,
        log: Log,
        reply_to_pattern: re.Pattern[str] | None = None,
        rejected_seconds: float | None = None,
    ) -> None:
        self._broker = broker
        self._namespace = namespace
        self._reply_to_pattern = reply_to_pattern
        self._rejected_seconds = rejected_seconds
        self._instance = instance
        self._log = log

    async def rejected(self, message: IncomingMessage, refusal: Refusal) -> None:
        """``deployment.rejected`` to the requester and the listeners; a copy of the message to the rejected queue."""
        await self._copy(message, refusal)
        body = answer_fields("deployment.rejected", refusal.common, instance=self._instance)
        body |= {"failure": refusal.failure_json()}
        await self._tell(message, body, refusal)

    async def control(
        self,
        message: IncomingMessage,
        common: CommonFields,
        command: str | None,
        failure: Failure | None,
        *,
        known: bool = True,
    ) -> None:
        """``control.accepted`` or ``control.rejected``."""
        await self._tell(message, answer_body(self._instance, common, command, failure, known=known), failure)

    async def control_refused(self, message: IncomingMessage, refusal: Refusal) -> None:
        """A control message that could not be read: ``control.rejected``, and a copy to the rejected queue."""
        await self._copy(message, refusal)
        await self._tell(message, answer_body(self._instance, refusal.common, refusal.command, refusal), refusal)

    async def result_again(self, message: IncomingMessage, result: StoredEvent) -> None:
        """``deployment.finished`` of a deployment that is not in the record any more, to who repeats the request."""
        if message.reply_to:
            again = event_message(
                result, reply_to=message.reply_to, correlation_id=message.correlation_id, namespace=self._namespace
            )
            await self._to_requester(again)

    async def audit_heads(self, heads: Iterable[AuditHead]) -> None:
        """``audit.head`` to the listeners: the last rows of chains of the audit, by chain ``[number, hash]``.

        Nobody asked for it, and it is about no deployment. Raises ``BrokerAwayError``.
        """
        fields = answer_fields("audit.head", CommonFields(), instance=self._instance)
        body, message_id = {**fields, "heads": heads_json(heads)}, str(uuid.uuid4())
        await self._broker.publish(
            OutgoingMessage(
                f"{self._namespace}.events",
                routing_key(None, None, "audit.head"),
                json.dumps(body).encode(),
                message_id,
                "audit.head",
                headers=cloud_event_headers(body, namespace=self._namespace, message_id=message_id),
            )
        )

    async def _copy(self, message: IncomingMessage, refusal: Refusal) -> None:
        reason = refusal.message.encode("ascii", "replace")[:_HEADER_BYTES].decode()
        queue = f"{self._namespace}.rejected"
        await self._broker.publish(
            OutgoingMessage(
                exchange="",
                routing_key=queue,
                body=message.body,
                message_id=_message_id(message, queue, refusal.code.value),
                type="deployment.rejected",
                content_type=None,
                content_encoding=message.content_encoding,
                correlation_id=message.correlation_id,
                headers={"x-vesemir-code": refusal.code.value, "x-vesemir-reason": reason},
                expires_seconds=self._rejected_seconds,
            )
        )

    async def _tell(self, message: IncomingMessage, body: Mapping[str, Any], why: Refusal | Failure | None) -> None:
        encoded = json.dumps(body, ensure_ascii=False).encode()
        name, code = str(body["event"]), why.code.value if why else ""
        key = routing_key(body["application"], body["environment"], name)
        exchange = f"{self._namespace}.events"

        def headers(message_id: str) -> dict[str, str]:
            return cloud_event_headers(body, namespace=self._namespace, message_id=message_id)

        told = _message_id(message, exchange, name, code)
        await self._broker.publish(
            OutgoingMessage(exchange, key, encoded, told, name, message.correlation_id, headers=headers(told))
        )
        problem = reply_to_problem(message.reply_to, namespace=self._namespace, pattern=self._reply_to_pattern)
        if message.reply_to is None or not message.properties.answerable or problem is not None:
            return  # never into Vesemir's own queues, whatever the message was refused for first
        told = _message_id(message, message.reply_to, name, code)
        await self._to_requester(
            OutgoingMessage(
                exchange="",
                routing_key=message.reply_to,
                body=encoded,
                message_id=told,
                type=name,
                correlation_id=message.correlation_id,
                mandatory=True,
                headers=headers(told),
            )
        )

    async def _to_requester(self, reported: OutgoingMessage) -> None:
        outcome = await self._broker.publish(reported)
        if outcome is not PublishOutcome.CONFIRMED:
            self._log.warning(
                "{event} could not be delivered to {queue}: {outcome}",
                event=reported.type,
                queue=reported.routing_key,
                outcome=outcome.value,
            )


def _message_id(message: IncomingMessage, *parts: str) -> str:
    digest = hashlib.sha256(message.body).hexdigest()
    return str(uuid.uuid5(_IDS, "/".join((digest, message.correlation_id or "", *parts))))
