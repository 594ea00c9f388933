"""An open session with a target: its steps, uploads and forwarded connections."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncssh

from vesemir.adapters.ssh import forwarding
from vesemir.adapters.ssh.channel import SupervisorChannel
from vesemir.adapters.ssh.host_frames import Awaited
from vesemir.adapters.ssh.naming import file_name, marker_names
from vesemir.adapters.ssh.onhost.wire import KILL, RUN, TRACE
from vesemir.adapters.ssh.sftp import sftp_client
from vesemir.adapters.ssh.trouble import connection_lost, place, violated
from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError
from vesemir.domain.step import Command, StepKey, StepResult, StepTrace
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.hosts import HttpAnswer, Ticket

GRACE_SECONDS: Final = 2.0
"""Between SIGTERM and SIGKILL, on a cancel and at a deadline."""
ENDING_SECONDS: Final = 10.0
"""For a step to be ended on the host after a cancel: grace and killing, with room; then the connection is closed."""
ANSWER_SECONDS: Final = 30.0
"""What an answer may take beyond the step's own time: the same, sudo's start, and a slow disk's syncs."""
UPLOAD_SECONDS: Final = 3600.0

_T = TypeVar("_T")


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
    ) -> None:
        self._target = target
        self._ticket = ticket
        self._connection = connection
        self._channel = channel
        self._incoming = f"{state_folder}/incoming"
        self._connect_seconds = connect_seconds
        self._turn = asyncio.Lock()

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

    # -- files

    async def upload(self, source: Path, name: str) -> str:
        async def put(sftp: asyncssh.SFTPClient, path: str) -> None:
            await sftp.put(str(source), path)

        try:
            with source.open("rb"):  # only whether it can be opened, before anything is sent
                pass
            return await self._place(put, name)
        except OSError as error:
            text = f"{source} cannot be read: {error.strerror or error}; check artifacts.roots and the file's mode"
            raise FailedError(FailureCode.ARTIFACT_UNAVAILABLE, text) from error

    async def write(self, content: bytes, name: str) -> str:
        async def put(sftp: asyncssh.SFTPClient, path: str) -> None:
            async with sftp.open(path, "wb") as file:
                await file.write(content)

        return await self._place(put, name)

    async def _place(self, put: Callable[[asyncssh.SFTPClient, str], Awaitable[None]], name: str) -> str:
        """Under another name first, so that nobody ever sees half of it."""
        self._check_ticket()
        path = f"{self._incoming}/{file_name(name) if '/' in name or name.startswith('.') else name}"
        part = f"{self._incoming}/.{secrets.token_hex(8)}.part"
        try:
            async with asyncio.timeout(UPLOAD_SECONDS), sftp_client(self._connection) as sftp:
                try:
                    await put(sftp, part)
                    await sftp.chmod(part, 0o600)
                    await sftp.posix_rename(part, path)
                except asyncssh.SFTPError:
                    with contextlib.suppress(asyncssh.SFTPError):
                        await sftp.unlink(part)
                    raise
        except asyncssh.SFTPConnectionLost as error:
            raise connection_lost(self._target, str(error)) from error
        except asyncssh.SFTPError as error:
            reason = words_of_host(error.reason)
            text = f"{place(self._target)} does not take {path}: {reason}; check free space and rights there"
            raise FailedError(FailureCode.STEP_FAILED, text) from error
        except TimeoutError as error:
            raise connection_lost(self._target, f"an upload took more than {UPLOAD_SECONDS:g} s") from error
        except (asyncssh.Error, ConnectionError) as error:
            raise self._lost_or(
                error, f"SFTP is not available: {words_of_host(str(error))}; check Subsystem sftp in its sshd_config"
            ) from error
        except (ValueError, IndexError) as error:  # what asyncssh's parser says of replies that are none
            raise violated(self._target, f"its SFTP server sends replies that are none: {error}") from error
        return path

    def _lost_or(self, error: Exception, text: str) -> FailedError:
        if self._connection.is_closed():
            return connection_lost(self._target, words_of_host(str(error)))
        return FailedError(FailureCode.TARGET_UNSUPPORTED, f"{place(self._target)}: {text}")

    # -- forwarded connections

    async def http_get(self, url: str, *, timeout: float) -> HttpAnswer:
        return await self._forwarded(forwarding.http_get(self._connection, url, timeout=timeout))

    async def tcp_connect(self, host: str, port: int, *, timeout: float) -> None:
        await self._forwarded(forwarding.tcp_connect(self._connection, host, port, timeout=timeout))

    async def _forwarded(self, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except (ConnectionError, TimeoutError) as error:
            if self._connection.is_closed():
                raise connection_lost(self._target, str(error)) from error
            raise


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
