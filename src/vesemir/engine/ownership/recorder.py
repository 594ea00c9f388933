"""The one writer of a running deployment: changes in the order they were made, grouped into fenced transactions.

While one transaction is under way the next changes gather, so a fan-out over hundreds of targets costs few commits and
no target waits longer than one commit. If a write cannot be made, the lease is given up: what is not recorded did not
happen, and the one that claims next finds out from the hosts.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from vesemir.domain.failure import LeaseLostError
from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ports.changes import Change, Emit
from vesemir.engine.ports.store import Store, StoreAwayError

GROUP_LIMIT = 500
"""Changes per transaction at most, so that a commit stays short."""


class Recorder:
    """``async with Recorder(...)``. ``on_event`` is called after a commit with an event: it is due in the outbox."""

    def __init__(self, store: Store, lease: HeldLease, *, on_event: Callable[[], None]) -> None:
        self._store = store
        self._on_event = on_event
        self._lease = lease
        self._waiting: list[tuple[Sequence[Change], asyncio.Future[None]]] = []
        self._filled = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_all(), name=f"recorder {self._lease.claim.deployment_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})

    def put(self, *changes: Change) -> asyncio.Future[None]:
        """Have changes written; the future tells when. May be left unawaited: order is kept, a failure ends the run."""
        written = asyncio.get_running_loop().create_future()
        if self._lease.lost:
            written.set_exception(self._lost())
            written.exception()  # the one that does not await it need not be told twice
            return written
        self._waiting.append((changes, written))
        self._filled.set()
        return written

    async def write(self, *changes: Change) -> None:
        """Have changes written and wait for it. Raises ``LeaseLostError``."""
        await asyncio.shield(self.put(*changes))

    async def _write_all(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                await self._write_some()

    async def _write_some(self) -> None:
        count, size = 0, 0
        while count < len(self._waiting) and size < GROUP_LIMIT:
            size += len(self._waiting[count][0])
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        changes = [change for each, _ in group for change in each]
        try:
            await self._store.commit(self._lease.claim, changes)
            reach(Failpoint.AFTER_COMMIT)
        except (LeaseLostError, StoreAwayError):
            self._lease.lose()
            self._fail([*group, *self._waiting])
            self._waiting = []
            return
        except BaseException:
            self._fail([*group, *self._waiting])
            self._lease.lose()
            raise
        for _, written in group:
            if not written.done():
                written.set_result(None)
        if any(isinstance(change, Emit) for change in changes):
            self._on_event()

    def _fail(self, group: Sequence[tuple[Sequence[Change], asyncio.Future[None]]]) -> None:
        for _, written in group:
            if not written.done():
                written.set_exception(self._lost())
                written.exception()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(f"{self._lease.claim.deployment_id} belongs to another instance now")
