"""A publisher that writes frames as they are given, whatever a decent client would refuse to send."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pamqp.body
import pamqp.commands
import pamqp.frame

CHANNEL = 1
FRAME_MAX = 131_072
ANSWER_SECONDS = 60.0
_BODY_SIZE_AT = 11
"""In a content header's frame: after type, channel, size, class and weight."""


class BrokerRefusedError(Exception):
    """The broker closed the channel or the connection."""


class RawPublisher:
    """One connection with one channel in confirm mode. Made by ``connected``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator["RawPublisher"]:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        one = cls(reader, writer)
        commands = pamqp.commands
        login = f"\0{unquote(parts.username or 'guest')}\0{unquote(parts.password or 'guest')}"
        try:
            writer.write(b"AMQP\x00\x00\x09\x01")
            await one._frame()
            await one._asked(0, commands.Connection.StartOk({}, "PLAIN", login, "en_US"))
            one._say(0, commands.Connection.TuneOk(2047, FRAME_MAX, 0))
            await one._asked(0, commands.Connection.Open(unquote(parts.path[1:]) or "/"))
            await one._asked(CHANNEL, commands.Channel.Open())
            await one._asked(CHANNEL, commands.Confirm.Select())
            yield one
        finally:
            writer.close()

    async def publish(self, queue: str, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Content headers' frames and bodies; returns when the broker has all of them.

        Raises ``BrokerRefusedError``.
        """
        for header, body in messages:
            self._say(CHANNEL, pamqp.commands.Basic.Publish(routing_key=queue))
            self._writer.write(header[:_BODY_SIZE_AT] + struct.pack(">Q", len(body)) + header[_BODY_SIZE_AT + 8 :])
            for place in range(0, len(body), FRAME_MAX - 8):
                self._say(CHANNEL, pamqp.body.ContentBody(body[place : place + FRAME_MAX - 8]))
            await self._writer.drain()
        waiting = set(range(self._sent + 1, self._sent + 1 + len(messages)))
        self._sent += len(messages)
        while waiting:
            ack = await self._frame()
            if ack.name != "Basic.Ack":
                raise BrokerRefusedError(f"{ack.name}: {getattr(ack, 'reply_text', '')}")
            up_to = ack.delivery_tag
            waiting = {tag for tag in waiting if (tag > up_to if ack.multiple else tag != up_to)}

    def _say(self, channel: int, frame: Any) -> None:
        self._writer.write(pamqp.frame.marshal(frame, channel))

    async def _asked(self, channel: int, frame: Any) -> Any:
        self._say(channel, frame)
        return await self._frame()

    async def _frame(self) -> Any:
        async with asyncio.timeout(ANSWER_SECONDS):
            head = await self._reader.readexactly(7)
            rest = await self._reader.readexactly(struct.unpack(">I", head[3:])[0] + 1)
        return pamqp.frame.unmarshal(head + rest)[2]
