"""Which timeline of PostgreSQL was seen last: an old primary that comes back writable is told from the new one by it.

A promoted standby begins a new timeline, with a higher number ("Timelines" in PostgreSQL's manual, 26.3.6). The highest
one seen is remembered for each cluster (its system identifier) in this process, and in a file for the next one. Not in
the record: that of the old primary would say what the old primary believes.
"""

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from vesemir.engine.ports.store import StoreAwayError

_ASK = "SELECT system_identifier AS system, pg_walfile_name(pg_current_wal_lsn()) AS wal FROM pg_control_system()"
"""The name of a WAL file begins with the timeline that is written to now, in 8 hexadecimal digits; the control file has
that of the last checkpoint, which is the old one for a while after a promotion."""
DIGITS = 8
_NOT_TOLD = (
    asyncpg.FeatureNotSupportedError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.UndefinedFunctionError,
)

Warn = Callable[[str], None]


class OldPrimaryError(StoreAwayError):
    """The server writes to a timeline that the record has left behind. Nothing may be written there."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where a server is; ``system`` is the cluster's identifier, the same on primary and standby."""

    system: str
    number: int


async def timeline_of(connection: asyncpg.Connection) -> Timeline | None:
    """None for a server that does not tell: a standby, or a service that is only like PostgreSQL."""
    try:
        found = await connection.fetchrow(_ASK)
    except _NOT_TOLD:
        return None
    assert found is not None  # noqa: S101 - a function's row
    return Timeline(str(found["system"]), int(found["wal"][:DIGITS], 16))


class Timelines:
    """The highest timeline of each cluster that was seen. ``on_promotion``: called when a higher one is."""

    def __init__(self, file: Path | None = None, *, warn: Warn | None = None) -> None:
        self._file = file
        self._warn = warn
        self._highest = _read(file, warn)
        self.on_promotion: list[Callable[[], Awaitable[None]]] = []

    @property
    def knows_any(self) -> bool:
        return bool(self._highest)

    async def admit(self, seen: Timeline, *, server: str) -> None:
        """Raises ``OldPrimaryError`` for a timeline that was left behind."""
        highest = self._highest.get(seen.system)
        if highest is not None and seen.number < highest:
            raise OldPrimaryError(
                f"PostgreSQL: {server} writes to timeline {seen.number}, and the record went on on timeline {highest}: "
                "it is an old primary, and nothing is written to it; make it a standby of the new one (pg_rewind)"
            )
        if highest is None or seen.number > highest:
            self._highest[seen.system] = seen.number
            self._keep()
        if highest is not None and seen.number > highest:
            for drop in self.on_promotion:
                await drop()

    def _keep(self) -> None:
        """Under another name and renamed: a reader never meets half of it. Instances of one host may share the file."""
        if self._file is None:
            return
        for system, number in _read(self._file, None).items():
            self._highest[system] = max(number, self._highest.get(system, 0))
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(self._highest), encoding="utf-8")
            beside.replace(self._file)
        except OSError as error:
            if self._warn:
                self._warn(
                    f"{self._file} cannot be written ({error.strerror}): after a restart this instance does not know "
                    "which timeline of PostgreSQL it saw last"
                )


def _read(file: Path | None, warn: Warn | None) -> dict[str, int]:
    if file is None or not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(system): int(number) for system, number in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        if warn:
            warn(f"{file} cannot be read ({error}); it is written anew")
        return {}
