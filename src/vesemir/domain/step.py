"""What is asked of a host and what it answers: a command, its key, its result, and the trace left by an earlier try."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Direction(StrEnum):
    """A target goes forward once and, in a rollback, back once."""

    FORWARD = "forward"
    BACK = "back"


class StepStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StepKey:
    """Names one try of one step of one deployment on one target; the marker on the host has this name."""

    deployment_id: str
    direction: Direction
    step: str
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Command:
    """A remote command as a value: a list of words, each of which reaches the program as the same bytes.

    ``timeout`` is in seconds and counted on the host's monotonic clock. ``sudo`` runs it under ``sudo -n``.
    ``output_limit`` is how many bytes of output are sent back; what exceeds it is counted only.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    sudo: bool = False
    cwd: str | None = None
    output_limit: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a command ended.

    ``exit_status`` is None when it was ended by a signal or never ended by itself. ``output`` is what was kept (at
    most ``output_limit`` bytes: the end of it), ``output_bytes`` what was printed in all. ``leftovers`` counts
    processes that the step left running and that were ended with it. ``ended`` is False if something could not be
    killed (uninterruptible sleep). ``reason`` says in words what the status alone does not (which signal, no such
    program, no sudo right). ``shown`` is what the recipe has shown after the failure.
    """

    status: StepStatus
    exit_status: int | None
    output: bytes = b""
    output_bytes: int = 0
    duration_seconds: float = 0.0
    leftovers: int = 0
    ended: bool = True
    reason: str = ""
    shown: str = ""


class Trace(StrEnum):
    """What the host's marker tells of a try that somebody may have started earlier."""

    NEVER = "never"
    RUNNING = "running"
    FINISHED = "finished"
    BROKEN_OFF = "broken_off"


@dataclass(frozen=True, slots=True)
class StepTrace:
    """``result`` is there for ``FINISHED`` only (its output is not kept on the host)."""

    trace: Trace
    result: StepResult | None = None
