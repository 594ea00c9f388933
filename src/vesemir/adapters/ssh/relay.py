"""A connection to a load balancer's box: sockets there are asked through it, over a channel of their own each.

Nothing is run there, but for one look when a socket's path does not open: for that sshd answers "open failed" whatever
the cause is, whether the socket is not there, may not be used, has nobody behind it, or sshd forwards none.
"""

import asyncio
import shlex
from typing import Final

import asyncssh

from vesemir.adapters.ssh import forwarding
from vesemir.adapters.ssh.dialer import Dialer, close
from vesemir.adapters.ssh.host_checks import FORWARDING_REFUSED
from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.trouble import place
from vesemir.domain.failure import FailedError, FailureCode, VesemirError
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host

LOOK_SECONDS: Final = 5.0
LOOK_BYTES: Final = 2048
_OPENS: Final = "it opens for its user"
_LOOK: Final = (
    "import socket,sys\n"
    "try:socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
    f"except OSError as e:print(e.strerror)\nelse:print({_OPENS!r})"
)
_SCRIPT: Final = 'python3 -I -S -c "$2" "$1" || ls -ld -- "$1"'
SOCKETS_DENIED: Final = (
    "its sshd forwards no socket; look at AllowStreamLocalForwarding and DisableForwarding in its sshd_config, and at "
    "the options of the key in authorized_keys"
)
CONNECTIONS_DENIED: Final = SOCKETS_DENIED.replace("no socket", "no connection").replace("StreamLocal", "Tcp")


class SshRelay:
    """``vesemir.engine.ports.hosts.Relay``. A connection that was lost is opened again by the next question."""

    def __init__(self, target: Target, dialer: Dialer, connection: HostConnection) -> None:
        self._target = target
        self._dialer = dialer
        self._connection = connection
        self._dialing = asyncio.Lock()

    async def ask(self, socket: str, line: str, *, timeout: float) -> str:
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connected()
                return await forwarding.ask(connection, socket, line)
        except TimeoutError as error:
            raise self._unreachable(socket, f"no answer within {timeout:g} s") from error
        except ConnectionError as error:
            raise self._unreachable(socket, await self._why(socket, error)) from error
        except VesemirError as error:
            raise self._unreachable(socket, str(error)) from error

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._dialing:
            if self._connection.is_closed():
                self._connection = await self._dialer.dial(self._target)
            return self._connection

    async def _why(self, socket: str, error: ConnectionError) -> str:
        cause = error.__cause__
        if not isinstance(cause, asyncssh.ChannelOpenError) or self._connection.is_closed():
            return str(error)
        by_path = forwarding.address_of(socket) is None
        if cause.code in FORWARDING_REFUSED:
            return f"{error}: {SOCKETS_DENIED if by_path else CONNECTIONS_DENIED}"
        if not by_path:
            return str(error)
        seen = await self._look(socket)
        if seen == _OPENS:
            return f"{error}, but on the box {seen}: {SOCKETS_DENIED}"
        return f"{error}; on the box: {seen}" if seen else f"{error} (or {SOCKETS_DENIED})"

    async def _look(self, path: str) -> str:
        """What the box's own user meets there; empty where no command can be run."""
        command = shlex.join(["sh", "-c", _SCRIPT, "sh", path, _LOOK])
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                shown = await self._connection.create_process(f"{command} 2>&1", encoding=None)
                async with shown:
                    words = await shown.stdout.read(LOOK_BYTES)
                    shown.channel.abort()
        except (TimeoutError, asyncssh.Error, OSError):
            return ""
        return words_of_host(words.decode("utf-8", "replace"))

    def _unreachable(self, socket: str, reason: str) -> FailedError:
        text = f"{socket} on {place(self._target)}: {reason}"
        if not reason.endswith((SOCKETS_DENIED, CONNECTIONS_DENIED)):
            text += "; check that HAProxy runs there and its socket's mode"
        return FailedError(FailureCode.HAPROXY_UNREACHABLE, text)

    async def close(self) -> None:
        await close(self._connection)
