"""Control messages: what each does in each state, as one literal table, and the result of one that waited."""

import pytest

from vesemir.domain.control import ControlDecision, decide_control, waiting_cancelled, waiting_result
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.store import ControlAnswer

WISH, END, REPEATED, REFUSED, NOT_ASKED = ControlDecision

DECISIONS = {
    # command:             cancel    pause    resume
    DeploymentState.PENDING: (END, WISH, WISH),
    DeploymentState.RUNNING: (WISH, WISH, WISH),
    DeploymentState.PAUSED: (WISH, WISH, WISH),
    DeploymentState.ROLLING_BACK: (WISH, REFUSED, WISH),
    DeploymentState.SUCCEEDED: (REFUSED, REFUSED, REFUSED),
    DeploymentState.FAILED: (REFUSED, REFUSED, REFUSED),
    DeploymentState.CANCELLED: (REPEATED, REFUSED, REFUSED),
    DeploymentState.TIMED_OUT: (REFUSED, REFUSED, REFUSED),
    DeploymentState.ROLLED_BACK: (REFUSED, REFUSED, REFUSED),
}


@pytest.mark.parametrize("state", list(DeploymentState))
def test_what_a_command_does_in_each_state(state: DeploymentState) -> None:
    assert tuple(decide_control(command, state) for command in ("cancel", "pause", "resume")) == DECISIONS[state]


@pytest.mark.parametrize("state", list(DeploymentState))
def test_an_answer_for_a_run_once_step_is_no_mere_resume(state: DeploymentState) -> None:
    mere = DECISIONS[state][2]
    assert decide_control("resume", state, once="done") is (NOT_ASKED if mere is WISH else mere)


def test_an_unknown_command_is_never_taken_for_another() -> None:
    for state in DeploymentState:
        with pytest.raises(KeyError, match="explode"):
            decide_control("explode", state)  # type: ignore[arg-type]


def test_each_decision_has_its_answer() -> None:
    assert [ControlAnswer.of(decision).value for decision in ControlDecision] == [
        "accepted",
        "finished",
        "accepted",
        "not_running",
        "invalid",
    ]


@pytest.mark.parametrize(
    ("who", "reason", "message"),
    [
        (None, None, "cancelled while it waited for its turn"),
        ("anna", None, "cancelled by anna while it waited for its turn"),
        ("anna", "wrong version", "cancelled by anna while it waited for its turn: wrong version"),
    ],
)
def test_the_result_of_one_that_was_cancelled_while_it_waited(
    who: str | None, reason: str | None, message: str
) -> None:
    body = waiting_result(waiting_cancelled(who, reason), 1.5).body()

    assert list(body) == ["status", "failure", "targets", "metrics"]
    assert (body["status"], list(body["targets"])) == ("cancelled", [])
    assert body["failure"]["message"] == message
    assert body["metrics"]["queued_seconds"] == 1.5
