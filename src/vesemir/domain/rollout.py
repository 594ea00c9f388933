"""What a rollout does next: a function of the plan and of how the targets stand, and of nothing else. Pure.

It is asked again after every change and after every takeover, so it holds no memory of its own. Failures that exceed
``max_failures``, or any failed canary, trip the rollout: the targets in work finish and nothing else starts, unless
``on_failure`` says ``continue`` (contract section 2).
"""

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Begin:
    """Start these. ``opens`` is the batch that they open, if not the first: a pause or an approval comes before."""

    names: tuple[str, ...]
    batch: int
    opens: Batch | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to start until a target in work finishes."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Tripped, and nothing is in work any more."""

    code: FailureCode
    message: str


@dataclass(frozen=True, slots=True)
class Complete:
    """Every target is finished. ``code`` is set if the rollout failed all the same (``continue``)."""

    code: FailureCode | None = None
    message: str = ""


Move = Begin | Wait | Halt | Complete


def next_move(plan: Plan, standings: Mapping[str, Standing]) -> Move:
    """Decide. ``standings`` has every target of the plan."""
    tripped = _tripped(plan, standings)
    if tripped is not None and plan.on_failure != "continue":
        return Wait() if any(standing.in_work for standing in standings.values()) else Halt(*tripped)
    if all(standings[name].finished for name in plan.names):
        return Complete(*tripped) if tripped else Complete()
    return _begin(plan, standings)


def _tripped(plan: Plan, standings: Mapping[str, Standing]) -> tuple[FailureCode, str] | None:
    failed = [name for name in plan.names if standings[name].failed]
    of_canary = [name for name in failed if name in plan.canaries]
    for failure in (standings[name].failure for name in of_canary):
        if failure is not None and failure.code is FailureCode.CANARY_REGRESSED:
            return failure.code, cause_of(failure)
    if of_canary:
        return FailureCode.ROLLOUT_TOO_MANY_FAILURES, f"the canary failed: {_some(of_canary)}; its own failure says why"
    if len(failed) > plan.max_failures:
        text = f"{len(failed)} of {len(plan.names)} targets failed and max_failures allows {plan.max_failures}"
        return FailureCode.ROLLOUT_TOO_MANY_FAILURES, f"{text}: {_some(failed)}; each target's own failure says why"
    return None


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _begin(plan: Plan, standings: Mapping[str, Standing]) -> Move:
    for index, batch in enumerate(plan.batches):
        if all(standings[name].finished for name in batch.names):
            continue
        reach = _window(plan, index) if plan.mode == "window" and not batch.canary else (batch,)
        room = plan.concurrency - sum(standing.in_work for standing in standings.values())
        waiting = [name for each in reach for name in each.names if standings[name].pending]
        names = tuple(waiting[: max(room, 0)])
        if not names:
            return Wait()
        fresh = index > 0 and all(standings[name].pending for each in reach for name in each.names)
        number = next(each.number for each in reach if names[0] in each.names)
        return Begin(names, number, opens=batch if fresh else None)
    return Wait()


def _window(plan: Plan, index: int) -> tuple[Batch, ...]:
    """The batches that a sliding window may reach from here: those of the same group."""
    group = plan.batches[index].group
    return tuple(batch for batch in plan.batches[index:] if batch.group == group and not batch.canary)
