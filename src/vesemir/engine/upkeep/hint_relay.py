"""Hints make things faster, and nothing depends on them: every part that they wake looks by itself now and then.

Who wrote something wakes the parts of its own instance at once. The other instances hear of it by the record's
notifications; they look a moment later, and once for all that they heard in between: by then the writer has taken the
work, if it could.
"""

import asyncio
from collections.abc import Callable

from vesemir.engine.ports.store import Store, StoreAwayError

HINT_SECONDS = 0.03
"""From a hint of work or events to a look at the record."""
LISTEN_AGAIN_SECONDS = 1.0
"""After the record's notifications ended."""


class HintRelay:
    """``on_work``: there may be something to claim or to publish. ``on_wish``: somebody may wish something."""

    def __init__(self, store: Store, *, on_work: Callable[[], None], on_wish: Callable[[], None]) -> None:
        self._store = store
        self._on_work = on_work
        self._on_wish = on_wish
        self._look: asyncio.TimerHandle | None = None

    def wake_work(self) -> None:
        """This instance accepted a deployment."""
        self._on_work()

    def wake(self) -> None:
        """This instance recorded a wish; a waiting deployment may have ended by it."""
        self._on_work()
        self._on_wish()

    async def run(self) -> None:
        """For ever: pass on what the record's notifications say."""
        while True:
            try:
                async with self._store.hints() as hints:
                    async for hint in hints:
                        self._hear(hint)
            except StoreAwayError:
                pass
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    def _hear(self, hint: str) -> None:
        if hint == "wish":
            self._on_wish()
        elif self._look is None:
            self._look = asyncio.get_running_loop().call_later(HINT_SECONDS, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        self._on_work()
