"""The ports to what watches: measures, and the context of log lines. Small on purpose; neither fails its caller."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from vesemir.domain.failure import FailureCode
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import StepStatus


class IntakeOutcome(StrEnum):
    """What became of a deploy event that was read."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    REJECTED = "rejected"


class Phase(StrEnum):
    """Stretches of a deployment whose time is of interest by itself."""

    QUEUE = "queue"
    RESOLVE = "resolve"
    DRAIN = "drain"
    CONNECT = "connect"


class WaitsFor(StrEnum):
    """What a deployment that nobody works on waits for."""

    INSTANCE = "instance"
    """It is the first of its lane: an instance with room."""
    LANE = "lane"
    """The deployment before it in its lane."""
    PAUSE = "pause"
    """A deployment before it that somebody paused, or a lock of the lane."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the record, of all instances together.

    ``events`` wait to be published, the oldest of those that nothing but us keeps back for ``oldest_seconds``;
    ``failing`` destinations are tried again, ``parked`` ones are given up. ``waiting`` deployments by what they wait
    for, the oldest for ``waiting_oldest_seconds``. ``left_drained``: servers out of traffic because of a result.
    ``locked_lanes``: lanes in which nothing new begins.
    """

    events: int = 0
    oldest_seconds: float = 0.0
    failing: int = 0
    parked: int = 0
    waiting: Mapping[WaitsFor, int] = field(default_factory=dict)
    waiting_oldest_seconds: float = 0.0
    left_drained: int = 0
    locked_lanes: int = 0


class Meters(Protocol):
    """Counts and times. Seconds are float seconds; ``code`` is a failure code or None for none.

    Never an id, a host or an application: the one that sends requests could make up any number of them.
    """

    def event_received(self, outcome: IntakeOutcome, code: FailureCode | None = None) -> None: ...

    def control_received(self, command: str, *, accepted: bool) -> None: ...

    def glass_broken(self) -> None:
        """A deployment was accepted that goes past locks, freezes and missing promotions."""
        ...

    def deployment_finished(self, status: DeploymentState, code: FailureCode | None, *, seconds: float | None) -> None:
        """``seconds`` since it was claimed first; None if it never was."""
        ...

    def dry_run_finished(self, status: DeploymentState) -> None:
        """It deployed nothing, so neither it nor its targets are counted among those that did."""
        ...

    def target_finished(self, status: TargetState, code: FailureCode | None, *, seconds: float | None) -> None:
        """``seconds`` None: it never began, or nobody knows when."""
        ...

    def left_drained(self) -> None:
        """A target ended so that its server was left drained."""
        ...

    def step_finished(self, status: StepStatus, *, seconds: float, redone: bool) -> None: ...

    def phase_finished(self, phase: Phase, *, seconds: float) -> None: ...

    def lease_renewed(self, *, ok: bool) -> None:
        """``ok`` False: the database did not answer; the lease is trusted for some time yet."""
        ...

    def lease_lost(self) -> None:
        """The run was stopped, because another instance may go on with its deployment."""
        ...

    def taken_over(self, *, expired: bool) -> None:
        """This instance goes on with another's deployment: its lease ran out, or it was handed back."""
        ...

    def running(self, deployments: int) -> None: ...

    def ssh(self, *, sessions: int, handshakes: int) -> None:
        """How many are open now, and how many are shaking hands now."""
        ...

    def ssh_login_repeated(self) -> None:
        """It was refused with credentials that are not those on disk any more."""
        ...

    def backlog(self, backlog: Backlog | None) -> None:
        """None: the database does not answer, so nobody knows."""
        ...

    def published(self, outcome: str, *, seconds: float) -> None:
        """``outcome``: a ``PublishOutcome``, or ``away``."""
        ...

    def parked(self) -> None:
        """A destination was given up."""
        ...

    def loop_lag(self, seconds: float) -> None: ...


class SilentMeters:
    """Measures nothing."""

    def event_received(self, outcome: IntakeOutcome, code: FailureCode | None = None) -> None: ...

    def control_received(self, command: str, *, accepted: bool) -> None: ...

    def glass_broken(self) -> None: ...

    def deployment_finished(
        self, status: DeploymentState, code: FailureCode | None, *, seconds: float | None
    ) -> None: ...

    def dry_run_finished(self, status: DeploymentState) -> None: ...

    def target_finished(self, status: TargetState, code: FailureCode | None, *, seconds: float | None) -> None: ...

    def left_drained(self) -> None: ...

    def step_finished(self, status: StepStatus, *, seconds: float, redone: bool) -> None: ...

    def phase_finished(self, phase: Phase, *, seconds: float) -> None: ...

    def lease_renewed(self, *, ok: bool) -> None: ...

    def lease_lost(self) -> None: ...

    def taken_over(self, *, expired: bool) -> None: ...

    def running(self, deployments: int) -> None: ...

    def ssh(self, *, sessions: int, handshakes: int) -> None: ...

    def ssh_login_repeated(self) -> None: ...

    def backlog(self, backlog: Backlog | None) -> None: ...

    def published(self, outcome: str, *, seconds: float) -> None: ...

    def parked(self) -> None: ...

    def loop_lag(self, seconds: float) -> None: ...


class Log(Protocol):
    """What the engine and the adapters say to the people who run it.

    With keywords a message is a ``str.format`` template, and the keywords become fields of the line. Without keywords
    it is taken as it is, braces included: an adapter hands over a text that holds a library's words.
    """

    def debug(self, message: str, **fields: object) -> None: ...

    def info(self, message: str, **fields: object) -> None: ...

    def warning(self, message: str, **fields: object) -> None: ...

    def error(self, message: str, **fields: object) -> None: ...

    def exception(self, message: str, **fields: object) -> None:
        """With the traceback of the exception being handled: a bug."""
        ...

    def context(self, **fields: object) -> AbstractContextManager[object]:
        """Fields of every line within: deployment_id, application, environment, target, step, epoch."""
        ...

    def hiding(self, take_out: Callable[[str], str]) -> AbstractContextManager[object]:
        """Every line within, and in tasks begun there, goes through ``take_out``."""
        ...


class SilentLog:
    """Says nothing."""

    def debug(self, message: str, **fields: object) -> None: ...

    def info(self, message: str, **fields: object) -> None: ...

    def warning(self, message: str, **fields: object) -> None: ...

    def error(self, message: str, **fields: object) -> None: ...

    def exception(self, message: str, **fields: object) -> None: ...

    def context(self, **fields: object) -> AbstractContextManager[object]:
        del fields
        return nullcontext()

    def hiding(self, take_out: Callable[[str], str]) -> AbstractContextManager[object]:
        del take_out
        return nullcontext()
