"""Whatever a client sends, it gets an answer of its own and nothing is logged as a bug (contract section 4)."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hostile_http.clients import MALFORMED, Answer, ask, send
from tests.integration.http_site import MemoryReader, Site, row, site
from tests.unit.engine.world import Lines

from vesemir.engine.ports.store import StoredEvent
from vesemir.engine.ports.views import DeploymentSummary, DeploymentView

LARGEST = 2**63 - 1


class StrictReader(MemoryReader):
    """Takes no more than PostgreSQL does: UTF-8 without NUL, its own times, numbers of 64 bits."""

    async def deployment_view(self, deployment_id: str) -> DeploymentView | None:
        _check(deployment_id)
        return await super().deployment_view(deployment_id)

    async def deployments(self, **asked: Any) -> list[DeploymentSummary]:
        _check(*asked.values())
        return await super().deployments(**asked)

    async def events(self, deployment_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        _check(deployment_id, after, limit)
        return await super().events(deployment_id, after=after, limit=limit)


def _check(*values: object) -> None:
    for value in values:
        if isinstance(value, str):
            assert "\0" not in value
            value.encode()
        elif isinstance(value, datetime):
            value.astimezone(UTC)
        elif isinstance(value, int):
            assert -LARGEST <= value <= LARGEST


class Served:
    """A site on a thread of its own, for a test that is not of the event loop."""

    def __init__(self) -> None:
        self.log = Lines()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.one: Site

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        reader = StrictReader(*(row(number) for number in range(3)))
        async with AsyncExitStack() as stack:
            self.one = await stack.enter_async_context(site(reader=reader, log=self.log))
            self._up.set()
            await self._end.wait()

    def asked(self, path: str) -> Answer:
        return ask(self.one.port, path)

    def sent(self, request: bytes) -> Answer:
        return send(self.one.port, request)

    def bugs(self) -> list[str]:
        """Since the last time."""
        lines = self.log.lines[:]
        self.log.lines.clear()
        return [text for level, text in lines if level in {"exception", "error"}]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as served:
        yield served


EDGES = (
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01", "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+23:59", "9999-12-31T24:00:00Z", "10000-01-01", "-0001-01-01", "0000-01-01", "2026-W01-1",
    "2026-02-30", "1e9", "inf", "nan", "", " ", "2026-11-01T12:30:00+99:99", "2026-11-01T12:30:60Z", "now",
    "-1", "0", "1", "200", "201", str(LARGEST), str(LARGEST + 1), "9" * 4000, "0x10", "1_000", "1.0", "+1", "\u0661",
    "running", "\0", "a\0b", "\ud800", "🦀" * 300, "%", "%zz", "a" * 4000,
)  # fmt: skip
ANY = st.one_of(
    st.sampled_from(EDGES).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
    st.datetimes().map(lambda moment: moment.isoformat().encode()),
    st.integers().map(lambda number: str(number).encode()),
)
NAMES = st.sampled_from(
    (
        "limit",
        "before",
        "since",
        "application",
        "environment",
        "state",
        "team",
        "after",
        "progress",
        "other",
        "",
        "since[]",
    )
)
PATHS = st.sampled_from(("/api/v1/deployments", "/api/v1/deployments/d1", "/api/v1/deployments/d1/events"))


@settings(max_examples=150)
@given(PATHS, st.lists(st.tuples(NAMES, ANY), max_size=3), st.booleans())
def test_every_query_is_answered_with_what_was_asked_or_what_is_wrong(
    served: Served,
    path: str,
    query: list[tuple[str, bytes]],
    quoted: bool,  # noqa: FBT001
) -> None:
    safe = "" if quoted else "%+ "[:2]
    text = "&".join(f"{name}={quote_from_bytes(value, safe=safe)}" for name, value in query)
    answer = served.asked(f"{path}?{text}"[:8000])
    assert answer.status in {200, 400}
    if answer.status == 400:
        assert json.loads(answer.body)["error"]["message"]
    assert served.bugs() == []


@pytest.mark.parametrize("since", EDGES[:6])
def test_a_time_at_the_edge_of_the_calendar_is_a_moment_or_a_clear_refusal(served: Served, since: str) -> None:
    answer = served.asked(f"/api/v1/deployments?since={quote_from_bytes(since.encode())}")
    assert answer.status in {200, 400}
    if answer.status == 400:
        assert "since is a time" in json.loads(answer.body)["error"]["message"]
    assert served.bugs() == []


@settings(max_examples=80)
@given(st.lists(ANY, min_size=1, max_size=3), st.booleans())
def test_every_path_is_answered(served: Served, parts: list[bytes], quoted: bool) -> None:  # noqa: FBT001
    safe = "" if quoted else "%/"
    path = "/".join(quote_from_bytes(part, safe=safe) for part in parts)
    answer = served.asked(f"/api/v1/deployments/{path}"[:8000])
    assert answer.status in {200, 400, 404, 410}
    assert json.loads(answer.body)
    assert served.bugs() == []


WHOLE = (
    b"GET /api/v1/deployments?limit=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    b"POST /api/v1/deployments HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    *MALFORMED,
)


@settings(max_examples=100)
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=8)), max_size=4))
def test_no_bytes_are_a_bug(served: Served, request_bytes: bytes, changes: list[tuple[int, bytes]]) -> None:
    changed = bytearray(request_bytes)
    for at, piece in changes:
        start = at % (len(changed) + 1)
        changed[start : start + len(piece) // 2] = piece
    answer = send(served.one.port, bytes(changed), seconds=0.05)
    assert answer.status in {0, 100, 200, 400, 403, 404, 405, 413, 417, 421}
    assert served.bugs() == []


def test_after_all_that_it_is_still_there(served: Served) -> None:
    assert served.asked("/health/live").status == 200
    assert served.asked("/api/v1/deployments").status == 200
    assert served.bugs() == []
