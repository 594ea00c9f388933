"""Bounds around work: budgets that stand still, stops from outside, the deployment's own time, gates, failpoints."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.engine.virtual_time import until

from vesemir.domain.plan import Batch, Plan
from vesemir.domain.request import Rollout
from vesemir.engine import failpoints
from vesemir.engine.deployment.pauses import BatchGate, DeploymentClock
from vesemir.engine.failpoints import EXIT_STATUS, Failpoint, reach
from vesemir.engine.ownership.scope import WAIT_SECONDS, Scope, StoppedError
from vesemir.engine.ownership.stop_signal import StopReason, StopSignal


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_budget_ends_the_work() -> None:
    scope = Scope(5)
    with pytest.raises(StoppedError) as stopped:
        async with scope:
            await asyncio.sleep(60)
    assert stopped.value.reason is scope.reason is StopReason.BUDGET
    assert now() == pytest.approx(5)


async def test_without_a_budget_only_a_stop_ends_it() -> None:
    async with Scope(None) as scope:
        await asyncio.sleep(100_000)
    assert scope.reason is None


async def test_a_wait_that_stands_still_takes_nothing_from_the_budget() -> None:
    with pytest.raises(StoppedError):  # noqa: PT012 - what the scope ends is the point
        async with Scope(5) as scope:
            await asyncio.sleep(3)
            with scope.standing_still():
                await asyncio.sleep(100)
            await asyncio.sleep(60)
    assert now() == pytest.approx(105)


async def test_standing_still_without_a_budget_is_nothing() -> None:
    async with Scope(None) as scope:
        with scope.standing_still():
            await asyncio.sleep(1)


async def test_a_stop_ends_also_what_stands_still_and_the_first_reason_stays() -> None:
    signal = StopSignal()
    scope = Scope(5, signal)

    async def stop() -> None:
        await asyncio.sleep(50)
        signal.stop(StopReason.CANCELLED)
        signal.stop(StopReason.LEASE_LOST)

    stopping = asyncio.create_task(stop())
    with pytest.raises(StoppedError) as stopped:  # noqa: PT012 - what the scope ends is the point
        async with scope:
            with scope.standing_still():
                await asyncio.sleep(1000)
    await stopping
    assert stopped.value.reason is StopReason.CANCELLED
    assert now() == pytest.approx(50)


async def test_what_was_stopped_does_not_stand_still_any_more() -> None:
    signal = StopSignal()
    with pytest.raises(StoppedError):  # noqa: PT012 - what the scope ends is the point
        async with Scope(5, signal) as scope:
            signal.stop(StopReason.CANCELLED)
            with scope.standing_still():
                await asyncio.sleep(1)
    assert now() < 0.001


async def test_a_stop_before_the_scope_is_entered_counts() -> None:
    signal = StopSignal()
    signal.leave()
    with pytest.raises(StoppedError, match="handed_over"):
        async with Scope(5, signal):
            await asyncio.sleep(1)


async def test_a_stop_after_the_scope_does_nothing() -> None:
    signal = StopSignal()
    async with Scope(5, signal) as scope:
        pass
    signal.stop(StopReason.CANCELLED)
    await asyncio.sleep(10)
    assert scope.reason is None


@pytest.mark.parametrize("before", [False, True])
async def test_a_hand_over_ends_what_only_waits_soon_and_lets_other_work_finish(*, before: bool) -> None:
    signal = StopSignal()
    if before:
        signal.hand_over()
    with pytest.raises(StoppedError) as stopped:  # noqa: PT012 - what the scope ends is the point
        async with Scope(None, signal) as scope:
            signal.hand_over()
            await asyncio.sleep(100)
            with scope.waiting():
                await asyncio.sleep(WAIT_SECONDS / 2)
            await asyncio.sleep(100)
            with scope.waiting():
                await asyncio.sleep(100)
    assert stopped.value.reason is StopReason.HANDED_OVER
    assert now() == pytest.approx(200 + WAIT_SECONDS * 1.5)
    assert signal.reason is None


async def test_what_is_left_ends_other_work_too() -> None:
    signal = StopSignal()
    asyncio.get_running_loop().call_later(50, signal.leave)
    with pytest.raises(StoppedError):  # noqa: PT012 - what the scope ends is the point
        async with Scope(None, signal):
            signal.hand_over()
            await asyncio.sleep(100)
    assert (now(), signal.reason) == (pytest.approx(50), StopReason.HANDED_OVER)


async def test_somebody_elses_cancellation_and_timeout_pass_through() -> None:
    scope = Scope(50)

    async def work() -> None:
        async with scope:
            await asyncio.sleep(20)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scope.reason is None
    with pytest.raises(TimeoutError):
        async with Scope(50):
            raise TimeoutError


async def test_an_error_of_the_work_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with Scope(50):
            raise ValueError("mine")


async def test_the_deployments_time_stands_still_in_a_pause() -> None:
    over: list[float] = []
    clock = DeploymentClock(limit=100, elapsed=40, on_expiry=lambda: over.append(now()))
    clock.go()
    await asyncio.sleep(10)
    clock.go()
    clock.stand_still()
    clock.stand_still()
    await asyncio.sleep(1000)
    assert not over
    clock.go()
    await until(lambda: over)
    assert over == [pytest.approx(1060)]


async def test_time_that_is_over_at_a_takeover_is_over_at_once() -> None:
    over: list[float] = []
    DeploymentClock(limit=100, elapsed=400, on_expiry=lambda: over.append(now())).go()
    await until(lambda: over)
    assert over == [pytest.approx(0, abs=1e-3)]


PLAN = Plan(
    (
        Batch(1, ("a",), canary=True, group=0),
        Batch(2, ("b",), canary=False, group=0),
        Batch(3, ("c",), canary=False, group=1),
    ),
    concurrency=1,
    max_failures=0,
)


@pytest.mark.parametrize(
    ("approve_after", "needed"),
    [
        ("batch", [True, True]),
        ("canary", [True, False]),
        ("group", [False, True]),
        (None, [False, False]),
    ],
)
async def test_which_batches_need_an_approval(approve_after: str | None, needed: list[bool]) -> None:
    gate = BatchGate(Rollout(approve_after=approve_after), PLAN, on_change=lambda: None)  # type: ignore[arg-type]
    assert [gate.needs_approval(batch) for batch in PLAN.batches[1:]] == needed
    for batch in PLAN.batches[1:]:
        gate.approve(batch.number)
    assert [gate.needs_approval(batch) for batch in PLAN.batches[1:]] == [False, False]


async def test_a_pause_begins_with_the_first_question_and_tells_when_it_is_over() -> None:
    told: list[float] = []
    gate = BatchGate(Rollout(pause_seconds=30), PLAN, on_change=lambda: told.append(now()))
    await asyncio.sleep(5)
    assert gate.paused(PLAN.batches[1])
    await asyncio.sleep(10)
    assert gate.paused(PLAN.batches[1])
    await until(lambda: told)
    assert told == [pytest.approx(35)]
    assert not gate.paused(PLAN.batches[1])
    assert not BatchGate(Rollout(), PLAN, on_change=lambda: None).paused(PLAN.batches[1])


@pytest.fixture
def _fresh_failpoints() -> Iterator[None]:
    """What is armed is read once in a process."""
    for cached in (failpoints._armed, failpoints._reached):
        cached.cache_clear()
    yield
    for cached in (failpoints._armed, failpoints._reached):
        cached.cache_clear()


@pytest.mark.usefixtures("_fresh_failpoints")
@pytest.mark.parametrize(("armed", "dies_at"), [("step.before_send:2", [2]), ("step.before_send", [1]), ("", [])])
def test_a_failpoint_is_death_at_the_time_that_was_asked_for(
    armed: str, dies_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths: list[tuple[int, int]] = []
    number = 0
    monkeypatch.setenv("VESEMIR_FAILPOINT", armed)
    monkeypatch.setattr(os, "_exit", lambda status: deaths.append((number, status)))
    for number in (1, 2, 3):  # noqa: B007 - the stand-in for death reads it
        reach(Failpoint.BEFORE_RECORD)
        reach(Failpoint.BEFORE_SEND)
    assert deaths == [(each, EXIT_STATUS) for each in dies_at]


@pytest.mark.usefixtures("_fresh_failpoints")
def test_a_failpoint_that_waits_for_its_file_happens_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So a daemon that is started again with the same environment lives."""
    deaths: list[int] = []
    file = tmp_path / "now"
    monkeypatch.setenv("VESEMIR_FAILPOINT", "loop.turn")
    monkeypatch.setenv("VESEMIR_FAILPOINT_ONCE", str(file))
    monkeypatch.setattr(os, "_exit", deaths.append)
    reach(Failpoint.LOOP_TURN)
    file.touch()
    reach(Failpoint.LOOP_TURN)
    assert (deaths, file.exists()) == ([EXIT_STATUS], False)
    failpoints._reached.cache_clear()  # as a new process
    reach(Failpoint.LOOP_TURN)
    assert deaths == [EXIT_STATUS]
