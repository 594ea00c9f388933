"""That this instance is there: its row in the table of instances, so that people see who works, and that nobody does.

One small statement every ``REPORT_SECONDS``, and one at once when it begins to drain and when it has stopped. Nothing
depends on it: leases decide who owns a deployment, and the broker knows who consumes.
"""

import asyncio
from collections.abc import Callable

from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import InstanceReport, InstanceTable, StoreAwayError

REPORT_SECONDS = 5.0
KEEP_SECONDS = 7 * 24 * 3600.0
"""How long an instance that is gone is remembered."""
LAST_WORDS_SECONDS = 2.0
"""For the last report of all: a stop is not held up by a database that is away."""


class Presence:
    """``keep`` for ever; ``drain`` reports at once that no more work is taken, ``leave`` that this instance stopped."""

    def __init__(self, table: InstanceTable, *, name: str, version: str, in_work: Callable[[], int], log: Log) -> None:
        self._table = table
        self._name = name
        self._version = version
        self._in_work = in_work
        self._log = log
        self._draining = asyncio.Event()
        self._tidy = False

    async def keep(self) -> None:
        while True:
            await self._tell()
            await self._pause()

    def drain(self) -> None:
        self._draining.set()

    async def leave(self) -> None:
        """The last report. Does nothing where the database does not answer: the row is then silent, not stopped."""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._table.report_instance(self._report(stopped=True))
        except (StoreAwayError, TimeoutError) as error:
            self._log.debug("not reported as stopped: {reason}", reason=str(error) or "no answer in time")
        except Exception:  # noqa: BLE001 - a stop goes on, whatever this meets; logged as a bug
            self._log.exception("the last report of this instance met a bug")

    async def _tell(self) -> None:
        """Rows come by starts only, so a start is when the old ones go."""
        try:
            await self._table.report_instance(self._report())
            if not self._tidy:
                await self._table.forget_instances(older_than_seconds=KEEP_SECONDS)
                self._tidy = True
        except StoreAwayError:
            pass  # the database's own state is shown elsewhere
        except Exception:  # noqa: BLE001 - deployments go on, whatever this meets; logged as a bug
            self._log.exception("the table of instances met a bug; it is tried again")

    def _report(self, *, stopped: bool = False) -> InstanceReport:
        return InstanceReport(self._name, self._version, self._in_work(), self._draining.is_set(), stopped)

    async def _pause(self) -> None:
        """Until the next report is due, or draining began."""
        if self._draining.is_set():
            await asyncio.sleep(REPORT_SECONDS)
            return
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await self._draining.wait()
        except TimeoutError:
            return
