"""An SFTP session with a server that is not trusted: sizes within reason, and an end that comes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncssh

LEAST_WRITE: Final = 16 * 1024
MOST_WRITE: Final = 256 * 1024
"""Bytes in one request. A server names its own limit (OpenSSH's PROTOCOL, 4.8): 1 would cost a request for each byte,
4 GB the whole file in memory."""
EXIT_SECONDS: Final = 5.0


@contextlib.asynccontextmanager
async def sftp_client(connection: asyncssh.SSHClientConnection) -> AsyncIterator[asyncssh.SFTPClient]:
    """Leaving it waits for the server at most ``EXIT_SECONDS``, also when it is left by a cancel."""
    client = await connection.start_sftp_client()
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
