"""The tables of states: every way out of them is one of the contract's, and an illegal one raises."""

import itertools
import runpy
from pathlib import Path

import pytest

from vesemir.domain.result import RESULT_STATES
from vesemir.domain.states import (
    ACTIVE,
    DEPLOYMENT_TRANSITIONS,
    FINAL,
    TARGET_ENDS,
    TARGET_TRANSITIONS,
    DeploymentState,
    IllegalTransitionError,
    TargetState,
    deployment_move,
    finishes_target,
    target_move,
    target_regression,
)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(DeploymentState, DeploymentState)))
def test_a_deployment_goes_only_where_the_table_says(old: DeploymentState, new: DeploymentState) -> None:
    if new in DEPLOYMENT_TRANSITIONS[old]:
        assert deployment_move(old, new) is new
    else:
        with pytest.raises(IllegalTransitionError, match=f"{old} to {new}"):
            deployment_move(old, new)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(TargetState, TargetState)))
def test_a_target_goes_only_where_the_table_says(old: TargetState, new: TargetState) -> None:
    if new in TARGET_TRANSITIONS[old]:
        assert target_move(old, new) is new
    else:
        with pytest.raises(IllegalTransitionError, match=f"{old} to {new}"):
            target_move(old, new)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(("old", "new"), list(itertools.product(TargetState, TargetState)))
def test_a_target_is_finished_only_by_the_table_and_only_as_it_may_end(
    old: TargetState, new: TargetState, *, finished: bool
) -> None:
    goes_on = {TargetState.PENDING, TargetState.RUNNING}
    if new not in TARGET_TRANSITIONS[old]:
        with pytest.raises(IllegalTransitionError, match=f"{old} to {new}"):
            finishes_target(old, new, finished=finished)
    elif finished and new in goes_on:
        with pytest.raises(IllegalTransitionError, match=f"end as {new}"):
            finishes_target(old, new, finished=finished)
    else:
        assert finishes_target(old, new, finished=finished) == (finished or new not in goes_on | {TargetState.UNKNOWN})


def test_what_a_target_may_end_as_is_what_results_count() -> None:
    assert set(RESULT_STATES) == TARGET_ENDS


def test_the_final_states_are_the_contracts() -> None:
    assert {state.value for state in FINAL} == {"succeeded", "failed", "cancelled", "timed_out", "rolled_back"}
    assert not FINAL & ACTIVE
    assert FINAL | ACTIVE | {DeploymentState.PENDING} == set(DeploymentState)


def test_every_state_can_be_reached() -> None:
    assert {new for ways in DEPLOYMENT_TRANSITIONS.values() for new in ways} | {DeploymentState.PENDING} == set(
        DeploymentState
    )
    assert {new for ways in TARGET_TRANSITIONS.values() for new in ways} | {TargetState.PENDING} == set(TargetState)


def test_the_diagrams_in_the_documentation_are_made_from_the_tables() -> None:
    script = Path(__file__).parents[3] / "docs" / "make_states.py"
    made = runpy.run_path(str(script))
    assert (script.parent / "states.md").read_text(encoding="utf-8") == made["page"]()


@pytest.mark.parametrize("old", list(TargetState))
def test_only_what_succeeded_regresses(old: TargetState) -> None:
    if old is TargetState.SUCCEEDED:
        assert target_regression(old) is TargetState.FAILED
    else:
        with pytest.raises(IllegalTransitionError, match="cannot regress"):
            target_regression(old)
