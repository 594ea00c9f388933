"""The last rows of the audit's chains, in the log and among the events every hour: whoever keeps either elsewhere can
verify with them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from vesemir.domain.audit import AuditHead
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import AuditTable, StoreAwayError

TOLD_SECONDS = 3600.0


Publish = Callable[[Sequence[AuditHead]], Awaitable[None]]
"""May raise ``BrokerAwayError``."""


class AuditHeads:
    """``run`` for ever."""

    def __init__(self, table: AuditTable, *, log: Log, publish: Publish, every: float = TOLD_SECONDS) -> None:
        self._table = table
        self._log = log
        self._publish = publish
        self._every = every
        self._told: frozenset[AuditHead] = frozenset()

    async def run(self) -> None:
        """In the log at once, too; published every hour alone, so that many starts are not many messages."""
        await self.tell()
        while True:
            await asyncio.sleep(self._every)
            await self.publish(await self.tell())

    async def publish(self, grown: Sequence[AuditHead]) -> None:
        if not grown:
            return
        try:
            await self._publish(grown)
        except BrokerAwayError as error:
            self._log.debug("the heads of the audit are in the log alone: {reason}", reason=str(error))
        except Exception:  # noqa: BLE001 - as in tell
            self._log.exception("publishing the heads of the audit met a bug; they are in the log")

    async def tell(self) -> Sequence[AuditHead]:
        """One line for each chain that has grown since this process told of it, which are returned; all at first."""
        try:
            heads = await self._table.audit_heads()
        except StoreAwayError as error:
            self._log.debug("the heads of the audit are told later: {reason}", reason=str(error))
            return []
        except Exception:  # noqa: BLE001 - deployments go on, whatever this meets; logged as a bug
            self._log.exception("telling the heads of the audit met a bug; it is tried again")
            return []
        grown, self._told = [head for head in heads if head not in self._told], frozenset(heads)
        for head in grown:
            self._log.info("audit.head {chain} {number} {hash}", chain=head.chain, number=head.number, hash=head.hash)
        return grown
