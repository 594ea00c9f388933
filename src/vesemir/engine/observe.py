"""The ports to what watches: measures, and the context of log lines. Small on purpose; neither fails its caller."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """What became of a deploy event that was read."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    REJECTED = "rejected"


class Phase(StrEnum):
    """Stretches of a deployment whose time is of interest by itself."""

    RESOLVE = "resolve"
    DRAIN = "drain"
    CONNECT = "connect"


class Meters(Protocol):
    """Counts and times. Seconds are float seconds; ``code`` is a failure code or None for none."""

    def event_received(self, outcome: Outcome) -> None: ...

    def control_received(self, command: str, *, accepted: bool) -> None: ...

    def deployment_finished(self, status: str, code: str | None, *, seconds: float, queued_seconds: float) -> None: ...

    def target_finished(self, status: str, code: str | None, *, seconds: float) -> None: ...

    def step_finished(self, status: str, *, seconds: float) -> None: ...

    def phase_finished(self, phase: Phase, *, seconds: float) -> None: ...

    def lease_renewed(self, *, ok: bool) -> None:
        """``ok`` False: the lease was lost."""
        ...

    def taken_over(self) -> None:
        """This instance goes on with another's deployment."""
        ...

    def running(self, deployments: int) -> None: ...

    def ssh(self, *, sessions: int, handshakes: int) -> None:
        """How many are open now, and how many are shaking hands now."""
        ...

    def outbox(self, *, depth: int, oldest_seconds: float, parked: int) -> None: ...

    def published(self, outcome: str, *, seconds: float) -> None:
        """``outcome``: a ``PublishOutcome``, or ``away``."""
        ...

    def loop_lag(self, seconds: float) -> None: ...


class SilentMeters:
    """Measures nothing."""

    def event_received(self, outcome: Outcome) -> None: ...

    def control_received(self, command: str, *, accepted: bool) -> None: ...

    def deployment_finished(self, status: str, code: str | None, *, seconds: float, queued_seconds: float) -> None: ...

    def target_finished(self, status: str, code: str | None, *, seconds: float) -> None: ...

    def step_finished(self, status: str, *, seconds: float) -> None: ...

    def phase_finished(self, phase: Phase, *, seconds: float) -> None: ...

    def lease_renewed(self, *, ok: bool) -> None: ...

    def taken_over(self) -> None: ...

    def running(self, deployments: int) -> None: ...

    def ssh(self, *, sessions: int, handshakes: int) -> None: ...

    def outbox(self, *, depth: int, oldest_seconds: float, parked: int) -> None: ...

    def published(self, outcome: str, *, seconds: float) -> None: ...

    def loop_lag(self, seconds: float) -> None: ...


class Log(Protocol):
    """What the engine says to the people who run it. Messages are ``str.format`` templates; keywords become fields."""

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
