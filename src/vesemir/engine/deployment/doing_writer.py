"""The hint of what goes on: the board of one deployment, written to the record by its owner at most once a second.

Nothing depends on it, so no failure of it touches the deployment. One whose steps are all short writes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from vesemir.domain.doing import Doing
from vesemir.engine.clock import loop_time
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import Claim, DoingTable, StoreAwayError
from vesemir.engine.target.board import Board

WRITE_SECONDS = 1.0
"""Between two writes at least; also between two looks, as looking costs nothing."""
RENEW_SECONDS = 2.0
"""What has not changed is written again so often: what is older than ``DOING_SECONDS`` is not shown any more."""
END_SECONDS = 2.0
"""How long the last write may hold up the end of a run."""


class DoingWriter:
    """``async with writer.running()``: ``redact`` takes the deployment's secrets out of what the steps saw."""

    def __init__(
        self, board: Board, table: DoingTable, claim: Claim, *, redact: Callable[[str], str], log: Log
    ) -> None:
        self._board = board
        self._table = table
        self._claim = claim
        self._redact = redact
        self._log = log
        self._reported: tuple[Doing, ...] = ()
        self._written = False
        self._written_at = 0.0
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the end of the block. A write under way gets a moment: to break it off would cost its connection."""
        writer = asyncio.create_task(self._write_all(), name=f"doing {self._claim.deployment_id}")
        try:
            yield
        finally:
            self._closing.set()
            self._board.busy.set()
            await asyncio.wait({writer}, timeout=END_SECONDS)
            writer.cancel()
            await asyncio.wait({writer})

    async def _write_all(self) -> None:
        try:
            while not self._closing.is_set():
                await self._look()
                await self._wait()
            await self._forget()
        except Exception:  # noqa: BLE001 - the deployment goes on, whatever this meets; logged as a bug
            self._log.exception("what the targets do is not shown any more: a bug")

    async def _wait(self) -> None:
        """For a second of work, or the end of the run."""
        if not self._reported:
            await self._board.busy.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                await self._closing.wait()

    async def _look(self) -> None:
        shown, old = self._board.shown(self._redact), loop_time() - self._written_at >= RENEW_SECONDS
        if shown != self._reported or (shown and old):
            await self._write(shown)

    async def _write(self, shown: tuple[Doing, ...]) -> None:
        try:
            await self._table.write_doing(self._claim, shown)
        except StoreAwayError as error:
            self._log.debug("what the targets do could not be written: {reason}", reason=str(error))
            return
        self._reported, self._written, self._written_at = shown, True, loop_time()

    async def _forget(self) -> None:
        if not self._written:
            return
        try:
            await self._table.write_doing(self._claim, None)
        except StoreAwayError as error:
            self._log.debug("what the targets did could not be removed: {reason}", reason=str(error))
