"""Preparing all targets before the first of them begins (``rollout.prepare`` is ``all``). Pure.

As a rollout it is asked again after every change. The failures are judged once, when all are done; whatever happens
later is the rollout's (contract section 2). So it is over as soon as one target was begun, by whichever instance.
"""

from collections import deque
from collections.abc import Collection
from itertools import islice

from vesemir.domain.rollout import Halt, Prepare, RolloutTally, Wait


class Preparation:
    """``tally`` is the rollout's. ``prepared`` are the targets that an earlier owner has prepared, ``room`` is how many
    may be prepared at once. ``in_work`` is how many are now."""

    def __init__(self, tally: RolloutTally, *, prepared: Collection[str], room: int) -> None:
        self._tally = tally
        self._room = room
        self.in_work = 0
        standings = tally.standings
        self._over = any(
            not standing.pending and not (standing.failed and name not in prepared)
            for name, standing in standings.items()
        )
        self._waiting = deque(name for name in standings if standings[name].pending and name not in prepared)

    def next_move(self) -> Prepare | Wait | Halt | None:
        """None when it is over, and the rollout has its turn."""
        if self._over:
            return None
        room = self._room - self.in_work
        if self._waiting and room > 0:
            return Prepare(tuple(islice(self._waiting, room)))
        if self._waiting or self.in_work:
            return Wait()
        self._over = True
        return self._judged()

    def begin(self, name: str) -> None:
        """It is in work now."""
        self._waiting.remove(name)
        self.in_work += 1

    def end(self, name: str, *, done: bool) -> None:
        """``done``: it is prepared, or finished."""
        self.in_work -= 1
        if not done:
            self._waiting.appendleft(name)

    def _judged(self) -> Halt | None:
        tripped = self._tally.tripped()
        if tripped is None:
            return None
        code, message = tripped
        return Halt(code, f"{message}; that was in prepare, so no target was begun", goes_back=False)
