"""The port to hosts over SSH (``vesemir.engine.ports.hosts.Hosts``)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import PurePosixPath
from typing import Final

import asyncssh

from vesemir.adapters.ssh.channel import SupervisorChannel
from vesemir.adapters.ssh.credentials import Credentials
from vesemir.adapters.ssh.delivery import exec_request, new_nonce
from vesemir.adapters.ssh.dialer import Dialer, RefusePlace, anywhere
from vesemir.adapters.ssh.host import GRACE_SECONDS, SshHost
from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.host_frames import Awaited, Welcome
from vesemir.adapters.ssh.jump_hosts import FindHost, find_no_host
from vesemir.adapters.ssh.look import SshLook
from vesemir.adapters.ssh.naming import file_name
from vesemir.adapters.ssh.onhost.wire import HELLO
from vesemir.adapters.ssh.relay import SshRelay
from vesemir.adapters.ssh.room import OutputRoom
from vesemir.adapters.ssh.trouble import connection_lost, unsupported
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.hosts import Host, Look, Relay, Ticket
from vesemir.engine.ports.observe import Log, Meters, SilentLog, SilentMeters
from vesemir.settings import SshSettings

LEAVE_SECONDS: Final = 10.0
"""For a supervisor to end what still runs once its input is closed; then the connection is closed under it."""
WELCOME_SECONDS: Final = 20.0
"""Beyond the wait for the lock: syncing the epoch, ending an earlier session's orphans."""


class SshHosts:
    """Opens sessions; at most ``ssh.max_sessions`` supervised ones at once, of all deployments of this instance."""

    def __init__(self, settings: SshSettings, dialer: Dialer, meters: Meters, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._dialer = dialer
        self._meters = meters
        self._open = 0
        self._shaking = 0
        self._sessions = asyncio.Semaphore(settings.max_sessions)
        self._room = OutputRoom()
        self._starts = asyncio.Semaphore(settings.max_handshakes)

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls,
        settings: SshSettings,
        *,
        meters: Meters | None = None,
        refuse_place: RefusePlace | None = None,
        find_host: FindHost | None = None,
        log: Log | None = None,
    ) -> AsyncIterator["SshHosts"]:
        """``refuse_place`` is asked for each name that was resolved, ``find_host`` for jump hosts that are named.
        Raises ``FailedError`` when the client key or the known hosts cannot be read."""
        meters, log = meters or SilentMeters(), log or SilentLog()
        async with Dialer.started(
            settings,
            refuse_place=refuse_place or anywhere,
            find_host=find_host or find_no_host,
            meters=meters,
            log=log,
        ) as dialer:
            yield cls(settings, dialer, meters, log)

    @property
    def credentials(self) -> Credentials:
        """Client keys and known hosts, to be read again."""
        return self._dialer.credentials

    @contextlib.contextmanager
    def _counted(self, *, sessions: int = 0, handshakes: int = 0) -> Iterator[None]:
        """How many there are now, measured at both ends."""
        self._count(sessions, handshakes)
        try:
            yield
        finally:
            self._count(-sessions, -handshakes)

    def _count(self, sessions: int, handshakes: int) -> None:
        self._open += sessions
        self._shaking += handshakes
        self._meters.ssh(sessions=self._open, handshakes=self._shaking)

    @contextlib.asynccontextmanager
    async def open(self, target: Target, ticket: Ticket) -> AsyncIterator[Host]:
        async with self._begun_session(target, ticket) as (connection, channel, connect_seconds):
            yield SshHost(
                target,
                ticket,
                connection=connection,
                channel=channel,
                state_folder=await self._welcomed(target, ticket, channel),
                connect_seconds=connect_seconds,
                python=self._settings.python,
                log=self._log,
            )

    @contextlib.asynccontextmanager
    async def _begun_session(
        self, target: Target, ticket: Ticket
    ) -> AsyncIterator[tuple[HostConnection, SupervisorChannel, float]]:
        """The supervisor, greeted and not yet told what for; and how many seconds that took."""
        loop = asyncio.get_running_loop()
        async with self._sessions, contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._counted(sessions=1))
            begun = loop.time()
            with self._counted(handshakes=1):
                connection = await stack.enter_async_context(self._dialer.connection(target))
                channel = await self._begun(target, ticket, connection)
            try:
                yield connection, channel, loop.time() - begun
            finally:
                await self._leave(channel)

    async def _begun(self, target: Target, ticket: Ticket, connection: HostConnection) -> SupervisorChannel:
        """The supervisor, greeted. So many start at once as may shake hands at once: where hosts share a machine, a
        hundred interpreters that start together all come too late."""
        async with self._starts:
            channel = await self._supervised(target, ticket, connection)
            try:
                await self._greeted(target, channel)
            except BaseException:
                connection.abort()  # nothing was begun there, so there is nothing to wait for
                raise
        return channel

    async def _supervised(self, target: Target, ticket: Ticket, connection: HostConnection) -> SupervisorChannel:
        nonce = new_nonce()
        try:
            async with asyncio.timeout(self._settings.login_timeout_seconds):
                channel, session = await connection.create_session(
                    lambda: SupervisorChannel(target, ticket, nonce, self._room),
                    exec_request(self._settings.python, nonce, installed=self._installed(target)),
                    encoding=None,
                )
        except (asyncssh.ChannelOpenError, TimeoutError) as error:
            if connection.is_closed():
                raise connection_lost(target, str(error)) from error
            words = words_of_host(str(error)) or "no answer"
            text = f"sshd opens no session ({words}); look at MaxSessions and ForceCommand in its sshd_config"
            raise unsupported(target, text) from error
        except (asyncssh.Error, OSError) as error:
            raise connection_lost(target, str(error)) from error
        connection.eager = False
        _forget_request(channel)
        assert isinstance(session, SupervisorChannel)  # noqa: S101 - asyncssh's stubs forget which factory it was
        return session

    def _installed(self, target: Target) -> PurePosixPath | None:
        """The supervisor's path on a host that has it as a file; the inventory may say so of one host."""
        own = target.variables.get("vesemir_supervisor")
        return PurePosixPath(own) if own else self._settings.supervisor

    async def _greeted(self, target: Target, channel: SupervisorChannel) -> None:
        seconds = self._settings.login_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(channel.greeted)
        except TimeoutError:
            text = f"the supervisor did not start within {seconds:g} s; look for a login file that waits for input"
            words = channel.last_words
            raise unsupported(target, f"{text}; it shows: {words}" if words else text) from None

    async def _welcomed(self, target: Target, ticket: Ticket, channel: SupervisorChannel) -> str:
        """The lane is ours; returns the state folder's path on the host."""
        fields = self._hello(target, ticket, lane=file_name(ticket.lane))
        try:
            async with asyncio.timeout(ticket.lock_seconds + WELCOME_SECONDS):
                welcome: Welcome = await channel.ask(HELLO, fields, answer=Awaited.WELCOME)
        except TimeoutError:
            raise connection_lost(target, "the supervisor on the host does not answer") from None
        return welcome.state_folder

    def _hello(self, target: Target, ticket: Ticket, *, lane: str) -> list[bytes]:
        """Without a lane nothing is claimed, and nothing written on the host."""
        folder = target.variables.get("vesemir_state_dir") or self._settings.state_dir
        hello = (
            lane,
            str(ticket.epoch),
            repr(float(ticket.lock_seconds)),
            repr(float(ticket.silence_seconds)),
            repr(GRACE_SECONDS),
            folder,
            "0",
        )
        return [field.encode() for field in hello]

    async def _leave(self, channel: SupervisorChannel) -> None:
        channel.leave()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.shield(channel.closed)
        except TimeoutError:
            channel.abort()

    @contextlib.asynccontextmanager
    async def relay(self, target: Target) -> AsyncIterator[Relay]:
        relay = SshRelay(target, self._dialer, await self._dialer.dial(target))
        try:
            yield relay
        finally:
            await relay.close()

    @contextlib.asynccontextmanager
    async def login(self, target: Target, ticket: Ticket) -> AsyncIterator[Look]:
        async with self._begun_session(target, ticket) as (connection, channel, connect_seconds):
            channel.send(HELLO, self._hello(target, ticket, lane=""))
            host = SshHost(
                target,
                ticket,
                connection=connection,
                channel=channel,
                state_folder="",
                connect_seconds=connect_seconds,
                python=self._settings.python,
                log=self._log,
            )
            yield SshLook(host)


def _forget_request(channel: asyncssh.SSHClientChannel[bytes]) -> None:
    """asyncssh keeps it with the channel, for the one that asks: 40 KB of memory for each session."""
    if getattr(channel, "_command", None) is not None:
        channel._command = None  # noqa: SLF001 - nothing depends on it, here or there
