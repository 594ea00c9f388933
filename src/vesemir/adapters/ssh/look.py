"""A session that leaves nothing on the host: for a dry run, which looks at what a run will need.

It is a supervisor's session without a lane: no lock, no epoch, no marker, no state folder. Its commands have the same
limits, beats and end as a step's.
"""

import asyncio
from typing import Final

import asyncssh

from vesemir.adapters.ssh import forwarding
from vesemir.adapters.ssh.host import SshHost
from vesemir.adapters.ssh.onhost.wire import UNASKED
from vesemir.adapters.ssh.sftp import sftp_client
from vesemir.adapters.ssh.trouble import connection_lost, unsupported, violated
from vesemir.domain.failure import FailedError
from vesemir.domain.step import Command, StepKey, StepResult
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host

SFTP_SECONDS: Final = 20.0
FORWARDING_SECONDS: Final = 5.0
FORWARDING_REFUSED: Final = (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE)
"""What sshd answers when it forwards nothing. A port at which nothing listens is OPEN_CONNECT_FAILED."""
OUTPUT_BYTES: Final = UNASKED
"""A session without a lane sends its output at once; more than this would have to be asked for."""


class SshLook:
    """``vesemir.engine.ports.hosts.Look``."""

    def __init__(self, target: Target, host: SshHost, connection: asyncssh.SSHClientConnection) -> None:
        self._target = target
        self._host = host
        self._connection = connection

    async def run(self, key: StepKey, command: Command) -> StepResult:
        limit = min(command.output_limit, OUTPUT_BYTES)
        bounded = Command(
            command.argv, command.environment, command.timeout, command.sudo, command.cwd, output_limit=limit
        )
        return await self._host.run(key, bounded)

    async def try_sftp(self) -> None:
        try:
            async with asyncio.timeout(SFTP_SECONDS), sftp_client(self._connection):
                pass
        except TimeoutError as error:
            raise self._no_sftp(f"no answer within {SFTP_SECONDS:g} s") from error
        except (asyncssh.Error, OSError) as error:
            raise self._no_sftp(str(error)) from error
        except (ValueError, IndexError) as error:  # what asyncssh's parser says of replies that are none
            raise violated(self._target, f"its SFTP server sends replies that are none: {error}") from error

    def _no_sftp(self, reason: str) -> FailedError:
        words = words_of_host(reason)
        if self._connection.is_closed():
            return connection_lost(self._target, words)
        return unsupported(self._target, f"SFTP is not available: {words}; check Subsystem sftp in its sshd_config")

    async def try_forwarding(self, host: str, port: int) -> None:
        try:
            await forwarding.tcp_connect(self._connection, host, port, timeout=FORWARDING_SECONDS)
        except (ConnectionError, TimeoutError) as error:
            if self._connection.is_closed():
                raise connection_lost(self._target, words_of_host(str(error))) from error
            cause = error.__cause__
            if isinstance(cause, asyncssh.ChannelOpenError) and cause.code in FORWARDING_REFUSED:
                text = (
                    f"its sshd forwards no connection to {host}:{port} ({words_of_host(cause.reason)}), and checks by "
                    "http and tcp go through one; look at AllowTcpForwarding, PermitOpen and DisableForwarding in its "
                    "sshd_config, and at the options of the key in authorized_keys"
                )
                raise unsupported(self._target, text) from error
