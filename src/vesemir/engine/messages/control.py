"""Control messages in: they set wishes in the record, and the owner of the deployment, the one that that is, obeys."""

import re
from collections.abc import Callable
from typing import assert_never

from vesemir.contract import CommonFields, ControlRequest, Refusal, internal_refusal, parse_control
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.states import DeploymentState
from vesemir.engine.messages.answers import Answers
from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.store import ControlAnswer, ControlCommand, DeploymentIdentity, Store


class Control:
    """The handler of the control queue. ``on_wish`` is called when a wish was set or a deployment ended."""

    def __init__(
        self,
        *,
        store: Store,
        answers: Answers,
        log: Log,
        meters: Meters,
        namespace: str,
        max_bytes: int,
        redact: Callable[[str], str],
        on_wish: Callable[[], None],
        reply_to_pattern: re.Pattern[str] | None = None,
    ) -> None:
        self._store = store
        self._answers = answers
        self._log = log
        self._meters = meters
        self._namespace = namespace
        self._max_bytes = max_bytes
        self._redact = redact
        self._on_wish = on_wish
        self._reply_to_pattern = reply_to_pattern

    async def handle(self, message: IncomingMessage) -> None:
        """Raises ``StoreAwayError`` or ``BrokerAwayError``: the message must come again."""
        parsed = parse_control(
            message.body,
            max_bytes=self._max_bytes,
            namespace=self._namespace,
            properties=message.properties,
            reply_to_pattern=self._reply_to_pattern,
        )
        if isinstance(parsed, Refusal):
            self._meters.control_received(parsed.command or "unknown", accepted=False)
            await self._answers.control_refused(message, parsed)
            return
        answer, identity = await self._store.control(
            ControlCommand(
                parsed.command, parsed.deployment_id, self._shown(parsed.requested_by), self._shown(parsed.reason)
            )
        )
        failure = _failure(answer, parsed)
        self._meters.control_received(parsed.command, accepted=failure is None)
        self._log.info(
            "{command}, asked for by {who}: {answer}",
            command=parsed.command,
            who=parsed.requested_by or "nobody named",
            deployment_id=parsed.deployment_id,
            answer=answer.value,
        )
        if answer is ControlAnswer.FINISHED:
            self._meters.deployment_finished(DeploymentState.CANCELLED, FailureCode.DEPLOYMENT_CANCELLED, seconds=None)
        if failure is None:
            self._on_wish()
        await self._answers.control(message, _common(parsed.deployment_id, identity), parsed.command, failure)

    async def refuse_as_bug(self, message: IncomingMessage, error: Exception) -> None:
        """The last resort of the poison guard. Raises as ``handle`` does."""
        refusal = internal_refusal(message.body, error)
        self._meters.control_received(refusal.command or "unknown", accepted=False)
        await self._answers.control_refused(message, refusal)

    def _shown(self, text: str | None) -> str | None:
        """Both are told in events and kept in the record."""
        return None if text is None else self._redact(text)


def _failure(answer: ControlAnswer, request: ControlRequest) -> Failure | None:
    match answer:
        case ControlAnswer.UNKNOWN:
            text = (
                f"no deployment {request.deployment_id} is known; if its deployment.accepted has not come yet, "
                "try again in a moment"
            )
            return Failure(FailureCode.CONTROL_UNKNOWN_DEPLOYMENT, text)
        case ControlAnswer.NOT_RUNNING:
            text = (
                f"deployment {request.deployment_id} cannot {request.command} in its present state; ask vesemir status"
            )
            return Failure(FailureCode.CONTROL_NOT_RUNNING, text)
        case ControlAnswer.ACCEPTED | ControlAnswer.FINISHED:
            return None
        case _:
            assert_never(answer)


def _common(deployment_id: str, identity: DeploymentIdentity | None) -> CommonFields:
    if identity is None:
        return CommonFields(deployment_id=deployment_id)
    return CommonFields(deployment_id, identity.application, identity.environment, identity.version)
