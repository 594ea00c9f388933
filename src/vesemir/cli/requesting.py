"""Asking over RabbitMQ, as any requester does: publish, then read the events on a private reply queue.

A connection that is lost while events are awaited has lost its queue. The same event is then published again from a new
one: the contract runs it once however often it comes, and tells a new destination everything from the first event on.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from vesemir.adapters.amqp.requester import Requester
from vesemir.cli.event import DraftEvent
from vesemir.cli.identity import who_asks
from vesemir.cli.live import Watcher
from vesemir.cli.rollout import RolloutProgress
from vesemir.domain.duration import limit_text
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.settings import AmqpSettings

Json = Mapping[str, Any]

RECONNECT_SECONDS = 300.0
"""How long a lost broker is tried again while a rollout is followed."""
_PAUSE_SECONDS = 1.0
ANSWER_SECONDS = 30.0
"""How long an instance may take to accept or refuse, or to answer a control message."""


def quiet() -> None:
    """What libraries log while the broker is away is shown by our own lines."""
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).addHandler(logging.NullHandler())


class Request:
    """One deploy event and what came back. ``sent`` tells whether the broker has it."""

    def __init__(
        self, settings: AmqpSettings, event: DraftEvent, *, watcher: Watcher, rollout: RolloutProgress
    ) -> None:
        self._settings = settings
        self._event = event
        self._watcher = watcher
        self._rollout = rollout
        self.sent = False

    async def answered(self, *, follow: bool, timeout: float | None) -> Json:
        """``deployment.rejected``, or ``deployment.finished`` (without ``follow``: ``deployment.accepted``).

        Raises ``VesemirError`` when that does not come within ``timeout`` seconds.
        """
        quiet()
        try:
            async with asyncio.timeout(timeout):
                return await self._answer(follow=follow)
        except TimeoutError:
            raise VesemirError(self._late(timeout)) from None

    async def _answer(self, *, follow: bool) -> Json:
        lost_at: float | None = None
        while True:
            try:
                return await self._once(follow=follow)
            except BrokerAwayError as error:
                if not self.sent:
                    raise
                lost_at = time.monotonic() if lost_at is None or self._heard(since=lost_at) else lost_at
                if time.monotonic() - lost_at > RECONNECT_SECONDS:
                    raise VesemirError(f"{error}; the deployment goes on: {self._where()}") from error
                self._watcher.trouble(f"{error}; trying again, the deployment goes on meanwhile")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _once(self, *, follow: bool) -> Json:
        deployment_id = self._event.request.deployment_id
        async with Requester.connected(self._settings, name=f"vesemir deploy {who_asks()}") as requester:
            await requester.deploy(self._event.body, correlation_id=deployment_id)
            self.sent = True
            self._connected_at = time.monotonic()
            async for reply in requester.replies():
                if reply.correlation_id != deployment_id or not self._rollout.apply(reply.body, now=time.monotonic()):
                    continue
                self._watcher.event(reply.body)
                answer = self._rollout.rejected or self._rollout.finished
                if answer is not None:
                    return answer
                if self._rollout.accepted is not None and not follow:
                    return self._rollout.accepted
        raise BrokerAwayError("the replies ended")

    _connected_at = 0.0

    def _heard(self, *, since: float) -> bool:
        """Whether there was a connection again after that time."""
        return self._connected_at > since

    def _late(self, timeout: float | None) -> str:
        limit = "its time" if timeout is None else limit_text(timeout)
        if self._rollout.accepted is not None:
            return f"not finished within {limit}; the deployment goes on: {self._where()}"
        if not self.sent:
            return f"the broker did not take the event within {limit}; look at RabbitMQ"
        return (
            f"no answer within {limit}; the event waits in the queue until an instance takes it: "
            f"see that `vesemir run` runs, then {self._where()}"
        )

    def _where(self) -> str:
        return f"`vesemir status {self._event.request.deployment_id}` shows it"
