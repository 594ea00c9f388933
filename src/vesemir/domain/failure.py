"""Failure codes: stable strings that requesters, dashboards and the runbook share (contract section 3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vesemir.domain.visible import words_of_host


class FailureCode(StrEnum):
    """Every way a request, a target or a deployment fails. Each has an entry in ``docs/runbook.md``."""

    REQUEST_INVALID = "request.invalid"
    REQUEST_CONFLICT = "request.conflict"
    REQUEST_UNKNOWN_RECIPE = "request.unknown_recipe"
    REQUEST_INVALID_PARAMETERS = "request.invalid_parameters"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_FORBIDDEN = "request.forbidden"
    REQUEST_SECRETS_UNREADABLE = "request.secrets_unreadable"
    TARGETS_NONE_FOUND = "targets.none_found"
    TARGETS_TOO_FEW = "targets.too_few"
    TARGETS_UNKNOWN_HOST = "targets.unknown_host"
    TARGETS_INVENTORY_UNREACHABLE = "targets.inventory_unreachable"
    TARGETS_INVENTORY_DENIED = "targets.inventory_denied"
    TARGETS_INVALID_ATTRIBUTES = "targets.invalid_attributes"
    SSH_UNREACHABLE = "ssh.unreachable"
    SSH_AUTH_FAILED = "ssh.auth_failed"
    SSH_HOST_KEY_MISMATCH = "ssh.host_key_mismatch"
    SSH_CONNECTION_LOST = "ssh.connection_lost"
    SSH_PROTOCOL_VIOLATED = "ssh.protocol_violated"
    STEP_FAILED = "step.failed"
    STEP_TIMED_OUT = "step.timed_out"
    TARGET_TIMED_OUT = "target.timed_out"
    TARGET_BUSY = "target.busy"
    TARGET_UNSUPPORTED = "target.unsupported"
    TARGET_STATE_UNKNOWN = "target.state_unknown"
    HAPROXY_UNREACHABLE = "haproxy.unreachable"
    HAPROXY_UNKNOWN_SERVER = "haproxy.unknown_server"
    HAPROXY_DRAIN_TIMED_OUT = "haproxy.drain_timed_out"
    HAPROXY_NOT_UP = "haproxy.not_up"
    HAPROXY_CAPACITY = "haproxy.capacity"
    HAPROXY_WEIGHT_ROUNDS_TO_ZERO = "haproxy.weight_rounds_to_zero"
    HEALTH_FAILED = "health.failed"
    CANARY_REGRESSED = "canary.regressed"
    ROLLOUT_TOO_MANY_FAILURES = "rollout.too_many_failures"
    DEPLOYMENT_TIMED_OUT = "deployment.timed_out"
    DEPLOYMENT_CANCELLED = "deployment.cancelled"
    DEPLOYMENT_ROLLBACK_FAILED = "deployment.rollback_failed"
    ARTIFACT_UNAVAILABLE = "artifact.unavailable"
    ARTIFACT_CHECKSUM_MISMATCH = "artifact.checksum_mismatch"
    CONTROL_UNKNOWN_DEPLOYMENT = "control.unknown_deployment"
    CONTROL_NOT_RUNNING = "control.not_running"
    CONTROL_FORBIDDEN = "control.forbidden"
    INTERNAL_ERROR = "internal.error"
    REQUEST_EXPIRED = "request.expired"
    REQUEST_TOO_MANY_WAITING = "request.too_many_waiting"
    LANE_LOCKED = "lane.locked"
    PROMOTION_MISSING = "promotion.missing"
    SSH_JUMP_UNREACHABLE = "ssh.jump_unreachable"

    @property
    def runbook(self) -> str:
        """The anchor of the entry in ``docs/runbook.md``: ``step.failed`` is ``#step-failed``."""
        return f"#{self.value.replace('.', '-').replace('_', '-')}"

    @property
    def kind(self) -> "FailureKind":
        """What it means for the target that has it."""
        return _KINDS[self]


class FailureKind(StrEnum):
    """``CONNECTION``: the host was not reached, or was lost. ``TIME_LIMIT``: a time of ``timeouts`` ran out. ``OTHER``:
    something was done or asked for, and failed."""

    CONNECTION = "connection"
    TIME_LIMIT = "time limit"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    OTHER = "other"


_KINDS: Mapping[FailureCode, FailureKind] = {
    FailureCode.REQUEST_INVALID: FailureKind.OTHER,
    FailureCode.REQUEST_CONFLICT: FailureKind.OTHER,
    FailureCode.REQUEST_UNKNOWN_RECIPE: FailureKind.OTHER,
    FailureCode.REQUEST_INVALID_PARAMETERS: FailureKind.OTHER,
    FailureCode.REQUEST_TOO_LARGE: FailureKind.OTHER,
    FailureCode.REQUEST_FORBIDDEN: FailureKind.OTHER,
    FailureCode.REQUEST_SECRETS_UNREADABLE: FailureKind.OTHER,
    FailureCode.TARGETS_NONE_FOUND: FailureKind.OTHER,
    FailureCode.TARGETS_TOO_FEW: FailureKind.OTHER,
    FailureCode.TARGETS_UNKNOWN_HOST: FailureKind.OTHER,
    FailureCode.TARGETS_INVENTORY_UNREACHABLE: FailureKind.OTHER,
    FailureCode.TARGETS_INVENTORY_DENIED: FailureKind.OTHER,
    FailureCode.TARGETS_INVALID_ATTRIBUTES: FailureKind.OTHER,
    FailureCode.SSH_UNREACHABLE: FailureKind.CONNECTION,
    FailureCode.SSH_AUTH_FAILED: FailureKind.CONNECTION,
    FailureCode.SSH_HOST_KEY_MISMATCH: FailureKind.CONNECTION,
    FailureCode.SSH_CONNECTION_LOST: FailureKind.CONNECTION,
    FailureCode.SSH_PROTOCOL_VIOLATED: FailureKind.OTHER,
    FailureCode.STEP_FAILED: FailureKind.OTHER,
    FailureCode.STEP_TIMED_OUT: FailureKind.TIME_LIMIT,
    FailureCode.TARGET_TIMED_OUT: FailureKind.TIME_LIMIT,
    FailureCode.TARGET_BUSY: FailureKind.OTHER,
    FailureCode.TARGET_UNSUPPORTED: FailureKind.OTHER,
    FailureCode.TARGET_STATE_UNKNOWN: FailureKind.UNKNOWN,
    FailureCode.HAPROXY_UNREACHABLE: FailureKind.OTHER,
    FailureCode.HAPROXY_UNKNOWN_SERVER: FailureKind.OTHER,
    FailureCode.HAPROXY_DRAIN_TIMED_OUT: FailureKind.OTHER,
    FailureCode.HAPROXY_NOT_UP: FailureKind.OTHER,
    FailureCode.HAPROXY_CAPACITY: FailureKind.OTHER,
    FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO: FailureKind.OTHER,
    FailureCode.HEALTH_FAILED: FailureKind.OTHER,
    FailureCode.CANARY_REGRESSED: FailureKind.OTHER,
    FailureCode.ROLLOUT_TOO_MANY_FAILURES: FailureKind.OTHER,
    FailureCode.DEPLOYMENT_TIMED_OUT: FailureKind.TIME_LIMIT,
    FailureCode.DEPLOYMENT_CANCELLED: FailureKind.CANCELLED,
    FailureCode.DEPLOYMENT_ROLLBACK_FAILED: FailureKind.OTHER,
    FailureCode.ARTIFACT_UNAVAILABLE: FailureKind.OTHER,
    FailureCode.ARTIFACT_CHECKSUM_MISMATCH: FailureKind.OTHER,
    FailureCode.CONTROL_UNKNOWN_DEPLOYMENT: FailureKind.OTHER,
    FailureCode.CONTROL_NOT_RUNNING: FailureKind.OTHER,
    FailureCode.CONTROL_FORBIDDEN: FailureKind.OTHER,
    FailureCode.INTERNAL_ERROR: FailureKind.OTHER,
    FailureCode.REQUEST_EXPIRED: FailureKind.OTHER,
    FailureCode.REQUEST_TOO_MANY_WAITING: FailureKind.OTHER,
    FailureCode.PROMOTION_MISSING: FailureKind.OTHER,
    FailureCode.LANE_LOCKED: FailureKind.OTHER,
    FailureCode.SSH_JUMP_UNREACHABLE: FailureKind.CONNECTION,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in words that say what to do next."""

    code: FailureCode
    message: str

    def as_json(self) -> dict[str, str]:
        """``{"code", "message", "runbook"}`` of contract section 2."""
        return {"code": self.code.value, "message": self.message, "runbook": f"docs/runbook.md{self.code.runbook}"}


_COMMANDS = (
    r"ssh-keygen -F [\w.:'\[\]-]+ -f [\w./'-]+",
    r"ssh-keygen -lf [\w./-]+",
    r"echo '[\w.-]+ ALL=\(root\) NOPASSWD: [\w./-]+' >> /etc/sudoers\.d/vesemir",
    r"echo 'Defaults:[\w.-]+ !requiretty' >> /etc/sudoers\.d/vesemir",
)
_COMMAND = re.compile(f"`({'|'.join(_COMMANDS)})`", re.ASCII)


def commands_in(message: str) -> tuple[str, ...]:
    """The commands that a failure tells one to type, between backticks, as they can be pasted.

    Of these forms only: the rest of a message may be a host's own words, and nobody shall be led to type those.
    """
    return tuple(_COMMAND.findall(message))


LAST_WORDS = "; the host shows: "
"""Before the last lines of what ``on_failure_show`` of a recipe printed."""
_MOST_LINES = 10
_MOST_CHARACTERS = 1000
_LEFT_BEHIND = "; its server "


def with_last_words(message: str, shown: str) -> str:
    """With the end of what a host shows of the failure, on one line; without what looks like a command of ours."""
    lines = [words_of_host(line) for line in shown.strip().splitlines()[-_MOST_LINES:]]
    words = " | ".join(line for line in lines if line).replace("`", "'")
    if not words:
        return message
    return f"{message}{LAST_WORDS}{words if len(words) <= _MOST_CHARACTERS else f'…{words[-_MOST_CHARACTERS:]}'}"


def with_left_behind(failure: Failure, wording: str) -> Failure:
    """With the words for what is left in HAProxy, which begin with ``its server``."""
    return Failure(failure.code, f"{failure.message}; {wording}") if wording else failure


def left_ready(server: str) -> str:
    """The words for the server of a target that failed after it had succeeded."""
    return (
        f"its server {server} is left ready: HAProxy's checks keep it out of traffic while it is DOWN and take it back "
        "when it recovers"
    )


def cause_of(failure: Failure) -> str:
    """Without those words: a rollback may have changed since what was left behind. Nor with a host's last words."""
    return failure.message.partition(_LEFT_BEHIND)[0].partition(LAST_WORDS)[0]


class VesemirError(Exception):
    """The one base of everything that Vesemir raises on purpose."""


class FailedError(VesemirError):
    """Work that could not be done, for a reason that the requester is told.

    ``output`` is what the step's output says, where that is more than the message.
    """

    def __init__(self, code: FailureCode, message: str, *, output: str = "") -> None:
        super().__init__(message)
        self.failure = Failure(code, message)
        self.output = output or message


class LeaseLostError(VesemirError):
    """This instance no longer owns the deployment: everything of it stops at once and nothing more is written."""


class EpochRefusedError(LeaseLostError):
    """A host says so: it has seen a later claim of the lane. The record knows whether that is true."""
