"""An open session with a target: its steps, uploads and forwarded connections."""

import asyncio
from pathlib import Path
from typing import Any, Final

import asyncssh

from vesemir.adapters.ssh.channel import SupervisorChannel
from vesemir.adapters.ssh.errands import Errands
from vesemir.adapters.ssh.host_checks import HostChecks
from vesemir.adapters.ssh.host_files import HostFiles
from vesemir.adapters.ssh.host_frames import Awaited
from vesemir.adapters.ssh.naming import marker_names
from vesemir.adapters.ssh.onhost.wire import KILL, RUN, TRACE
from vesemir.adapters.ssh.trouble import connection_lost
from vesemir.domain.failure import FailedError, LeaseLostError
from vesemir.domain.step import Command, StepKey, StepResult, StepTrace
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import HttpAnswer, Ticket
from vesemir.engine.ports.observe import Log

GRACE_SECONDS: Final = 2.0
"""Between SIGTERM and SIGKILL, on a cancel and at a deadline."""
ENDING_SECONDS: Final = 10.0
"""For a step to be ended on the host after a cancel: grace and killing, with room; then the connection is closed."""
ANSWER_SECONDS: Final = 30.0
"""What an answer may take beyond the step's own time: the same, sudo's start, and a slow disk's syncs."""


class SshHost:
    """``vesemir.engine.ports.hosts.Host``. One request at a time: a host does its steps one after another."""

    def __init__(
        self,
        target: Target,
        ticket: Ticket,
        *,
        connection: asyncssh.SSHClientConnection,
        channel: SupervisorChannel,
        state_folder: str,
        connect_seconds: float,
        python: str,
        log: Log,
    ) -> None:
        self._target = target
        self._ticket = ticket
        self._connection = connection
        self._channel = channel
        self._connect_seconds = connect_seconds
        self._turn = asyncio.Lock()
        errands = Errands(ticket.deployment_id, run=self.run, python=python)
        self.files = HostFiles(target, connection, errands, incoming=f"{state_folder}/incoming", log=log)
        self.checks = HostChecks(target, connection, errands, log=log)

    @property
    def connect_seconds(self) -> float:
        return self._connect_seconds

    async def trace(self, key: StepKey) -> StepTrace:
        """What the markers say. A try that was cancelled, or ended with its session, broke off."""
        async with self._turn:
            answer = self._channel.ask(TRACE, marker_names(key), answer=Awaited.TRACE)
            trace: StepTrace = await self._answered(answer, seconds=ANSWER_SECONDS)
            return trace

    async def run(self, key: StepKey, command: Command) -> StepResult:
        async with self._turn:
            self._check_ticket()
            self._channel.give_room_back()
            limit = command.output_limit
            answer = self._channel.ask(RUN, order(key, command), answer=Awaited.STEP, output_limit=limit)
            try:
                result: StepResult = await self._answered(answer, seconds=command.timeout + ANSWER_SECONDS)
            except asyncio.CancelledError:
                await self._end_step(answer)
                raise
            return result

    def recorded(self) -> None:
        self._channel.give_room_back()

    def _check_ticket(self) -> None:
        if not self._ticket.valid():
            raise LeaseLostError(f"the lease of {self._ticket.deployment_id} is no longer valid")

    async def _answered(self, answer: "asyncio.Future[Any]", *, seconds: float) -> Any:  # noqa: ANN401 - as asked
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(answer)
        except TimeoutError:
            lost = connection_lost(self._target, f"no answer within {seconds:g} s")
            self._channel.fail(lost)
            self._connection.abort()
            raise lost from None

    async def _end_step(self, answer: "asyncio.Future[Any]") -> None:
        """On the host, while the awaiting task is being cancelled."""
        self._channel.give_room_back()
        try:
            self._channel.send(KILL)
            async with asyncio.timeout(ENDING_SECONDS):
                await asyncio.shield(answer)
        except (FailedError, LeaseLostError):
            return  # the session is over, and with it the step
        except (TimeoutError, asyncio.CancelledError):
            self._connection.abort()

    # -- files and connections

    async def upload(self, source: Path, name: str) -> str:
        self._check_ticket()
        return await self.files.upload(source, name)

    async def write(self, content: bytes, name: str) -> str:
        self._check_ticket()
        return await self.files.write(content, name)

    async def http_get(self, url: str, *, timeout: float) -> HttpAnswer:
        return await self.checks.http_get(url, timeout=timeout)

    async def tcp_connect(self, host: str, port: int, *, timeout: float) -> None:
        await self.checks.tcp_connect(host, port, timeout=timeout)


def order(key: StepKey, command: Command) -> list[bytes]:
    """The fields of RUN. Words and variables travel as they are: no shell ever sees them."""
    words = [word.encode("utf-8", "surrogateescape") for word in command.argv]
    variables = [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in command.environment.items()]
    return [
        *marker_names(key),
        repr(float(command.timeout)).encode(),
        b"1" if command.sudo else b"0",
        (command.cwd or "").encode("utf-8", "surrogateescape"),
        str(command.output_limit).encode(),
        str(len(words)).encode(),
        *words,
        *variables,
    ]
