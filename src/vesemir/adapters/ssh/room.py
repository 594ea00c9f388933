"""Memory for output that is on its way from the hosts to the record: so much for a whole instance, the one that prints.

Hundreds of steps may end in one moment with a quarter of a megabyte each, and a database takes its time. A large output
therefore waits on its host until it is asked for.
"""

import asyncio
from collections import deque
from typing import Final

ROOM_BYTES: Final = 1024 * 1024
"""It is there about six times over by the time it is written: as bytes, as text, and on its way to the record."""


class OutputRoom:
    """First come, first served. One who needs more than all of it gets all of it."""

    def __init__(self, size: int = ROOM_BYTES) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes."""
        return self._free

    async def take(self, amount: int) -> int:
        """Wait for so many bytes; how many they are, to be given back."""
        amount = min(amount, self._size)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += amount
            self._serve()
            raise
        return amount

    def give_back(self, amount: int) -> None:
        self._free += amount
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.done():
                if amount > self._free:
                    return
                self._free -= amount
                turn.set_result(None)
            self._waiting.popleft()
