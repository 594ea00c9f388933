"""From what happened on a host to what is said of it: states, failures and output as events carry them. Pure."""

from collections.abc import Callable
from typing import assert_never

from vesemir.domain.action import RenderedStep
from vesemir.domain.duration import limit_text
from vesemir.domain.failure import Failure, FailureCode, FailureKind, with_last_words
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction, StepResult, StepStatus
from vesemir.domain.visible import words_of_host

EVENT_OUTPUT_BYTES = 4096
"""The end of a step's output that its event carries (contract section 2)."""


def target_state_of(failure: Failure | None, direction: Direction) -> TargetState:
    """The final state of a target: none of it failed, or what its failure's code means."""
    if failure is None:
        return TargetState.SUCCEEDED if direction is Direction.FORWARD else TargetState.ROLLED_BACK
    kind = failure.code.kind
    match kind:
        case FailureKind.CONNECTION:
            return TargetState.UNREACHABLE
        case FailureKind.TIME_LIMIT:
            return TargetState.TIMED_OUT
        case FailureKind.CANCELLED:
            return TargetState.CANCELLED
        case FailureKind.UNKNOWN:
            return TargetState.UNKNOWN
        case FailureKind.OTHER:
            return TargetState.FAILED
        case _:
            assert_never(kind)


def message_of_stop(reason: str, target: str, target_seconds: float, step: str = "") -> Failure:
    """What a target is told that was ended from outside; ``reason`` is a ``StopReason``'s value.

    ``step`` is what it was doing; empty before its first step. Raises ``ValueError`` for a reason
    that leaves the target to the next owner, without a failure.
    """
    doing = f"was in step {step}" if step else "was being connected to"
    match reason:
        case "cancelled" | "not_resumed":
            return Failure(FailureCode.DEPLOYMENT_CANCELLED, f"the deployment was cancelled while {target} {doing}")
        case "deployment_timed_out":
            text = f"the deployment's time (timeouts.deployment) ran out while {target} {doing}"
            return Failure(FailureCode.DEPLOYMENT_TIMED_OUT, text)
        case "budget":
            limit = limit_text(target_seconds)
            text = f"{target} was not done within timeouts.target ({limit}): it {doing} when that was over"
            return Failure(FailureCode.TARGET_TIMED_OUT, text)
        case _:
            raise ValueError(f"{reason} is no failure of a target")


def failure_of_step(
    step: RenderedStep, result: StepResult, target: str, *, redact: Callable[[str], str] = str
) -> tuple[FailureCode, str]:
    """(code, message) for a step that did not succeed at its last try. Secrets are taken out before anything is cut."""
    last = _last_line(redact(result.output.decode("utf-8", "replace")))
    if result.status is StepStatus.TIMED_OUT:
        text = f"step {step.name} on {target} did not end within {limit_text(step.timeout)} and was ended"
        return FailureCode.STEP_TIMED_OUT, with_last_words(f"{text}{last}", redact(result.shown))
    code = step.failures.get(result.exit_status or 0, step.failure)
    status = "" if result.exit_status is None else f"exit status {result.exit_status}"
    how = (
        ", ".join(each for each in (status, words_of_host(redact(result.reason), longest=1000)) if each)
        or "no exit status"
    )
    text = f"step {step.name} failed on {target}: {how}{'' if result.reason else last}"
    return code, with_last_words(text, redact(result.shown))


def _last_line(output: str) -> str:
    lines = output[-1024:].strip().splitlines()
    return f"; its last line: {words_of_host(lines[-1])}" if lines else ""


def stored_output(result: StepResult) -> str:
    """Output as text: undecodable bytes and NUL are replaced (PostgreSQL stores neither)."""
    text = result.output.decode("utf-8", "replace").replace("\0", "\ufffd")
    if result.reason and result.reason not in text:
        text += f"{'' if not text or text.endswith(chr(10)) else chr(10)}[{result.reason}]\n"
    if result.leftovers:
        text += f"[{result.leftovers} processes were left running and were ended]\n"
    if not result.ended:
        text += "[a process could not be ended: it sleeps uninterruptibly]\n"
    return with_shown(text, result.shown) if result.shown else text


def with_shown(text: str, shown: str) -> str:
    """A step's output, and below it all that was shown after its failure."""
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[shown after the failure:]\n{shown}\n"


def event_output(text: str) -> tuple[str, bool]:
    """(the last 4 KiB, whether something before it was cut)."""
    encoded = text.encode()
    if len(encoded) <= EVENT_OUTPUT_BYTES:
        return text, False
    return encoded[-EVENT_OUTPUT_BYTES:].decode("utf-8", "ignore"), True
