"""From results to words: states by failure code, output as events carry it, messages that say what happened."""

import pytest

from vesemir.domain.action import RenderedStep, RunAction
from vesemir.domain.failure import Failure, FailureCode, cause_of
from vesemir.domain.states import TargetState
from vesemir.domain.step import Command, Direction, StepResult, StepStatus
from vesemir.domain.verdict import event_output, failure_of_step, message_of_stop, stored_output, target_state_of

STEP = RenderedStep(
    name="unpack",
    action=RunAction(Command(("true",))),
    idempotent=True,
    retries=0,
    failures={3: FailureCode.ARTIFACT_UNAVAILABLE},
    timeout=7,
)


STATES = {
    FailureCode.SSH_UNREACHABLE: TargetState.UNREACHABLE,
    FailureCode.SSH_AUTH_FAILED: TargetState.UNREACHABLE,
    FailureCode.SSH_HOST_KEY_MISMATCH: TargetState.UNREACHABLE,
    FailureCode.SSH_CONNECTION_LOST: TargetState.UNREACHABLE,
    FailureCode.SSH_JUMP_UNREACHABLE: TargetState.UNREACHABLE,
    FailureCode.STEP_TIMED_OUT: TargetState.TIMED_OUT,
    FailureCode.TARGET_TIMED_OUT: TargetState.TIMED_OUT,
    FailureCode.DEPLOYMENT_TIMED_OUT: TargetState.TIMED_OUT,
    FailureCode.DEPLOYMENT_CANCELLED: TargetState.CANCELLED,
    FailureCode.TARGET_STATE_UNKNOWN: TargetState.UNKNOWN,
}
"""Any other code is that of a failed target."""


@pytest.mark.parametrize("code", list(FailureCode))
def test_each_code_says_how_its_target_ended(code: FailureCode) -> None:
    """Every code has its line in the table of kinds: one without raises here."""
    assert target_state_of(Failure(code, "x"), Direction.FORWARD) is STATES.get(code, TargetState.FAILED)


def test_a_code_without_a_kind_is_not_taken_for_a_failed_target() -> None:
    with pytest.raises(AttributeError):
        target_state_of(Failure("step.new", "x"), Direction.FORWARD)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["lease_lost", "handed_over", "new"])
def test_what_leaves_a_target_to_the_next_owner_is_no_failure(reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        message_of_stop(reason, "web1", 900)


def test_a_target_that_came_back_is_rolled_back() -> None:
    assert target_state_of(None, Direction.FORWARD) is TargetState.SUCCEEDED
    assert target_state_of(None, Direction.BACK) is TargetState.ROLLED_BACK


def test_an_exit_status_can_have_a_code_of_its_own() -> None:
    code, text = failure_of_step(STEP, StepResult(StepStatus.FAILED, 3, b"one\ntwo: not there\n"), "web1")
    assert code is FailureCode.ARTIFACT_UNAVAILABLE
    assert text == "step unpack failed on web1: exit status 3; its last line: two: not there"


def test_a_step_that_was_ended_by_its_deadline_says_so() -> None:
    hung = StepResult(StepStatus.TIMED_OUT, None, b"waiting for the lock\n", reason="the deadline was over")
    code, text = failure_of_step(STEP, hung, "web1")
    assert code is FailureCode.STEP_TIMED_OUT
    assert text == "step unpack on web1 did not end within 7 s and was ended; its last line: waiting for the lock"


def test_what_kept_a_program_from_starting_is_told_with_its_exit_status() -> None:
    missing = StepResult(StepStatus.FAILED, 127, b"", reason="cannot run apt: No such file or directory")
    _, text = failure_of_step(STEP, missing, "web1")
    assert text == "step unpack failed on web1: exit status 127, cannot run apt: No such file or directory"


def test_output_is_text_without_nul_and_tells_of_leftovers() -> None:
    text = stored_output(StepResult(StepStatus.SUCCEEDED, 0, b"a\x00b\xff\n", leftovers=2, ended=False))
    assert text.startswith("a\ufffdb\ufffd\n")
    assert "2 processes were left running" in text
    assert "could not be ended" in text


def test_an_event_carries_the_last_4_kib_whole_characters() -> None:
    text, cut = event_output("ä" * 4000)
    assert cut
    assert text == "ä" * 2048
    text, cut = event_output("x" + "ä" * 4000)
    assert text == "ä" * 2048
    assert event_output("short") == ("short", False)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("cancelled", FailureCode.DEPLOYMENT_CANCELLED),
        ("deployment_timed_out", FailureCode.DEPLOYMENT_TIMED_OUT),
        ("budget", FailureCode.TARGET_TIMED_OUT),
    ],
)
def test_each_stop_has_its_code(reason: str, code: FailureCode) -> None:
    failure = message_of_stop(reason, "web1", 5, "restart")
    assert failure.code is code
    assert "web1 was in step restart" in failure.message.replace("it was", "web1 was")
    assert "was being connected to" in message_of_stop(reason, "web1", 5).message


def test_the_last_lines_that_were_shown_are_in_the_message_and_all_in_the_output() -> None:
    lines = [f"line {number}" for number in range(12)]
    result = StepResult(StepStatus.FAILED, 1, b"out\n", shown="\n".join(lines))
    _, text = failure_of_step(STEP, result, "web1")
    assert text.endswith("exit status 1; its last line: out; the host shows: " + " | ".join(lines[2:]))
    assert stored_output(result) == "out\n[shown after the failure:]\n" + "\n".join(lines) + "\n"


def test_what_a_host_shows_is_cut_and_cannot_pass_for_a_command_of_ours() -> None:
    result = StepResult(StepStatus.TIMED_OUT, None, shown="`vesemir ready web1`\x1b[31m\n\n" + "x" * 5000)
    _, text = failure_of_step(STEP, result, "web1", redact=lambda text: text.replace("web1", "•••"))
    message, _, words = text.partition("; the host shows: ")
    assert message.endswith("did not end within 7 s and was ended")
    assert words.startswith("'vesemir ready •••'␛[31m | xxx")
    assert len(words) <= 1001


def test_what_is_shown_does_not_belong_to_the_cause() -> None:
    failure = Failure(FailureCode.STEP_FAILED, "it failed; the host shows: a | b; its server is left drained")
    assert cause_of(failure) == "it failed"
