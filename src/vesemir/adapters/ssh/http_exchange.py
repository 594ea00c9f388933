"""One GET, without a connection: what is sent, and what the bytes that come say. Both are bounded.

An answer may be compressed although it was not asked for that (some proxies do): gzip and deflate are undone, as far as
the body's limit.
"""

import zlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11

from vesemir.engine.ports.hosts import BODY_LIMIT, HttpAnswer

HEAD_LIMIT: Final = 64 * 1024
"""Of a whole answer, beyond its body."""
MOST_INFORMATIONAL: Final = 16
"""Answers such as 100 and 103 before the real one (RFC 9110, section 15.2)."""
_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""For zlib: gzip alone, and zlib or gzip, as the header says."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """``sent`` is what goes over a connection to ``host`` and ``port``."""

    host: str
    port: int
    sent: bytes

    @classmethod
    def of(cls, url: str) -> "HttpRequest":
        """Raises ``ConnectionError`` for an address that is none, or that no request can be made of."""
        try:
            parts = urlsplit(url)
            if parts.scheme != "http" or not parts.hostname:
                raise ConnectionError(f"{url} is no http:// address; a health check on the host itself needs no TLS")
            return cls(parts.hostname, parts.port or 80, _get(parts))
        except (h11.ProtocolError, ValueError) as error:
            raise ConnectionError(f"{url} is no address that can be asked: {error}") from error


def _get(parts: SplitResult) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = [
        ("Host", parts.netloc.rpartition("@")[2]),
        ("User-Agent", "vesemir"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    protocol = h11.Connection(h11.CLIENT)
    head = protocol.send(h11.Request(method="GET", target=path, headers=headers)) or b""
    return head + (protocol.send(h11.EndOfMessage()) or b"")


class HttpExchange:
    """The answer to one ``HttpRequest``, fed with what comes."""

    def __init__(self) -> None:
        self._protocol = h11.Connection(h11.CLIENT)
        self._protocol.send(h11.Request(method="GET", target="/", headers=[("Host", "-"), ("Connection", "close")]))
        self._protocol.send(h11.EndOfMessage())
        self._status = 0
        self._coding = ""
        self._body = bytearray()
        self._informational = 0
        self.complete = False

    def feed(self, received: bytes) -> None:
        """``b""`` is the end of the connection. Raises ``h11.ProtocolError``."""
        self._protocol.receive_data(received)
        while not self.complete:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.Response):
                self._status = event.status_code
                self._coding = dict(event.headers).get(b"content-encoding", b"").decode("latin-1").strip().lower()
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.InformationalResponse):
                self._informational += 1
            else:
                self.complete = True
            self.complete |= len(self._body) > BODY_LIMIT or self._informational > MOST_INFORMATIONAL

    @property
    def value(self) -> HttpAnswer:
        body, coding, cut = bytes(self._body[:BODY_LIMIT]), self._coding, len(self._body) > BODY_LIMIT
        if coding in _WINDOWS:
            unfolded = zlib.decompressobj(_WINDOWS[coding])
            try:
                body, coding = unfolded.decompress(body, BODY_LIMIT), ""
            except zlib.error:
                return HttpAnswer(self._status, body, coding=coding, cut=cut)
            cut = cut or bool(unfolded.unconsumed_tail)
        return HttpAnswer(self._status, body, coding="" if coding == "identity" else coding, cut=cut)
