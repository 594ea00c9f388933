"""What a publisher can put into the frames of a message costs little time and never ends the connection."""

import asyncio
import struct
import time

import pamqp.frame
import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from vesemir.adapters.amqp.decodable import UNREADABLE_HEADER
from vesemir.adapters.amqp.lenient import LenientReader
from vesemir.engine.ports.observe import SilentLog

FRAME_MAX = 131_072
"""What RabbitMQ allows by itself; a message's properties are one frame."""


async def read_frame(frame: bytes) -> tuple[int, object]:
    """The channel and what pamqp makes of what the reader hands on, in aiormq's pieces."""
    inner = asyncio.StreamReader()
    inner.feed_data(frame)
    inner.feed_eof()
    reader = LenientReader(inner, log=SilentLog())
    head = await reader.readexactly(1) + await reader.readexactly(6)
    whole = head + await reader.readexactly(struct.unpack(">I", head[3:])[0] + 1)
    assert reader.at_eof()
    _, channel, decoded = pamqp.frame.unmarshal(whole)
    return channel, decoded


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 7, len(payload)) + payload + b"\xce"


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def with_table(table: bytes) -> bytes:
    """A content header with content_type, this table as headers, correlation_id and reply_to."""
    flags = 0x8000 | 0x2000 | 0x0400 | 0x0200
    before = struct.pack(">HHQH", 60, 0, 5, flags) + short(b"text/plain")
    return framed(2, before + struct.pack(">I", len(table)) + table + short(b"c-1") + short(b"answers"))


def array_of(value: bytes) -> bytes:
    """A header ``a`` that is an array of so many values, as many as fit a frame."""
    values = value * ((FRAME_MAX - 200) // len(value))
    return b"\x01aA" + struct.pack(">I", len(values)) + values


@pytest.mark.parametrize("value", [b"V", b"t\x01", b"A\0\0\0\0", b"F\0\0\0\0"], ids=["void", "bool", "array", "table"])
async def test_a_header_of_many_values_costs_no_time(value: bytes) -> None:
    """pamqp's time grew with their square: one message with a header of 128 KiB held up the loop for 2 x 2.4 s."""
    began = time.process_time()
    _, header = await read_frame(with_table(array_of(value)))
    assert time.process_time() - began < 0.5
    assert isinstance(header, ContentHeader)
    assert header.body_size == 5
    assert list(header.properties.headers or {}) == [UNREADABLE_HEADER]


@pytest.mark.parametrize("table", [b"\x02\xff\xfeV", b"\x01a?", b"\x01aT" + b"\xff" * 8], ids=["name", "type", "time"])
async def test_headers_that_cannot_be_decoded_take_nothing_else_with_them(table: bytes) -> None:
    """The requester was not answered: its reply_to was left out with the header."""
    _, header = await read_frame(with_table(table))
    assert isinstance(header, ContentHeader)
    assert (header.properties.reply_to, header.properties.correlation_id) == ("answers", "c-1")
    assert list(header.properties.headers or {}) == [UNREADABLE_HEADER]


@pytest.mark.parametrize(("exchange", "key"), [(b"amq.fanout", b"\xff\xfe"), (b"\xff", b"key")])
async def test_a_delivery_whose_routing_key_is_no_text_is_a_delivery(exchange: bytes, key: bytes) -> None:
    """It came by another exchange, and closed the connection of every instance, one after the other."""
    payload = struct.pack(">HH", 60, 60) + short(b"ctag1") + struct.pack(">QB", 12, 1) + short(exchange) + short(key)
    channel, delivery = await read_frame(framed(1, payload))
    assert isinstance(delivery, Basic.Deliver)
    assert (channel, delivery.consumer_tag, delivery.delivery_tag, delivery.redelivered) == (7, "ctag1", 12, True)
