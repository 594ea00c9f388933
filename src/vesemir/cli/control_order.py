"""A control message: sent by the broker, and written to the record itself where no broker can take it.

Instances obey what the record says, whichever way it came there. What is written directly must not come a second time
when the broker returns: a pause that was resumed since would pause again, a second resume opens a second gate, and a
lane that was unlocked since would be locked. So only what the broker cannot have is written, and a cancel, which cannot
be done twice.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vesemir.adapters.amqp.requester import Requester
from vesemir.adapters.observe import redact
from vesemir.adapters.postgres import PostgresStore
from vesemir.cli.identity import who_asks
from vesemir.cli.output import say
from vesemir.cli.requesting import quiet
from vesemir.contract import ControlRequest, LaneRequest, MessageProperties, Refusal, parse_control
from vesemir.contract.control import CONTROL_SCHEMA
from vesemir.domain.control import CommandName
from vesemir.domain.duration import limit_text
from vesemir.domain.failure import VesemirError
from vesemir.domain.identity import Asker
from vesemir.domain.policy import ALLOW_ALL
from vesemir.engine.messages.control_outcome import ControlOutcome, answer_body, outcome_of
from vesemir.engine.messages.lane_outcome import lane_outcome_of
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.store import StoreAwayError
from vesemir.settings import AmqpSettings, Settings

Json = Mapping[str, Any]

CONNECT_SECONDS = 3.0
"""How long a broker may take to let us in before the record is written instead: somebody is waiting for the cancel."""


RETRY_SECONDS = 5.0
"""How long a record that does not answer is tried again."""


class _NotSentError(VesemirError):
    """The broker cannot have the message."""


class _InDoubtError(VesemirError):
    """The broker may have the message, and no answer came."""


@dataclass(frozen=True, slots=True)
class ControlOrder:
    """What is asked for. ``about`` has the message's fields beside command, ``requested_by`` and ``reason``.

    ``look`` is the command that shows what became of it.
    """

    settings: Settings
    command: CommandName
    about: Mapping[str, str]
    reason: str | None
    look: str

    @classmethod
    def of_deployment(
        cls, settings: Settings, command: CommandName, deployment_id: str, reason: str | None
    ) -> "ControlOrder":
        return cls(settings, command, {"deployment_id": deployment_id}, reason, f"vesemir status {deployment_id}")

    async def answered(self, *, timeout: float) -> Json:
        """``control.accepted`` or ``control.rejected``. Raises ``VesemirError`` when neither way leads to one."""
        quiet()
        try:
            return await self._by_message(timeout)
        except _NotSentError as error:
            return await self._by_record("the broker does not answer", error)
        except _InDoubtError as error:
            if self.command != "cancel":
                raise
            return await self._by_record("no answer came by the broker", error)

    @property
    def body(self) -> bytes:
        fields = {"schema": CONTROL_SCHEMA, "command": self.command, **self.about}
        return json.dumps(
            {**fields, "requested_by": who_asks(), **({} if self.reason is None else {"reason": self.reason})}
        ).encode()

    async def _by_message(self, timeout: float) -> Json:
        connected = False
        try:
            async with Requester.connected(_hurried(self.settings.amqp), name=self._name) as requester:
                connected = True
                await requester.control(self.body, correlation_id="/".join(self.about.values()))
                return await self._answer(requester, timeout)
        except BrokerAwayError as error:
            if not connected:
                raise _NotSentError(str(error)) from error
            raise _InDoubtError(
                f"{error}; the broker may have the {self.command}, and an instance then carries it out: look at "
                f"`{self.look}` before you ask again"
            ) from error

    async def _answer(self, requester: Requester, timeout: float) -> Json:
        try:
            async with asyncio.timeout(timeout):
                async for reply in requester.replies():
                    if str(reply.body.get("event", "")).startswith("control."):
                        return reply.body
        except TimeoutError:
            pass
        raise _InDoubtError(
            f"no answer within {limit_text(timeout)}; the {self.command} waits in the queue until an instance takes "
            "it: see that `vesemir run` runs"
        )

    async def _by_record(self, what: str, why: VesemirError) -> Json:
        """Judged as an instance judges the message."""
        settings, instance = self.settings, f"cli/{who_asks()}"
        parsed = parse_control(
            self.body,
            max_bytes=settings.amqp.max_message_bytes,
            namespace=settings.amqp.namespace,
            properties=MessageProperties(),
        )
        if isinstance(parsed, Refusal):
            return answer_body(instance, parsed.common, parsed.command, parsed)
        try:
            async with PostgresStore.connected(
                settings.postgres,
                instance=instance,
                namespace=settings.amqp.namespace,
                retry_seconds=RETRY_SECONDS,
            ) as store:
                asker = Asker(claimed=parsed.requested_by, way="record")
                # Whoever may write to the record is not judged: it proves nobody, and it could write anything.
                outcome = await _recorded(store, parsed, asker)
        except StoreAwayError as error:
            raise VesemirError(f"{why}; and the record cannot be written directly: {error}") from error
        if outcome.failure is None:
            say(f"{what}: written to the record directly ({why})")
        else:
            say(f"{what}: the record was asked directly ({why})")
        return answer_body(instance, outcome.common, parsed.command, outcome.failure, known=outcome.known)

    @property
    def _name(self) -> str:
        return f"vesemir {self.command} {who_asks()}"


async def _recorded(store: PostgresStore, asked: ControlRequest | LaneRequest, asker: Asker) -> ControlOutcome:
    if isinstance(asked, LaneRequest):
        return await lane_outcome_of(store, asked, asker, policy=ALLOW_ALL, redact=redact)
    return await outcome_of(store, asked, asker, policy=ALLOW_ALL, redact=redact)


def _hurried(settings: AmqpSettings) -> AmqpSettings:
    seconds = min(settings.connect_timeout_seconds, CONNECT_SECONDS)
    return settings.model_copy(update={"connect_timeout_seconds": seconds})
