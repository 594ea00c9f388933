"""The frames in which a publisher has a say, as pamqp can decode them, and soon: content headers and deliveries.

A frame that it can decode stays as it is. Otherwise the table of headers goes first, where any value may stand, and
then all properties; of a delivery, the names of exchange and routing key. Nothing of those is needed here.
"""

import struct
from typing import Final

import pamqp.frame
from pamqp.commands import Basic
from pamqp.common import FieldTable
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

UNREADABLE_HEADER: Final = "x-vesemir-unreadable"
"""The header that stands in for what was left out, with the reason."""

MOST_BYTES: Final = 16 * 1024
"""Of a content header that is decoded as it is. The time for an array grows with the square of its size: 2.4 s at the
128 KiB that RabbitMQ lets pass, 0.04 s here."""

_HEAD: Final = 7
_END: Final = b"\xce"
_FIXED: Final = struct.Struct(">HHQH")
"""Class, weight, body size and flags (AMQP 0-9-1, sections 2.3.5.2 and 4.2.6.1)."""
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _MORE_FLAGS = 0x8000, 0x4000, 0x2000, 0x0001
_DELIVER: Final = struct.pack(">HH", 60, 60)
_ERRORS: Final = (PAMQPException, ValueError, OverflowError, OSError, struct.error, RecursionError, IndexError)
"""What pamqp raises depends on where a frame is wrong."""


def decodable_header(frame: bytes) -> tuple[str, bytes]:
    """Why something was left out ("": nothing was), and the frame to decode. ``frame`` is whole, end mark included."""
    reason = (
        _refusal(frame) if len(frame) <= MOST_BYTES else f"they have {len(frame)} bytes, at most {MOST_BYTES} are read"
    )
    if not reason:
        return "", frame
    reported: FieldTable = {UNREADABLE_HEADER: reason[:200]}
    channel = int.from_bytes(frame[1:3], "big")
    try:
        less = _without_headers(frame[_HEAD:-1])
        if len(less) > MOST_BYTES:
            raise ValueError("too long without its headers as well")
        header = ContentHeader()
        header.unmarshal(less)
        header.properties.headers = reported
        passed = pamqp.frame.marshal(header, channel)
        pamqp.frame.unmarshal(passed)
    except _ERRORS:
        _, _, body_size, _ = _FIXED.unpack_from(frame, _HEAD)
        passed = pamqp.frame.marshal(
            ContentHeader(body_size=body_size, properties=Basic.Properties(headers=reported)), channel
        )
    return reason, passed


def decodable_method(frame: bytes) -> tuple[str, bytes]:
    """Likewise of a method: a delivery by another exchange brings any routing key. Others are the broker's own."""
    payload = frame[_HEAD:-1]
    if not payload.startswith(_DELIVER) or not (reason := _refusal(frame)):
        return "", frame
    tag_end = 5 + payload[4] + 9  # consumer tag, delivery tag and redelivered: AMQP 0-9-1, basic.deliver
    less = payload[:tag_end] + b"\0\0"
    return reason, frame[:3] + len(less).to_bytes(4, "big") + less + _END


def _refusal(frame: bytes) -> str:
    """Why pamqp cannot decode it."""
    try:
        pamqp.frame.unmarshal(frame)
    except _ERRORS as error:
        return str(error) or type(error).__name__
    return ""


def _without_headers(payload: bytes) -> bytes:
    """The same content header without its table. Raises ``ValueError``, ``IndexError`` or ``struct.error``."""
    *fixed, flags = _FIXED.unpack_from(payload)
    if flags & _MORE_FLAGS or not flags & _HEADERS:
        raise ValueError("there is no table where one is expected")
    start = _FIXED.size
    for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
        if flags & flag:
            start += 1 + payload[start]
    end = start + 4 + int.from_bytes(payload[start : start + 4], "big")
    return _FIXED.pack(*fixed, flags & ~_HEADERS) + payload[_FIXED.size : start] + payload[end:]
