"""The contract's own example, and the parser with the settings' defaults."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vesemir.contract import MessageProperties, Parsed, Refusal, parse_deploy_event
from vesemir.domain.request import Timeouts

PAGE = Path(__file__).resolve().parents[3] / "docs" / "contract.md"
CAPS = Timeouts(deployment=14400, target=3600, step=3600)

Parse = Callable[..., Parsed | Refusal]


def example_event() -> dict[str, Any]:
    """The deploy event that the contract page shows."""
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "docs/contract.md has no example any more"
    event: dict[str, Any] = json.loads(found[1])
    return event


@pytest.fixture
def example() -> dict[str, Any]:
    return example_event()


@pytest.fixture
def parse() -> Parse:
    def run(
        body: Any, *, reply_to: str | None = "replies", max_bytes: int = 1024 * 1024, pattern: str | None = None
    ) -> Parsed | Refusal:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return parse_deploy_event(
            encoded,
            max_bytes=max_bytes,
            caps=CAPS,
            namespace="vesemir",
            properties=MessageProperties(reply_to),
            reply_to_pattern=None if pattern is None else re.compile(pattern),
        )

    return run
