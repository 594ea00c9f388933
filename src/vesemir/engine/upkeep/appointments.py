"""Deployments that become due, and those that were not begun in time: each second, by whichever instance looks."""

import asyncio
from collections.abc import Callable

from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.store import Appointments, StoreAwayError
from vesemir.engine.upkeep.unbegun import count_expired

LOOK_SECONDS = 1.0


class AppointmentKeeper:
    """``run`` for ever. ``on_kept``: there may be something to claim or to publish."""

    def __init__(self, store: Appointments, *, log: Log, meters: Meters, on_kept: Callable[[], None]) -> None:
        self._store = store
        self._log = log
        self._meters = meters
        self._on_kept = on_kept

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreAwayError as error:
                self._log.debug("what is due is looked for later: {reason}", reason=str(error))
            except Exception:  # noqa: BLE001 - deployments go on, whatever this meets; logged as a bug
                self._log.exception("the look for what is due met a bug; it is tried again later")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Until nothing more has ended. Raises ``StoreAwayError``."""
        while ended := await self._store.keep_appointments():
            for each in ended:
                self._log.warning("was not begun by its not_after", deployment_id=each.deployment_id)
                count_expired(self._meters, dry_run=each.dry_run)
            self._on_kept()
