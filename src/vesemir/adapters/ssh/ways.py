"""How a connection's first byte gets to a host: over a socket, or over a channel of its jump host."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol, cast

import asyncssh

from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.jump_hosts import JumpHost
from vesemir.adapters.ssh.login_failures import HungUpError
from vesemir.adapters.ssh.trouble import jump_unreachable, unreachable
from vesemir.domain.failure import FailedError
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.settings import SshSettings

Address = tuple[int, tuple[str | int, ...]]
"""Its family, and what ``connect`` takes."""
Plug = Callable[[HostConnection], Awaitable[None]]
"""Connects it, once. Raises ``FailedError``, and ``HungUpError`` for what may go better the next time."""

_REFUSED: Final = {asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE}


class Way(Protocol):
    """One way to one host; ``turn`` is for one try."""

    def turn(self) -> AbstractAsyncContextManager[Plug]: ...


class WayDirect:
    """To the first address that answers."""

    def __init__(self, target: Target, addresses: list[Address], *, settings: SshSettings) -> None:
        self._target = target
        self._addresses = addresses
        self._settings = settings

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Plug]:
        yield self._plug

    async def _plug(self, connection: HostConnection) -> None:
        plug = await self._connected()
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=plug)
        except BaseException:
            plug.close()
            raise

    async def _connected(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        trouble: OSError = OSError("it has no address")
        for family, place in self._addresses:
            plug = socket.socket(family, socket.SOCK_STREAM)
            try:
                plug.setblocking(False)  # noqa: FBT003 - the socket module takes it so
                plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.timeout(self._settings.connect_timeout_seconds):
                    await loop.sock_connect(plug, place)
            except OSError as error:
                plug.close()
                trouble = error
            except BaseException:
                plug.close()
                raise
            else:
                return plug
        if isinstance(trouble, ConnectionResetError):
            raise HungUpError from trouble
        limit = f"no answer within {self._settings.connect_timeout_seconds:g} s"
        reason = limit if isinstance(trouble, TimeoutError) else os.strerror(trouble.errno or 0)
        text = f"{reason}; check that it is up, that sshd listens there, and firewalls between"
        raise unreachable(self._target, text) from trouble


class WayThrough:
    """Through a jump host, to ``address`` as that one knows it."""

    def __init__(self, jump: JumpHost, target: Target, address: str, *, settings: SshSettings) -> None:
        self._jump = jump
        self._target = target
        self._address = address
        self._settings = settings

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Plug]:
        async with self._jump.passage() as through:
            yield partial(self._plug, through)

    async def _plug(self, through: HostConnection, connection: HostConnection) -> None:
        self._jump.enter()
        connection.on_lost = self._jump.leave
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                await through.create_connection(_channel_session(connection), self._address, self._target.port)
        except BaseException as error:
            if connection.on_lost is not None:
                connection.on_lost = None
                self._jump.leave()
            if isinstance(error, TimeoutError | asyncssh.Error | OSError):
                raise self._translated(error, lost=through.is_closed()) from error
            raise

    def _translated(self, error: Exception, *, lost: bool) -> Exception:
        jump = self._jump.target
        if lost:
            return HungUpError(f"the connection to jump host {jump.name} was lost")
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self._settings.connect_timeout_seconds:g} s"
        elif refused := forwarding_refused(error, jump):
            return refused
        else:
            reason = words_of_host(str(error))
        text = f"{reason}; check that it is up, that sshd listens there, and firewalls between it and {jump.name}"
        return unreachable(self._target, f"from jump host {jump.name}: {text}")


def forwarding_refused(error: Exception, jump: Target) -> FailedError | None:
    """The jump host's refusal to pass anything on; None for another error, which is about the host behind it."""
    if not isinstance(error, asyncssh.ChannelOpenError) or error.code not in _REFUSED:
        return None
    words = words_of_host(error.reason)
    text = f"it forwards no connection ({words}); look at AllowTcpForwarding and PermitOpen in its sshd_config"
    return jump_unreachable(jump, text)


def _channel_session(connection: HostConnection) -> "Callable[[], asyncssh.SSHTCPSession[bytes]]":
    """asyncssh's own way for its option ``tunnel``: a connection has all methods of a channel's session."""
    return lambda: cast("asyncssh.SSHTCPSession[bytes]", connection)
