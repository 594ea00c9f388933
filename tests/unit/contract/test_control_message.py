"""A control message is one of three commands about one deployment, or refused with what is allowed."""

import json
from typing import Any

import pytest

from vesemir.contract import CommonFields, ControlRequest, MessageProperties, Refusal, parse_control
from vesemir.domain.failure import FailureCode

MESSAGE = {
    "schema": "vesemir.control/1",
    "command": "cancel",
    "deployment_id": "d-1",
    "requested_by": "ops",
    "reason": "wrong release",
}


def parse(message: Any, reply_to: str | None = None) -> ControlRequest | Refusal:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return parse_control(body, max_bytes=4096, namespace="vesemir", properties=MessageProperties(reply_to))


@pytest.mark.parametrize("command", ["cancel", "pause", "resume"])
def test_the_three_commands(command: str) -> None:
    assert parse(MESSAGE | {"command": command}) == ControlRequest(command, "d-1", "ops", "wrong release")  # type: ignore[arg-type]


def test_who_and_why_may_be_left_out() -> None:
    message = {name: MESSAGE[name] for name in ("schema", "command", "deployment_id")}
    assert parse(message) == ControlRequest("cancel", "d-1", None, None)
    assert parse(message | {"requested_by": None, "reason": None}) == ControlRequest("cancel", "d-1", None, None)


@pytest.mark.parametrize(
    ("changes", "field", "command", "deployment_id"),
    [
        ({"command": "stop"}, "command", None, "d-1"),
        ({"command": ["cancel"]}, "command", None, "d-1"),
        ({"command": None}, "command", None, "d-1"),
        ({"schema": "vesemir.deploy/1"}, "schema", "cancel", "d-1"),
        ({"deployment_id": "no such id!"}, "deployment_id", "cancel", None),
        ({"force": True}, "force", "cancel", "d-1"),
        ({"reason": "x" * 1025}, "reason", "cancel", "d-1"),
        ({"reason": "a\x00b"}, "reason", "cancel", "d-1"),
        ({"requested_by": 7}, "requested_by", "cancel", "d-1"),
    ],
)
def test_what_is_wrong_is_named_and_what_could_be_read_is_kept(
    changes: dict[str, Any], field: str, command: str | None, deployment_id: str | None
) -> None:
    refusal = parse(MESSAGE | changes)
    assert isinstance(refusal, Refusal)
    assert refusal.code is FailureCode.REQUEST_INVALID
    assert [problem.field for problem in refusal.problems] == [field]
    assert refusal.command == command
    assert refusal.common == CommonFields(deployment_id)


def test_too_large_and_forbidden() -> None:
    large, forbidden = parse(b" " * 5000), parse(MESSAGE, reply_to="vesemir.control")
    assert isinstance(large, Refusal)
    assert isinstance(forbidden, Refusal)
    assert (large.code, large.command) == (FailureCode.REQUEST_TOO_LARGE, None)
    assert (forbidden.code, forbidden.command) == (FailureCode.REQUEST_FORBIDDEN, "cancel")


@pytest.mark.parametrize("body", [b"", b"cancel", b"[]", b"\xff", b"{" * 5000])
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    refusal = parse(body)
    assert isinstance(refusal, Refusal)
    assert refusal.common == CommonFields()
