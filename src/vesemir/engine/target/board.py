"""What the targets of one deployment are doing right now, in memory: steps enter it, ``DoingWriter`` reads it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from vesemir.domain.doing import Doing, PhaseName, last_words
from vesemir.engine.clock import loop_time, wall_time

MOST_SHOWN = 200
"""Of a deployment with more targets in work, those whose step takes longest."""
LEAST_SECONDS = 1.0
"""What takes less is over before anybody has read of it."""


@dataclass(slots=True, eq=False)
class RunningStep:
    """One step that runs. ``began`` is of the loop's clock, ``since`` of the time of day."""

    target: str
    step: str
    phase: PhaseName
    began: float
    since: float
    attempts: int = 1
    answer: str = ""

    def tried(self, attempts: int) -> None:
        """A try begins, the first being 1."""
        self.attempts = attempts

    def answered(self, words: str) -> None:
        """Why it is not done yet, or how it stands; secrets may still be in it."""
        self.answer = words

    def as_doing(self, redact: Callable[[str], str]) -> Doing:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        error = last_words(redact(self.answer)) if self.answer else None
        return Doing(self.target, self.step, self.phase, since, self.attempts, error)


class Board:
    """``busy`` is set while a step runs."""

    def __init__(self) -> None:
        self._steps: dict[RunningStep, None] = {}
        self.busy = asyncio.Event()

    @contextmanager
    def running(self, target: str, step: str, phase: PhaseName) -> Iterator[RunningStep]:
        """The step runs as long as this is entered."""
        entry = RunningStep(target, step, phase, loop_time(), wall_time())
        self._steps[entry] = None
        self.busy.set()
        try:
            yield entry
        finally:
            del self._steps[entry]
            if not self._steps:
                self.busy.clear()

    def shown(self, redact: Callable[[str], str]) -> tuple[Doing, ...]:
        """Those that have taken a while, the longest first: they stand in the order in which they began."""
        found: list[Doing] = []
        now = loop_time()
        for entry in self._steps:
            if now - entry.began < LEAST_SECONDS or len(found) == MOST_SHOWN:
                break
            found.append(entry.as_doing(redact))
        return tuple(found)
