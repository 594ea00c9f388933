"""A message with ``content_encoding: gzip`` is read as the same message without, within the same limit."""

import gzip
import json
import zlib
from typing import Any

import pytest

from vesemir.contract import MessageProperties, Parsed, Refusal, internal_refusal, parse_control, parse_deploy_event
from vesemir.domain.failure import FailureCode
from vesemir.domain.request import Timeouts

LIMIT = 1024 * 1024
EVENT = {
    "schema": "vesemir.deploy/1",
    "deployment_id": "01JDB3Q0W8",
    "application": "shop",
    "environment": "production",
    "version": "1.4.2",
    "recipe": "release",
    "targets": {"hosts": ["web1"]},
}
PLAIN = json.dumps(EVENT).encode()
PACKED = gzip.compress(PLAIN)


def parsed(body: bytes, encoding: str | None = "gzip", *, max_bytes: int = LIMIT) -> Parsed | Refusal:
    return parse_deploy_event(
        body,
        max_bytes=max_bytes,
        caps=Timeouts(3600, 3600, 3600),
        namespace="vesemir",
        properties=MessageProperties(content_encoding=encoding),
    )


def refused(body: bytes, encoding: str | None = "gzip", **limits: Any) -> Refusal:
    found = parsed(body, encoding, **limits)
    assert isinstance(found, Refusal)
    return found


@pytest.mark.parametrize("body", [PACKED, gzip.compress(PLAIN[:40]) + gzip.compress(PLAIN[40:])], ids=["one", "two"])
def test_it_is_the_same_deployment_as_without(body: bytes) -> None:
    packed, plain = parsed(body), parsed(PLAIN, None)
    assert isinstance(packed, Parsed)
    assert isinstance(plain, Parsed)
    assert (packed.request, packed.body_hash) == (plain.request, plain.body_hash)


def test_what_it_unfolds_to_counts_for_the_limit() -> None:
    assert len(PACKED) < len(PLAIN)
    assert isinstance(parsed(PACKED, max_bytes=len(PLAIN)), Parsed)
    found = refused(PACKED, max_bytes=len(PLAIN) - 1)
    assert (found.code, "when it is unfolded" in found.message) == (FailureCode.REQUEST_TOO_LARGE, True)


def test_a_bomb_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MiB of zeros in 100 KiB: never more than the limit and a byte of it is unfolded."""
    bomb = gzip.compress(bytes(100 * LIMIT), compresslevel=9)
    assert len(bomb) < LIMIT
    asked: list[int] = []
    real = zlib.decompressobj

    class Counted:
        def __init__(self, bits: int) -> None:
            self._real = real(bits)

        def decompress(self, piece: bytes, most: int) -> bytes:
            asked.append(most)
            return self._real.decompress(piece, most)

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    assert refused(bomb).code is FailureCode.REQUEST_TOO_LARGE
    assert asked == [LIMIT + 1]


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (PLAIN, "gzip", "must be gzip, as its content_encoding says"),
        (PACKED[:-9], "gzip", "it is cut off"),
        (PACKED + b"more", "gzip", "must be gzip"),
        (gzip.compress(b"") * 40_000, "gzip", "at most 100 members"),
        (PLAIN, "utf-8", "content_encoding must be gzip or left out"),
        (PLAIN, "identity", "must be gzip or left out"),
        (PACKED, "x" * 200, "content_encoding must be gzip or left out"),
    ],
    ids=["plain", "cut off", "followed by something", "many members", "utf-8", "identity", "long name"],
)
def test_anything_else_is_invalid(body: bytes, encoding: str, said: str) -> None:
    found = refused(body, encoding)
    assert found.code is FailureCode.REQUEST_INVALID
    assert said in found.message


def test_a_refusal_names_the_deployment_where_the_body_can_be_read() -> None:
    assert refused(PLAIN, "utf-8").common.deployment_id == "01JDB3Q0W8"
    bug = internal_refusal(PACKED, RuntimeError(), max_bytes=LIMIT, encoding="gzip")
    assert bug.common.deployment_id == "01JDB3Q0W8"


def test_control_messages_likewise() -> None:
    message = {"schema": "vesemir.control/1", "command": "cancel", "deployment_id": "01JDB3Q0W8"}
    found = parse_control(
        gzip.compress(json.dumps(message).encode()),
        max_bytes=LIMIT,
        namespace="vesemir",
        properties=MessageProperties(content_encoding="gzip"),
    )
    assert not isinstance(found, Refusal)
    assert found.command == "cancel"
