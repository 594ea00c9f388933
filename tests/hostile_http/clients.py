"""Clients that mean no good: many connections from one process, each of which does one thing that no client should.

Plain sockets and no client library: what they send is mostly not HTTP, and nothing may stand between.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

HALF_A_REQUEST = b"GET /api/v1/deployments HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 4000
NOTHING = b""
SLOW_BODY = b"POST /api/v1/deployments HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n{"
BAD_CHUNK = (
    b"POST /api/v1/deployments HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc\r\nzz\r\n\r\n"
)
MALFORMED = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS handshake\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X%d: a\r\n" % number for number in range(300)) + b"\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    BAD_CHUNK,
    b"GET / HTTP/1.1\nHost 127.0.0.1\n\n",
    b"\r\n\r\n\r\n\x00\x00\x00",
    b"GET /api/v1/deployments/%ff%zz%00 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` 0: the connection ended without an answer."""

    status: int
    seconds: float
    body: bytes = b""


class BadClients:
    """Connections that are kept open, as far as the other side lets them. Closed with the context."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._sockets: list[socket.socket] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def grow(self, count: int, *, sends: bytes, source: Sequence[str] = ("127.0.0.1",)) -> int:
        """So many more, from each address of ``source`` in turn; how many of them were refused at once."""
        refused = 0
        for number in range(count):
            try:
                self._sockets.append(
                    self._stack.enter_context(
                        socket.create_connection(("127.0.0.1", self.port), 10, (source[number % len(source)], 0))
                    )
                )
                self._sockets[-1].send(sends)
            except OSError:
                refused += 1
        return refused

    def open(self) -> int:
        """How many the other side still keeps."""
        return sum(1 for each in self._sockets if _is_open(each))

    def wait_for(self, most: int, *, seconds: float) -> float:
        """Until at most ``most`` are open; how long that took. Raises ``TimeoutError``."""
        begun = time.monotonic()
        while (left := self.open()) > most:
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"{left} of {len(self._sockets)} connections are still open after {seconds} s")
            time.sleep(0.05)
        return time.monotonic() - begun


def _is_open(each: socket.socket) -> bool:
    each.settimeout(0)
    try:
        while each.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def ask(port: int, path: str, *, host: str = "127.0.0.1", seconds: float = 10.0) -> Answer:
    """One request on a connection of its own, as a health check does."""
    return send(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(), seconds=seconds)


def send(port: int, request: bytes, *, seconds: float = 10.0) -> Answer:
    """Send it, and read whatever comes until the connection ends, or for ``seconds``."""
    begun = time.monotonic()
    answer = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.settimeout(seconds)
        connection.sendall(request)
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return Answer(status, time.monotonic() - begun, body)
