"""The port to hosts: one connection per target, and on it one supervisor session for all its steps."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vesemir.domain.step import Command, StepKey, StepResult, StepTrace
from vesemir.domain.target import Target

BODY_LIMIT: Final = 64 * 1024
"""Bytes of an HTTP answer that are read."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to work on a host, shown to it at the start and renewed by beats.

    ``lane`` is ``application/environment``. The host refuses an ``epoch`` lower than the highest it has seen in it.
    ``valid`` tells, from this instance's own monotonic clock, whether the lease may still be trusted: it is asked
    before every beat and before every command. ``beat_seconds`` is the pause between beats, ``silence_seconds`` how
    long the host waits for one before it ends everything. ``lock_seconds`` bounds the wait for another session's lock.
    """

    deployment_id: str
    lane: str
    epoch: int
    valid: Callable[[], bool]
    beat_seconds: float
    silence_seconds: float
    lock_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """``body`` holds at most the first ``BODY_LIMIT`` bytes, and ``cut`` says whether there were more; ``coding`` is
    what it is encoded with where that could not be undone."""

    status: int
    body: bytes
    coding: str = ""
    cut: bool = False


class Host(Protocol):
    """An open session with a target whose lock is held. All methods raise ``FailedError`` when the host is lost."""

    @property
    def connect_seconds(self) -> float:
        """From the first packet to the supervisor's greeting."""
        ...

    async def trace(self, key: StepKey) -> StepTrace:
        """What is known on the host of this try. One that still ran had lost its supervisor and was ended first."""
        ...

    async def run(self, key: StepKey, command: Command) -> StepResult:
        """Run a command under the supervisor; its whole process tree is dead when this returns.

        Cancelling the awaiting task ends the tree on the host first (bounded; then the connection is closed, which ends
        it too). Raises ``LeaseLostError`` when the ticket is no longer valid or the host knows a higher epoch, and
        ``FailedError`` (``ssh.connection_lost``) when the connection breaks: the step's state is then unknown.
        """
        ...

    def recorded(self) -> None:
        """What the last ``run`` gave is in the record: the memory that its output needs here is free for others."""
        ...

    async def upload(self, source: Path, name: str) -> str:
        """Send a local file into the state folder's ``incoming/``, mode 0600, replacing what is there: by SFTP, or
        through the session where that is not there.

        Returns its absolute path on the host. Raises ``FailedError`` (``artifact.unavailable``) if it cannot be read.
        """
        ...

    async def write(self, content: bytes, name: str) -> str:
        """The same for bytes in memory."""
        ...

    async def http_get(self, url: str, *, timeout: float) -> HttpAnswer:
        """GET as seen from the host: over a forwarded connection, or by the host itself where it forwards none. Raises
        ``ConnectionError`` or ``TimeoutError``."""
        ...

    async def tcp_connect(self, host: str, port: int, *, timeout: float) -> None:
        """Open and close a connection, likewise. Raises ``ConnectionError`` or ``TimeoutError``."""
        ...


class Look(Protocol):
    """A session that only looks at a host: no lock, no marker, no file. All methods raise ``FailedError`` when the host
    is lost."""

    async def run(self, key: StepKey, command: Command) -> StepResult:
        """As ``Host.run``, with 8 KiB of output at most. ``command`` must change nothing."""
        ...

    async def try_sftp(self) -> None:
        """Whether a file could be sent. Raises ``FailedError`` (``target.unsupported``)."""
        ...

    async def try_forwarding(self, host: str, port: int) -> None:
        """Whether a check could connect there; whether something answers does not matter. Raises ``FailedError``
        (``target.unsupported``)."""
        ...


class Relay(Protocol):
    """A connection to a load balancer box, for talking to sockets there; nothing is run on it but, when a socket
    does not open, a look at why."""

    async def ask(self, socket: str, line: str, *, timeout: float) -> str:
        """Send one line to a socket over a fresh channel and return all that it answers until it closes.

        The socket is a path, or ``host:port`` as seen from the box.

        Raises ``FailedError`` (``haproxy.unreachable``) when the socket or the connection is not to be had.
        """
        ...


class Hosts(Protocol):
    """Opens sessions. Raises ``FailedError``: ``ssh.unreachable``, ``ssh.auth_failed``, ``ssh.host_key_mismatch``,
    ``ssh.jump_unreachable``, ``ssh.connection_lost``, ``target.busy`` (locked by another session),
    ``target.unsupported`` (no Python 3.6+); ``LeaseLostError`` when the host has seen a higher epoch of this lane."""

    def open(self, target: Target, ticket: Ticket) -> AbstractAsyncContextManager[Host]:
        """Connect, start the supervisor, take the lane's lock. Leaving the context ends whatever still runs."""
        ...

    def relay(self, target: Target) -> AbstractAsyncContextManager[Relay]:
        """Connect to a load balancer box."""
        ...

    def login(self, target: Target, ticket: Ticket) -> AbstractAsyncContextManager[Look]:
        """Connect and start the supervisor, but take no lane: nothing is left on the host, and nothing there waits."""
        ...
