"""Control messages in: they set wishes in the record, and the owner of the deployment, the one that that is, obeys.

Those about a lane lock and unlock it in the record, and every intake and every claim looks there.
"""

import asyncio
import re
from collections.abc import Callable

from vesemir.contract import ControlRequest, LaneRequest, Refusal, internal_refusal, parse_control
from vesemir.domain.identity import Asker
from vesemir.engine.messages.answers import Answers
from vesemir.engine.messages.control_outcome import ControlOutcome, outcome_of
from vesemir.engine.messages.lane_outcome import lane_outcome_of
from vesemir.engine.messages.refusal_entry import refusal_entry
from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.policies import Policies
from vesemir.engine.ports.store import ControlAnswer, Store
from vesemir.engine.upkeep.unbegun import count_cancelled


class Control:
    """The handler of the control queue. ``on_wish`` is called when a wish was set or a deployment ended."""

    def __init__(
        self,
        *,
        store: Store,
        policies: Policies,
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
        self._policies = policies
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
            await self._store.audit(refusal_entry(message, parsed))
            await self._answers.control_refused(message, parsed)
            return
        # In a thread: it may have to read a changed file.
        await asyncio.to_thread(self._policies.refresh)
        asker = message.asker(parsed.requested_by)
        outcome = await self._outcome(parsed, asker)
        failure = outcome.failure
        self._meters.control_received(parsed.command, accepted=failure is None)
        self._say(parsed, asker, outcome)
        if outcome.answer is ControlAnswer.FINISHED:
            count_cancelled(self._meters, dry_run=outcome.dry_run)
        if failure is None:
            self._on_wish()
        await self._answers.control(message, outcome.common, parsed.command, failure, known=outcome.known)

    async def _outcome(self, asked: ControlRequest | LaneRequest, asker: Asker) -> ControlOutcome:
        policy = self._policies.current
        if isinstance(asked, LaneRequest):
            return await lane_outcome_of(self._store, asked, asker, policy=policy, redact=self._redact)
        return await outcome_of(self._store, asked, asker, policy=policy, redact=self._redact)

    def _say(self, asked: ControlRequest | LaneRequest, asker: Asker, outcome: ControlOutcome) -> None:
        common = outcome.common
        about = {"deployment_id": common.deployment_id}
        if isinstance(asked, LaneRequest):
            about = {"application": common.application, "environment": common.environment}
        self._log.info(
            "{command}, asked for by {who} ({identity}): {answer}",
            command=asked.command,
            who=asked.requested_by or "nobody named",
            identity=str(asker.identity or "no identity"),
            answer=outcome.answer.value,
            **about,
        )

    async def refuse_as_bug(self, message: IncomingMessage, error: Exception) -> None:
        """The last resort of the poison guard. Raises as ``handle`` does."""
        refusal = internal_refusal(message.body, error, max_bytes=self._max_bytes, encoding=message.content_encoding)
        self._meters.control_received(refusal.command or "unknown", accepted=False)
        await self._store.audit(refusal_entry(message, refusal))
        await self._answers.control_refused(message, refusal)
