"""What is read from files that people change while the program runs: the last good reading, never half of a new one.

Files are looked at (time, size, inode) whenever somebody asks ``refresh``, and read only when that differs. All of it
is file access, so it belongs into a thread; ``current`` is what was read last and costs nothing.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from vesemir.engine.ports.observe import Log
from vesemir.engine.upkeep.health import HealthRegistry, PartState

T = TypeVar("T")

WATCH_SECONDS = 5.0
"""Between two looks; every event that comes has recipes and rules looked at as well."""

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """``current`` is what holds, ``problem`` what is wrong with the files ("": nothing). Not ``complete``: something
    could not be read, and is tried again at the next look, also if nothing has changed."""

    current: T
    problem: str = ""
    complete: bool = True


class ReloadedFiles(Generic[T]):
    """``read(before)`` never raises; ``before`` is what holds so far, None at first. ``look`` may raise ``OSError``: a
    disk or the descriptors of this process may fail for a while. Then what was read stays, and the problem says so."""

    def __init__(self, look: Callable[[], Hashable], read: Callable[[T | None], Reading[T]]) -> None:
        self._look = look
        self._read = read
        self._lock = threading.Lock()
        self._unseen = ""
        self._stamp = self._seen()
        self._reading = read(None)

    @classmethod
    def of(cls, file: Path | None, first: T, again: Callable[[Path, T], Reading[T]]) -> "ReloadedFiles[T]":
        """Of one file, or of none that could change. ``first`` was read already; ``again(file, before)`` reads it."""
        files = [] if file is None else [file]
        return cls(
            lambda: stamp_of(files), lambda before: Reading(first) if before is None else again(files[0], before)
        )

    @property
    def current(self) -> T:
        return self._reading.current

    @property
    def problem(self) -> str:
        return self._unseen or self._reading.problem

    def refresh(self) -> None:
        """Read again what has changed. Safe from several threads."""
        with self._lock:
            stamp = self._seen()
            if self._unseen or (stamp == self._stamp and self._reading.complete):
                return
            # Noted before it is read: a change during the reading is seen the next time.
            self._stamp = stamp
            self._reading = self._read(self._reading.current)

    def _seen(self) -> Hashable:
        try:
            stamp = self._look()
        except OSError as error:
            self._unseen = not_readable(error)
            return None
        self._unseen = ""
        return stamp


def not_readable(error: OSError) -> str:
    """For people: what fails, and that it may pass."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}cannot be looked at now: {error.strerror or error}; what was read before stays in use"


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


class FileWatch:
    """Looks at the files of ``parts`` for ever, or at once, and reports each as a part of the health.

    A broken change is reported until it is repaired; the instance goes on with what was before. No failure of the
    system's (descriptors, threads, disks) ends the watch: the next look may succeed.
    """

    def __init__(
        self, parts: Mapping[str, Files], health: HealthRegistry, *, log: Log, every: float = WATCH_SECONDS
    ) -> None:
        self._parts = parts
        self._health = health
        self._log = log
        self._every = every
        self._failing: dict[str, str] = {}
        self._looking = asyncio.Lock()
        for name in parts:
            health.expect(name, required=False)

    async def run(self) -> None:
        """For ever, with a look every so many seconds."""
        while True:
            await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> dict[str, str]:
        """Read what has changed; what is wrong with each part ("": nothing)."""
        async with self._looking:
            for name, files in self._parts.items():
                problem = await _look_at(files)
                self._health.report(name, PartState.DOWN if problem else PartState.UP, problem)
                if problem and problem != files.problem and self._failing.get(name) != problem:
                    self._log.error("{part}: {problem}", part=name, problem=problem)
                self._failing[name] = problem
            return dict(self._failing)


async def _look_at(files: Files) -> str:
    """What is wrong with them; "" if nothing is."""
    try:
        await asyncio.to_thread(files.refresh)
    except OSError as error:
        return not_readable(error)
    except RuntimeError as error:  # "can't start new thread"
        return f"cannot be looked at now: {error}; what was read before stays in use"
    return files.problem
