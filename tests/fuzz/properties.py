"""Messages as the broker delivers them: a body, and the properties as the bytes of a content header."""

import asyncio
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pamqp.frame
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from tests.fuzz.mutation import AWKWARD_BYTES, nearly

from vesemir.adapters.amqp.deliveries import as_incoming
from vesemir.adapters.amqp.lenient import LenientReader
from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.ports.observe import SilentLog

CHANNEL = 1
FRAME_MAX = 131_072 - 8
_SHORT = 255
DIRECT_REPLY = "amq.rabbitmq.reply-to"
"""A broker asks for a consumer that waits for the answer."""

_QUEUES = (
    "answers",
    "",
    "\x00",
    "vesemir.deployments",
    "vesemir.rejected",
    "nowhere",
    DIRECT_REPLY,
    "ä" * 127,
)
_TEXTS = st.text(max_size=60) | st.sampled_from(_QUEUES)


def _headers(floats: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, Any]]:
    scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats | _TEXTS | st.binary(max_size=9)
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=5,
    )
    names = st.text(max_size=20) | st.sampled_from(["x-delivery-count", "x-death", "x-vesemir-code", "\x00"])
    return st.dictionaries(names, values, max_size=4)


def _is_short(text: str | None) -> bool:
    """A short string of AMQP 0-9-1 has at most 255 bytes."""
    return text is None or len(text.encode("utf-8", "surrogatepass")) <= _SHORT


def _header_frame(given: dict[str, Any]) -> bytes:
    """What pamqp refuses to say is said without headers, which mostly are the cause, or not at all."""
    for kept in (given, {name: value for name, value in given.items() if name != "headers"}, {}):
        try:
            return pamqp.frame.marshal(ContentHeader(body_size=1, properties=Basic.Properties(**kept)), CHANNEL)
        except (UnicodeEncodeError, ValueError, TypeError, OverflowError, struct.error):
            continue
    raise AssertionError("no properties at all are always possible")


_TEXT_PROPERTIES: dict[str, st.SearchStrategy[Any]] = {
    "reply_to": (_TEXTS | st.just("answers")).filter(_is_short),
    "correlation_id": _TEXTS.filter(_is_short),
    "user_id": _TEXTS.filter(_is_short),
    "app_id": _TEXTS.filter(_is_short),
    "message_id": _TEXTS.filter(_is_short),
    "message_type": _TEXTS.filter(_is_short),
    "content_type": st.sampled_from(["application/json", "text/plain", "\x00"]),
    "content_encoding": st.sampled_from(["gzip", "utf-8", "\x00"]),
    "expiration": _TEXTS.filter(_is_short),
    "priority": st.integers(0, 255),
    "delivery_mode": st.integers(1, 2),
}


def _properties(floats: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={**_TEXT_PROPERTIES, "headers": _headers(floats)})


_FRAMES = _properties(st.floats(width=32)).map(_header_frame)
_JUDGED_BY_BROKER = ("user_id", "expiration")
"""A broker refuses a user that is not the sender, and drops what has expired; a header ``x-death`` it reads itself."""


_RAW_FLAGS = 0b0000_0110_0000_0000
"""correlation-id and reply-to: AMQP 0-9-1, section 4.2.6.1."""
_RAW_TEXT = AWKWARD_BYTES | st.binary(max_size=20)
_RAW_TEXTS = st.builds(
    lambda one, other: _framed(struct.pack(">HHQH", 60, 0, 1, _RAW_FLAGS) + _short(one) + _short(other)),
    _RAW_TEXT,
    _RAW_TEXT,
)
"""What no client of ours would write: reply_to and correlation_id of any bytes."""


def _short(text: bytes) -> bytes:
    return bytes([len(text[:_SHORT])]) + text[:_SHORT]


def _framed(payload: bytes) -> bytes:
    """No longer than RabbitMQ lets pass, and with what its own parser needs."""
    payload = payload[:FRAME_MAX].ljust(14, b"\0")
    return struct.pack(">BHI", 2, CHANNEL, len(payload)) + payload + b"\xce"


_SEED = _header_frame(
    {
        "reply_to": "answers",
        "correlation_id": "c-1",
        "user_id": "u",
        "headers": {"x-delivery-count": 2, "a": [1, {"b": "c"}]},
    }
)[19:-1]
_NEARLY = nearly([_SEED]).map(lambda payload: _framed(struct.pack(">HHQ", 60, 0, 1) + payload))
HEADER_FRAMES = st.one_of(_FRAMES, _FRAMES, _RAW_TEXTS, _NEARLY)


def _sendable(given: dict[str, Any]) -> bytes:
    kept = {name: value for name, value in given.items() if name not in _JUDGED_BY_BROKER}
    headers = {name: value for name, value in given.get("headers", {}).items() if name != "x-death"}
    if kept.get("reply_to") == DIRECT_REPLY:
        del kept["reply_to"]
    return _header_frame({**kept, "headers": headers or None})


_FINITE = _properties(st.floats(width=32, allow_nan=False, allow_infinity=False)).map(_sendable)
SENDABLE_FRAMES = st.one_of(_FINITE, _FINITE, _RAW_TEXTS)
"""Those that a broker takes and passes on: RabbitMQ closes the connection for a header that is NaN or infinite."""


def delivered(frame: bytes, body: bytes, *, redelivered: bool = False) -> Callable[[], Any]:
    """What is awaited for the message as the consumer hands it on, read by the transport of the daemon."""

    async def read() -> IncomingMessage:
        wire = asyncio.StreamReader()
        wire.feed_data(frame)
        wire.feed_eof()
        lenient = LenientReader(wire, log=SilentLog())
        head = await lenient.readexactly(1)
        rest = await lenient.readexactly(6)
        size = struct.unpack(">I", rest[2:])[0]
        _, _, header = pamqp.frame.unmarshal(head + rest + await lenient.readexactly(size + 1))
        return as_incoming(SimpleNamespace(header=header, body=body, redelivered=redelivered))  # type: ignore[arg-type]

    return read
