"""What a rollout does next: a function of the plan and of how the targets stand, and of nothing else. Pure.

It is asked again after every change, and after a takeover anew: a ``RolloutTally`` only counts, so that a decision
costs the same for ten targets and for ten thousand. Failures that exceed ``max_failures``, or any failed canary, trip
the rollout: the targets in work finish and nothing else starts, unless ``on_failure`` says ``continue`` (contract,
section 2).
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from vesemir.domain.failure import Failure, FailureCode, cause_of
from vesemir.domain.plan import Batch, Plan
from vesemir.domain.states import FAILURES, TargetState

_NAMED = 5
"""Targets that a message names; the result has them all."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one target stands. ``finished`` tells a final ``unknown`` from one that must still be verified."""

    state: TargetState
    finished: bool
    failure: Failure | None = None

    @property
    def pending(self) -> bool:
        return self.state is TargetState.PENDING

    @property
    def in_work(self) -> bool:
        return not self.pending and not self.finished

    @property
    def failed(self) -> bool:
        return self.finished and self.state in FAILURES


_PENDING = Standing(TargetState.PENDING, finished=False)


@dataclass(frozen=True, slots=True)
class Begin:
    """Start these. ``opens`` is the batch that they open, if not the first: a pause or an approval comes before."""

    names: tuple[str, ...]
    batch: int
    opens: Batch | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """Prepare these; none of them is begun by that (``domain.preparation``)."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to start until a target in work finishes."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Tripped, and nothing is in work any more. ``goes_back``: what follows is for ``on_failure`` to say."""

    code: FailureCode
    message: str
    goes_back: bool = True


@dataclass(frozen=True, slots=True)
class Complete:
    """Every target is finished. ``code`` is set if the rollout failed all the same (``continue``)."""

    code: FailureCode | None = None
    message: str = ""


Move = Begin | Prepare | Wait | Halt | Complete


def next_move(plan: Plan, standings: Mapping[str, Standing]) -> Move:
    """Decide once. ``standings`` has every target of the plan."""
    return RolloutTally(plan, standings).next_move()


class RolloutTally:
    """How many targets stand where, kept up by ``note``."""

    def __init__(self, plan: Plan, standings: Mapping[str, Standing]) -> None:
        self._plan = plan
        self._canaries = plan.canaries
        self._standings = {name: standings[name] for name in plan.names}
        self._batch_of = {name: index for index, batch in enumerate(plan.batches) for name in batch.names}
        self._unfinished = [len(batch.names) for batch in plan.batches]
        self._pending = [len(batch.names) for batch in plan.batches]
        self._waiting = [deque(batch.names) for batch in plan.batches]
        self._in_work = 0
        self._failed: set[str] = set()
        for name, standing in self._standings.items():
            self._count(name, _PENDING, standing)

    @property
    def standings(self) -> Mapping[str, Standing]:
        """Of every target, in the plan's order."""
        return self._standings

    def note(self, name: str, standing: Standing) -> None:
        """A target stands otherwise now."""
        old, self._standings[name] = self._standings[name], standing
        self._count(name, old, standing)

    def _count(self, name: str, old: Standing, new: Standing) -> None:
        index = self._batch_of[name]
        self._in_work += new.in_work - old.in_work
        self._pending[index] += new.pending - old.pending
        self._unfinished[index] -= new.finished - old.finished
        if new.failed:
            self._failed.add(name)
        if new.pending and not old.pending:
            self._waiting[index].appendleft(name)  # it was started and had no turn: its next one is the first

    @property
    def halts(self) -> bool:
        """Whether nothing more is begun: what is in work finishes, what only waits does not."""
        return bool(self._failed) and self._plan.on_failure != "continue" and self.tripped() is not None

    def next_move(self) -> Move:
        tripped = self.tripped()
        if tripped is not None and self._plan.on_failure != "continue":
            return Wait() if self._in_work else Halt(*tripped)
        first = next((index for index, left in enumerate(self._unfinished) if left), None)
        if first is None:
            return Complete(*tripped) if tripped else Complete()
        return self._begin(first)

    def tripped(self) -> tuple[FailureCode, str] | None:
        """Why no more may begin; None while it may."""
        if not self._failed:
            return None
        of_canary = self._in_order(self._failed & self._canaries)
        for failure in (self._standings[name].failure for name in of_canary):
            if failure is not None and failure.code is FailureCode.CANARY_REGRESSED:
                return failure.code, cause_of(failure)
        code = FailureCode.ROLLOUT_TOO_MANY_FAILURES
        if of_canary:
            return code, f"the canary failed: {_some(of_canary)}; its own failure says why"
        if len(self._failed) > self._plan.max_failures:
            count, most = f"{len(self._failed)} of {len(self._plan.names)}", self._plan.max_failures
            text = f"{count} targets failed and max_failures allows {most}: {self._who_failed()}"
            return code, f"{text}; each target's own failure says why"
        return None

    def _who_failed(self) -> str:
        """Targets behind a jump host that is away are counted, with its failure: it is one failure and not theirs."""
        behind: dict[str, int] = {}
        others = []
        for name in self._in_order(self._failed):
            failure = self._standings[name].failure
            if failure is not None and failure.code is FailureCode.SSH_JUMP_UNREACHABLE:
                behind[failure.message] = behind.get(failure.message, 0) + 1
            else:
                others.append(name)
        counted = [f"{count} because {message}" for message, count in list(behind.items())[:_NAMED]]
        return "; ".join([*counted, *([_some(others)] if others else [])])

    def _in_order(self, names: Collection[str]) -> list[str]:
        return [name for name in self._plan.names if name in names] if names else []

    def _begin(self, first: int) -> Move:
        batches = self._plan.batches
        reach = self._window(first) if self._plan.mode == "window" and not batches[first].canary else (first,)
        names = tuple(self._next_waiting(reach, room=self._plan.concurrency - self._in_work))
        if not names:
            return Wait()
        fresh = first > 0 and all(self._pending[index] == len(batches[index].names) for index in reach)
        number = batches[self._batch_of[names[0]]].number
        return Begin(names, number, opens=batches[first] if fresh else None)

    def _window(self, first: int) -> tuple[int, ...]:
        """The batches that a sliding window may reach from here: those of the same group."""
        batches = self._plan.batches
        group = batches[first].group
        return tuple(
            index for index in range(first, len(batches)) if batches[index].group == group and not batches[index].canary
        )

    def _next_waiting(self, reach: tuple[int, ...], *, room: int) -> Iterator[str]:
        for index in reach:
            waiting = self._waiting[index]
            while waiting and not self._standings[waiting[0]].pending:
                waiting.popleft()
            for name in waiting:
                if room <= 0:
                    return
                if self._standings[name].pending:
                    room -= 1
                    yield name


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
