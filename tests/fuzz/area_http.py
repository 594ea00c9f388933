"""Requests of any bytes against the real application on a loopback socket: an answer or a closed connection, no 500."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from hypothesis import strategies as st
from tests.fuzz.examine import Area, Check
from tests.fuzz.mutation import nearly
from tests.integration.http_site import Site, row, site
from tests.unit.engine.world import Lines

from vesemir.adapters.http import HttpLimits
from vesemir.domain.states import DeploymentState

LIMITS = HttpLimits(header_seconds=0.05, body_seconds=0.05, send_seconds=5, keep_alive_seconds=0.05)
"""Half a request ends soon: otherwise every example would wait for it."""
PATIENCE_SECONDS = 20.0

_NOW = datetime(2026, 11, 27, 12, tzinfo=UTC).isoformat()
_TARGETS = (
    "/health", "/health/live", "/metrics", "/api/v1/deployments", "/api/v1/deployments?limit=5&before=d1",
    f"/api/v1/deployments?since={_NOW}&application=shop&environment=production&state=running&team=x",
    "/api/v1/deployments?since=0001-01-01T00:00:00%2B14:00", "/api/v1/deployments?since=9999-12-31T23:59:59-14:00",
    "/api/v1/deployments/d1", "/api/v1/deployments/d1/events?after=1&limit=2", "/api/v1/deployments/%00/events",
    "/api/v1/deployments/%ff%fe", "//health", "/%2e%2e/etc/passwd", "*", "http://localhost/health",
)  # fmt: skip
_REST = (
    b"Host: localhost\r\n\r\n",
    b"Host: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: 1\r\n\r\n",
    b"Host: localhost\r\nAuthorization: Bearer token\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n",
    b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Host: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    b"Host: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\nExpect: 100-continue\r\n\r\n",
)
SEEDS = [
    f"{method} {target} HTTP/1.1\r\n".encode() + rest
    for method, target, rest in (
        *(("GET", target, _REST[index % 3]) for index, target in enumerate(_TARGETS)),
        *((method, "/api/v1/deployments", _REST[3]) for method in ("POST", "PUT", "HEAD", "OPTIONS", "TRACE")),
        *(("POST", "/health", rest) for rest in _REST[3:]),
    )
]
REQUESTS = st.lists(nearly(SEEDS, most=3) | st.sampled_from(SEEDS), min_size=1, max_size=2).map(b"".join)

_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)
_MAY_BE = {b"501", b"503", b"505"}
"""A transfer coding or version that is not known here; nothing takes work in this site; too many streams."""


async def _exchanged(port: int, sent: bytes) -> bytes:
    """Everything that came back until the server closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(sent)
            received = await reader.read()
            while not reader.at_eof():
                received += await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
    return received


async def _judge(one: Site, log: Lines, sent: bytes) -> None:
    received = await _exchanged(one.port, sent)
    bad = [status for status in _STATUS.findall(received) if status >= b"500" and status not in _MAY_BE]
    assert not bad, received[:300]
    assert not log.of("exception"), log.of("exception")
    live = await _exchanged(one.port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert live.startswith(b"HTTP/1.1 200"), "the server lives"


@contextmanager
def opened() -> Iterator[Check]:
    log = Lines()
    with asyncio.Runner() as runner:
        context = site(
            row(2, state=DeploymentState.SUCCEEDED), row(1, state=DeploymentState.FAILED), limits=LIMITS, log=log
        )
        one = runner.run(context.__aenter__())
        try:
            yield lambda sent: runner.run(_judge(one, log, sent))
        finally:
            runner.run(context.__aexit__(None, None, None))


HTTP = Area("http", "any bytes by HTTP: an answer or a closed connection, never a 500", REQUESTS, opened)
