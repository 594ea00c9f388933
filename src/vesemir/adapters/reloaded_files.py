"""What is read from files that people change while the program runs: the last good reading, never half of a new one.

Files are looked at (time, size, inode) whenever somebody asks ``refresh``, and read only when that differs. All of it
is file access, so it belongs into a thread; ``current`` is what was read last and costs nothing.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from vesemir.engine.upkeep.health import HealthRegistry, PartState

T = TypeVar("T")

WATCH_SECONDS = 5.0
"""Between two looks; every event that comes has recipes and rules looked at as well."""

Stamp = tuple[tuple[str, int, int, int], ...]


class ReloadedFiles(Generic[T]):
    """``read(before)`` gives what holds now and what is wrong with the files ("": nothing); it never raises.

    ``before`` is what holds so far, None at first.
    """

    def __init__(self, look: Callable[[], Hashable], read: Callable[[T | None], tuple[T, str]]) -> None:
        self._look = look
        self._read = read
        self._lock = threading.Lock()
        self._stamp = look()
        self.current, self.problem = read(None)

    def refresh(self) -> None:
        """Read again what has changed. Safe from several threads."""
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return
            # Noted before it is read: a change during the reading is seen the next time.
            self._stamp = stamp
            self.current, self.problem = self._read(self.current)


def stamp_of(files: Iterable[Path]) -> Stamp:
    """What changes when one of the files does, or comes, or goes."""
    stamps = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append((str(file), 0, 0, 0))
        else:
            stamps.append((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)


class Files(Protocol):
    """Files that are read again; ``problem`` is what is wrong with them now."""

    @property
    def problem(self) -> str: ...

    def refresh(self) -> None: ...


async def watch_files(parts: Mapping[str, Files], health: HealthRegistry, *, every: float = WATCH_SECONDS) -> None:
    """For ever, with a look every so many seconds.

    A broken change is told until it is mended; the instance goes on with what was before.
    """
    for name in parts:
        health.expect(name, required=False)
    while True:
        for name, files in parts.items():
            await asyncio.to_thread(files.refresh)
            health.report(name, PartState.DOWN if files.problem else PartState.UP, files.problem)
        await asyncio.sleep(every)
