"""What a rollout does next, checked by playing whole rollouts with every outcome that targets can have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.plan import Plan, make_plan
from vesemir.domain.request import Rollout
from vesemir.domain.rollout import Begin, Complete, Halt, RolloutTally, Standing, Wait, next_move
from vesemir.domain.share import Share
from vesemir.domain.states import FAILURES, TargetState
from vesemir.domain.target import Target

ZONES = 3
PENDING = Standing(TargetState.PENDING, finished=False)
RUNNING = Standing(TargetState.RUNNING, finished=False)
ENDS = [TargetState.SUCCEEDED, TargetState.FAILED, TargetState.UNREACHABLE, TargetState.TIMED_OUT, TargetState.UNKNOWN]


def plan_of(count: int, **rollout: object) -> Plan:
    """Targets ``t00``, ``t01`` … in zones by turns: ``order_by="zone"`` has them apart."""
    targets = [Target(f"t{n:02}", "127.0.0.1", variables={"zone": f"z{n % ZONES}"}) for n in range(count)]
    return make_plan(targets, Rollout(**rollout))  # type: ignore[arg-type]


def zone_of(name: str) -> int:
    return int(name[1:]) % ZONES


def ended(state: TargetState) -> Standing:
    return Standing(state, finished=True)


def test_the_next_batch_starts_when_the_whole_batch_before_it_has_finished() -> None:
    plan = plan_of(4, concurrency=Share(2))
    standings = dict.fromkeys(plan.names, PENDING)
    assert next_move(plan, standings) == Begin(("t00", "t01"), 1)
    standings |= {"t00": ended(TargetState.SUCCEEDED), "t01": RUNNING}
    assert next_move(plan, standings) == Wait()
    standings["t01"] = ended(TargetState.SUCCEEDED)
    assert next_move(plan, standings) == Begin(("t02", "t03"), 2, opens=plan.batches[1])


def test_a_window_starts_the_next_target_when_one_finishes() -> None:
    plan = plan_of(4, concurrency=Share(2), mode="window")
    standings = dict.fromkeys(plan.names, PENDING) | {"t00": ended(TargetState.SUCCEEDED), "t01": RUNNING}
    assert next_move(plan, standings) == Begin(("t02",), 2)


def test_a_failed_canary_halts_although_failures_are_allowed() -> None:
    plan = plan_of(4, canary=Share(1), max_failures=Share(3))
    standings = dict.fromkeys(plan.names, PENDING) | {"t00": ended(TargetState.FAILED)}
    move = next_move(plan, standings)
    assert isinstance(move, Halt)
    assert move.code is FailureCode.ROLLOUT_TOO_MANY_FAILURES


def test_targets_behind_a_jump_host_that_is_away_are_counted() -> None:
    """It is one failure, and its message is there once, not the names of 300 hosts."""
    plan = plan_of(12, max_failures=Share(2))
    away = Failure(FailureCode.SSH_JUMP_UNREACHABLE, "jump host b1 is not available")
    own = Failure(FailureCode.STEP_FAILED, "step x failed on t11")
    standings = dict.fromkeys(plan.names, Standing(TargetState.UNREACHABLE, finished=True, failure=away))
    standings["t11"] = Standing(TargetState.FAILED, finished=True, failure=own)
    move = next_move(plan, standings)
    assert isinstance(move, Halt)
    assert move.message == (
        "12 of 12 targets failed and max_failures allows 2: 11 because jump host b1 is not available; t11; "
        "each target's own failure says why"
    )


def test_targets_in_work_finish_before_the_halt() -> None:
    plan = plan_of(3, concurrency=Share(2))
    standings = {"t00": ended(TargetState.FAILED), "t01": RUNNING, "t02": PENDING}
    assert next_move(plan, standings) == Wait()
    assert isinstance(next_move(plan, standings | {"t01": ended(TargetState.SUCCEEDED)}), Halt)


def test_continue_does_the_others_too_and_still_fails() -> None:
    plan = plan_of(2, on_failure="continue")
    standings = {"t00": ended(TargetState.FAILED), "t01": PENDING}
    assert next_move(plan, standings) == Begin(("t01",), 2, opens=plan.batches[1])
    done = next_move(plan, standings | {"t01": ended(TargetState.SUCCEEDED)})
    assert isinstance(done, Complete)
    assert done.code is FailureCode.ROLLOUT_TOO_MANY_FAILURES


@pytest.mark.parametrize(("failed", "kind"), [(1, Complete), (2, Halt)])
def test_failures_must_exceed_what_is_allowed(failed: int, kind: type) -> None:
    plan = plan_of(2, concurrency=Share(2), max_failures=Share(1))
    states = [TargetState.FAILED] * failed + [TargetState.SUCCEEDED] * (2 - failed)
    assert isinstance(next_move(plan, dict(zip(plan.names, map(ended, states), strict=True))), kind)


@given(
    count=st.integers(1, 25),
    concurrency=st.integers(1, 6),
    canary=st.integers(0, 4),
    allowed=st.integers(0, 5),
    mode=st.sampled_from(["batch", "window"]),
    on_failure=st.sampled_from(["stop", "continue", "rollback"]),
    order_by=st.sampled_from([None, "zone"]),
    data=st.data(),
)
def test_every_rollout_ends_and_keeps_its_promises(
    count: int,
    concurrency: int,
    canary: int,
    allowed: int,
    mode: str,
    on_failure: str,
    order_by: str | None,
    data: st.DataObject,
) -> None:
    """Played to its end with random outcomes: never more in work than the concurrency, each target started once, the
    others only when every canary is done, zones never together, batches one after the other, nothing new after it
    tripped, and the end says whether failures exceeded what was allowed."""
    plan = plan_of(
        count,
        concurrency=Share(concurrency),
        canary=Share(canary),
        max_failures=Share(allowed),
        mode=mode,
        on_failure=on_failure,
        order_by=order_by,
    )
    batch_of = {name: batch.number for batch in plan.batches for name in batch.names}
    canaries = {name for batch in plan.batches if batch.canary for name in batch.names}
    standings = dict.fromkeys(plan.names, PENDING)
    tally = RolloutTally(plan, standings)
    started: list[str] = []

    def stand(name: str, standing: Standing) -> None:
        standings[name] = standing
        tally.note(name, standing)

    while True:
        failed = [name for name, standing in standings.items() if standing.failed]
        tripped = len(failed) > plan.max_failures or bool(canaries & set(failed))
        move = next_move(plan, standings)
        assert tally.next_move() == move, "what was counted on the way is what is counted anew"
        if isinstance(move, Halt | Complete):
            break
        if isinstance(move, Begin):
            assert on_failure == "continue" or not tripped
            others = set(move.names) - canaries
            assert not others or all(standings[name].finished for name in canaries)
            for name in move.names:
                assert standings[name].pending
                stand(name, RUNNING)
                started.append(name)
        in_work = [name for name, standing in standings.items() if standing.in_work]
        assert 1 <= len(in_work) <= plan.concurrency, "waiting for nothing would be for ever"
        assert order_by is None or len({zone_of(name) for name in in_work}) == 1
        assert mode == "window" or len({batch_of[name] for name in in_work}) == 1
        waiting = [name for name in plan.names if standings[name].pending and name not in canaries]
        if mode == "window" and order_by is None and not canaries and waiting and not isinstance(move, Wait):
            assert len(in_work) == plan.concurrency, "a window is full as long as somebody waits"
        one = data.draw(st.sampled_from(in_work))
        stand(one, ended(data.draw(st.sampled_from(ENDS))))
    assert len(started) == len(set(started))
    assert (move.code is not None) == tripped
    assert isinstance(move, Halt) == (tripped and on_failure != "continue")
    if isinstance(move, Complete):
        assert all(standing.finished for standing in standings.values())
    assert all(
        standing.state in FAILURES or standing.state is TargetState.SUCCEEDED or standing.pending
        for standing in standings.values()
    )


def test_a_target_that_had_no_turn_is_the_next_one_again() -> None:
    plan = plan_of(3, mode="window")
    tally = RolloutTally(plan, dict.fromkeys(plan.names, PENDING))
    tally.note("t00", RUNNING)
    assert tally.next_move() == Wait()
    tally.note("t00", PENDING)
    assert tally.next_move() == Begin(("t00",), 1)
