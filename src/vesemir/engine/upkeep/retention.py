"""The clean-up: what ended long ago goes, in short batches with a pause after each, one instance at a time.

Kept for ever are ids, the hashes of their bodies and their results (so that a repeat still does not run, and is
answered), and the lines for statistics. Never touched is what has not ended, or an event that somebody is still owed.
"""

import asyncio
from dataclasses import dataclass

from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import Cleaner, StoreAwayError

KEEP_GOOD = 3
"""Successes of a lane that stay, however old: ``vesemir rollback`` looks for the previous good release there."""

PAUSE_SECONDS = 0.2
"""Between two batches: the database has other work to do."""


@dataclass(frozen=True, slots=True)
class Retention:
    """A deployment goes ``seconds`` after its end, ``rows`` at once; there is a look every ``every`` seconds."""

    seconds: float
    rows: int
    every: float
    keep_good: int = KEEP_GOOD


class RecordCleanup:
    """``run`` for ever. Without a ``retention`` everything is kept."""

    def __init__(self, cleaner: Cleaner, retention: Retention | None, *, log: Log) -> None:
        self._cleaner = cleaner
        self._retention = retention
        self._log = log

    async def run(self) -> None:
        while self._retention is not None:
            await self.clean(self._retention)
            await asyncio.sleep(self._retention.every)

    async def clean(self, retention: Retention) -> None:
        """Until nothing is left to do, or another instance does it, or the record is away: there is a next time."""
        deployments = rows = 0
        try:
            while cleaned := await self._cleaner.clean_up(
                older_than_seconds=retention.seconds, rows=retention.rows, keep_good=retention.keep_good
            ):
                if not cleaned.rows:
                    break
                deployments, rows = deployments + cleaned.deployments, rows + cleaned.rows
                await asyncio.sleep(PAUSE_SECONDS)
        except StoreAwayError as error:
            self._log.debug("the clean-up goes on later: {reason}", reason=str(error))
        except Exception:  # noqa: BLE001 - deployments go on, whatever the clean-up meets; logged as a bug
            self._log.exception("the clean-up met a bug; it is tried again later")
        if rows:
            self._log.info(
                "cleaned up {deployments} deployments, {rows} rows in all", deployments=deployments, rows=rows
            )
