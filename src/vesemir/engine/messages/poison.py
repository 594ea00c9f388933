"""What one message may cost whose handling meets a bug: a few tries, then it is refused like any other bad message.

A record or a broker that is away is no fault of the message: it comes again, however often. Any other error is unknown
here. Failures are counted by the body's hash, because a message that was given back is another delivery of the same
body. After ``MOST_FAILURES`` it goes to the rejected queue with ``internal.error``, so it can never hold up others for
longer than that. A message that came back before may have ended the instance that handled it: such messages are handled
one at a time, so that only one of them can be to blame.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from vesemir.engine.ports.broker import BrokerAwayError, Handler, IncomingMessage
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import StoreAwayError

MOST_FAILURES = 3
PAUSE_SECONDS = 0.01
"""Between two tries; short, because a waiting message takes one of the few places of its queue."""

REMEMBERED = 10_000
"""Bodies whose failures are counted; the oldest go first."""


class PoisonGuard:
    """A handler around a handler. ``refuse`` publishes what a refusal publishes; the message is then acknowledged."""

    def __init__(
        self, handler: Handler, *, refuse: Callable[[IncomingMessage, Exception], Awaitable[None]], log: Log
    ) -> None:
        self._handler = handler
        self._refuse = refuse
        self._log = log
        self._failures: OrderedDict[bytes, int] = OrderedDict()
        self._alone = asyncio.Lock()

    async def handle(self, message: IncomingMessage) -> None:
        """Raises ``StoreAwayError`` or ``BrokerAwayError``: the message must come again."""
        async with self._one_at_a_time(message):
            while True:
                if await self._is_done(message):
                    return
                await asyncio.sleep(PAUSE_SECONDS)

    def _one_at_a_time(self, message: IncomingMessage) -> AbstractAsyncContextManager[object]:
        return self._alone if message.returned else nullcontext()

    async def _is_done(self, message: IncomingMessage) -> bool:
        """One try; also done is what was refused."""
        try:
            await self._handler(message)
        except (StoreAwayError, BrokerAwayError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug in a handler must not stop the intake of others
            failures = self._count(message)
            if failures < MOST_FAILURES:
                self._log.warning(
                    "a message met a bug, and is tried again: {error}", error=f"{type(error).__name__}: {error}"
                )
                return False
            self._log.exception("a message met a bug {failures} times, and is refused", failures=failures)
            await self._give_up(message, error)
        self._forget(message)
        return True

    async def _give_up(self, message: IncomingMessage, error: Exception) -> None:
        try:
            await self._refuse(message, error)
        except (StoreAwayError, BrokerAwayError):
            raise
        except Exception:  # noqa: BLE001 - its properties may be the cause: the body alone is kept
            self._log.exception("it could not be answered either; only its body is kept")
            await self._refuse(replace(message, reply_to=None, correlation_id=None, user_id=None, headers={}), error)

    def _count(self, message: IncomingMessage) -> int:
        digest = _digest(message)
        count = self._failures[digest] = self._failures.get(digest, 0) + 1
        self._failures.move_to_end(digest)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return count

    def _forget(self, message: IncomingMessage) -> None:
        if self._failures:
            self._failures.pop(_digest(message), None)


def _digest(message: IncomingMessage) -> bytes:
    return hashlib.sha256(message.body).digest()
