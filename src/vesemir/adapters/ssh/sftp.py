"""An SFTP session with a server that is not trusted: sizes within reason, and an end that comes.

What fails tells causes apart: a channel that does not become an SFTP session (``NoSftpError``, another way may do), and
a file that the host does not take (``SftpFailureError``).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncssh

from vesemir.domain.failure import VesemirError
from vesemir.domain.visible import words_of_host

LEAST_WRITE: Final = 16 * 1024
MOST_WRITE: Final = 256 * 1024
"""Bytes in one request. A server names its own limit (OpenSSH's PROTOCOL, 4.8): 1 would cost a request for each byte,
4 GB the whole file in memory."""
START_SECONDS: Final = 20.0
EXIT_SECONDS: Final = 5.0


class NoSftpError(VesemirError):
    """No SFTP session began, or its server ended; the message says why in the peer's words."""


class SftpFailureError(VesemirError):
    """The host does not take a file; the message is the host's own."""


@contextlib.asynccontextmanager
async def sftp_client(connection: asyncssh.SSHClientConnection) -> AsyncIterator[asyncssh.SFTPClient]:
    """Raises ``NoSftpError``; ``ValueError`` and ``IndexError`` for replies that asyncssh's parser cannot read.

    Leaving it waits for the server at most ``EXIT_SECONDS``, also when it is left by a cancel.
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            client = await connection.start_sftp_client()
    except TimeoutError as error:
        raise NoSftpError(f"no answer within {START_SECONDS:g} s") from error
    except (asyncssh.Error, OSError) as error:
        raise NoSftpError(why_not(error)) from error
    client.limits.max_write_len = min(max(client.limits.max_write_len, LEAST_WRITE), MOST_WRITE)
    try:
        yield client
    finally:
        client.exit()
        try:
            async with asyncio.timeout(EXIT_SECONDS):
                await client.wait_closed()
        except (TimeoutError, asyncssh.Error, OSError):
            connection.abort()


def why_not(error: Exception) -> str:
    """Why there is no SFTP session, with what to look at."""
    words = words_of_host(str(error))
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"sshd opens no second session ({words}, code {error.code}); look at MaxSessions in its sshd_config"
    if isinstance(error, asyncssh.SFTPBadMessage):
        return (
            f"what comes is not SFTP ({words}); a login file (~/.bashrc) prints something: make it silent without a "
            "terminal, or set Subsystem sftp internal-sftp in its sshd_config"
        )
    return f"{why_ended(error)}; look at Subsystem sftp in its sshd_config"


def why_ended(error: Exception) -> str:
    if isinstance(error, NoSftpError):
        return str(error)
    return f"its server ended: {words_of_host(str(error)) or 'without a word'}"
