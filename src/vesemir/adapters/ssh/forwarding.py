"""Connections through a host: HTTP and TCP as seen from it, and UNIX sockets on it. Nothing is run there."""

import asyncio
import contextlib
import re
from typing import Final

import asyncssh
import h11

from vesemir.adapters.ssh.http_exchange import HttpExchange, HttpRequest
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.hosts import HttpAnswer

ASK_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a load balancer's answer: about 10,000 servers of one backend."""
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})")
READ_AT_ONCE: Final = 64 * 1024
HTTP_READ_AT_ONCE: Final = 4096
"""Even in the smallest chunks that is little work."""


def not_available(what: str, error: Exception) -> ConnectionError:
    return ConnectionError(f"{what} is not available: {words_of_host(str(error))}")


async def tcp_connect(connection: asyncssh.SSHClientConnection, host: str, port: int, *, timeout: float) -> None:
    """``direct-tcpip`` (RFC 4254, 7.2). Raises ``ConnectionError`` or ``TimeoutError``."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await connection.open_connection(host, port)
    except (asyncssh.Error, OSError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise not_available(f"{host}:{port}", error) from error
    writer.channel.abort()


async def http_get(connection: asyncssh.SSHClientConnection, url: str, *, timeout: float) -> HttpAnswer:
    """One GET on a connection of its own. Raises ``ConnectionError`` or ``TimeoutError``."""
    request, writer = HttpRequest.of(url), None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await connection.open_connection(request.host, request.port)
            writer.write(request.sent)
            answer = HttpExchange()
            while not answer.complete:
                await asyncio.sleep(0)  # what is there already is read without a pause: others want to work too
                answer.feed(await reader.read(HTTP_READ_AT_ONCE))
            return answer.value
    except (asyncssh.Error, OSError, h11.ProtocolError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise not_available(url, error) from error
    finally:
        if writer is not None:
            writer.channel.abort()


def address_of(socket: str) -> tuple[str, int] | None:
    """Host and port of ``127.0.0.1:9999`` and ``[::1]:9999``; None for the path of a UNIX socket."""
    found = _ADDRESS.fullmatch(socket)
    return None if found is None else (found["six"] or found["host"], int(found["port"]))


async def ask(connection: asyncssh.SSHClientConnection, socket: str, line: str) -> str:
    """``direct-streamlocal`` (OpenSSH's PROTOCOL, 2.4), or ``direct-tcpip`` where the socket is an address.

    Says that no more is asked: HAProxy's master socket answers and goes on listening otherwise. Raises
    ``ConnectionError``; the caller bounds the time.
    """
    writer, address = None, address_of(socket)
    try:
        opened = connection.open_unix_connection(socket) if address is None else connection.open_connection(*address)
        reader, writer = await opened
        writer.write(line.encode() + b"\n")
        writer.write_eof()
        answer = bytearray()
        while piece := await reader.read(READ_AT_ONCE):
            answer += piece
            if len(answer) > ASK_LIMIT:
                raise ConnectionError(f"{socket} answers {line!r} with more than {ASK_LIMIT} bytes")
            await asyncio.sleep(0)
    except (asyncssh.Error, OSError) as error:
        raise error if isinstance(error, TimeoutError) else not_available(socket, error) from error
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.channel.abort()
    return answer.decode("utf-8", "replace")
