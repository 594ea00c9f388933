"""The last rows of the audit's chains, in the log every hour: whoever keeps logs elsewhere can verify with them."""

import asyncio

from vesemir.domain.audit import AuditHead
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import AuditTable, StoreAwayError

TOLD_SECONDS = 3600.0


class AuditHeads:
    """``run`` for ever."""

    def __init__(self, table: AuditTable, *, log: Log, every: float = TOLD_SECONDS) -> None:
        self._table = table
        self._log = log
        self._every = every
        self._told: frozenset[AuditHead] = frozenset()

    async def run(self) -> None:
        while True:
            await self.tell()
            await asyncio.sleep(self._every)

    async def tell(self) -> None:
        """One line for each chain that has grown since this process told of it; all of them at first."""
        try:
            heads = await self._table.audit_heads()
        except StoreAwayError as error:
            self._log.debug("the heads of the audit are told later: {reason}", reason=str(error))
            return
        except Exception:  # noqa: BLE001 - deployments go on, whatever this meets; logged as a bug
            self._log.exception("telling the heads of the audit met a bug; it is tried again")
            return
        grown, self._told = [head for head in heads if head not in self._told], frozenset(heads)
        for head in grown:
            self._log.info("audit.head {chain} {number} {hash}", chain=head.chain, number=head.number, hash=head.hash)
