"""A transport that lets no message's properties break the connection.

pamqp cannot decode a property that is not UTF-8, a timestamp in nanoseconds or a header of a type it does not know, and
aiormq then closes the whole connection. The broker delivers the same message again to the next instance: one message
would stop them all, for ever. So what a publisher can put into the frames of a message is tried here first
(``decodable``): what cannot be decoded, or would take long, is left out. The message then arrives with its body, and is
judged by that.
"""

import asyncio
import struct
from typing import Any

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.constants import FRAME_HEADER, FRAME_METHOD
from yarl import URL

from vesemir.adapters.amqp.decodable import decodable_header, decodable_method
from vesemir.engine.ports.observe import Log

_FRAME_HEAD = struct.Struct(">BHI")
"""Type, channel, size: AMQP 0-9-1, section 2.3.5."""


class LenientReader(asyncio.StreamReader):
    """Hands out a connection's frames, whole content headers at a time, in the pieces in which aiormq asks for them."""

    def __init__(self, reader: asyncio.StreamReader, *, log: Log) -> None:
        super().__init__()
        self._inner = reader
        self._log = log
        self._ready = b""

    def at_eof(self) -> bool:
        return not self._ready and self._inner.at_eof()

    async def readexactly(self, n: int) -> bytes:
        if not self._ready:
            head = await self._inner.readexactly(_FRAME_HEAD.size) if n == 1 else b""
            if not head:
                return await self._inner.readexactly(n)
            self._ready = await self._frame(head) if head[0] in {FRAME_HEADER, FRAME_METHOD} else head
        taken, self._ready = self._ready[:n], self._ready[n:]
        if len(taken) < n:
            taken += await self._inner.readexactly(n - len(taken))
        return taken

    async def read(self, n: int = -1) -> bytes:
        if self._ready:
            taken, self._ready = self._ready, b""
            return taken
        return await self._inner.read(n)

    async def _frame(self, head: bytes) -> bytes:
        kind, _, size = _FRAME_HEAD.unpack(head)
        frame = head + await self._inner.readexactly(size + 1)
        reason, passed = decodable_header(frame) if kind == FRAME_HEADER else decodable_method(frame)
        if reason:
            self._log.warning(f"A message's properties cannot be decoded and are left out: {reason}")
        return passed


class LenientTransport(TransportFactory):
    """Connects as aiormq does; keeps the socket, so that it can be dropped when a close would wait for ever."""

    def __init__(self, *, tls: bool, log: Log) -> None:
        self._log = log
        self._inner: TransportFactory = TLSTransportFactory() if tls else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401
        reader, self._writer = await self._inner.create(url, **kwargs)
        return LenientReader(reader, log=self._log), self._writer

    def abort(self) -> None:
        """Drop the socket at once."""
        if self._writer is not None:
            self._writer.transport.abort()
