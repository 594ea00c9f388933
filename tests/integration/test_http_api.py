"""The HTTP interface over a real socket, on a record in memory: contract section 4 and what a client may send wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from loguru import logger
from pydantic import SecretStr
from tests.fakes.views import a_view

from vesemir import __version__
from vesemir.adapters.http import http_app, serving
from vesemir.adapters.observe import PrometheusMeters
from vesemir.adapters.observe.logs import EngineLog
from vesemir.domain.failure import VesemirError
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.observe import SilentLog
from vesemir.engine.ports.store import StoreAwayError, StoredEvent
from vesemir.engine.ports.views import DeploymentSummary, DeploymentView
from vesemir.engine.upkeep.health import HealthRegistry, PartState

Json = dict[str, Any]


class MemoryReader:
    """What ``DeploymentReader`` says, of deployments given newest first."""

    def __init__(self, *deployments: DeploymentView) -> None:
        self.rows = list(deployments)
        self.written: dict[str, list[StoredEvent]] = {row.deployment_id: [] for row in deployments}
        self.away = False
        self.kept: dict[str, StoredEvent] = {}
        self.since: datetime | None = None

    def write(self, deployment_id: str, event: str, **fields: Any) -> None:
        events = self.written[deployment_id]
        body = {"event": event, "deployment_id": deployment_id, "sequence": len(events) + 1, **fields}
        events.append(StoredEvent(deployment_id, len(events) + 1, event, body))

    def set_state(self, deployment_id: str, state: DeploymentState) -> None:
        self.rows = [replace(row, state=state) if row.deployment_id == deployment_id else row for row in self.rows]

    async def deployment_view(self, deployment_id: str) -> DeploymentView | None:
        self._answer()
        found = next((row for row in self.rows if row.deployment_id == deployment_id), None)
        return found and replace(found, last_sequence=len(self.written[deployment_id]))

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        self._answer()
        return self.kept.get(deployment_id)

    async def deployments(
        self, *, limit: int = 50, before: str | None = None, since: datetime | None = None, **filters: str | None
    ) -> list[DeploymentSummary]:
        self.since = since
        self._answer()
        ids = [row.deployment_id for row in self.rows]
        start = 0 if before is None else ids.index(before) + 1 if before in ids else len(ids)
        wanted = {name: value for name, value in filters.items() if value is not None}
        found = [row for row in self.rows[start:] if all(getattr(row, name) == value for name, value in wanted.items())]
        return [summary(row) for row in found[:limit]]

    async def events(self, deployment_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        self._answer()
        return [event for event in self.written[deployment_id] if event.sequence > after][:limit]

    def _answer(self) -> None:
        if self.away:
            raise StoreAwayError("no answer in 10 s")


class Site:
    def __init__(self, session: aiohttp.ClientSession, reader: MemoryReader, health: HealthRegistry) -> None:
        self.session = session
        self.reader = reader
        self.health = health
        self.meters = PrometheusMeters()

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(path, **options) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def site(*deployments: DeploymentView, token: str | None = None) -> AsyncIterator[Site]:
    health, reader = HealthRegistry(), MemoryReader(*deployments)
    one = Site(None, reader, health)  # type: ignore[arg-type]
    log, secret = EngineLog(debugs=False), token and SecretStr(token)
    app = http_app(health=health, meters=one.meters, reader=reader, token=secret, log=log)
    async with (
        serving(app, "127.0.0.1", 0, log=log) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(20)) as session,
    ):
        one.session = session
        yield one


def row(number: int, *, state: DeploymentState = DeploymentState.RUNNING, application: str = "shop") -> DeploymentView:
    return a_view(deployment_id=f"d{number}", application=application, state=state)


def summary(row: DeploymentView) -> DeploymentSummary:
    return DeploymentSummary(**{field.name: getattr(row, field.name) for field in fields(DeploymentSummary)})


async def test_health_is_503_until_every_part_is_up_and_again_when_draining() -> None:
    async with site() as one:
        assert (await one.get("/health"))[0] == 503
        one.health.expect("database")
        one.health.report("broker", PartState.UP)
        status, body = await one.get("/health")
        assert (status, body["status"], body["version"]) == (503, "unavailable", __version__)
        assert body["parts"]["database"]["state"] == "starting"
        one.health.report("database", PartState.UP)
        status, body = await one.get("/health")
        assert (status, body["status"]) == (200, "ok")
        assert body["parts"]["broker"]["since"].endswith("Z")
        one.health.report("broker", PartState.DOWN, "refused")
        status, body = await one.get("/health")
        assert (status, body["parts"]["broker"]["detail"]) == (503, "refused")
        one.health.report("broker", PartState.UP)
        one.health.drain()
        status, body = await one.get("/health")
        assert (status, body["draining"]) == (503, True)
        assert (await one.get("/health/live"))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_health_answers_every_way_in_which_haproxy_asks(method: str) -> None:
    async with site() as one:
        one.health.report("database", PartState.UP)
        async with one.session.request(method, "/health") as answer:
            assert answer.status == 200


async def test_health_answers_http_1_0_without_a_host() -> None:
    async with site() as one:
        url = one.session._base_url
        assert url is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", url.port)
        writer.write(b"OPTIONS /health HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.0 503 ")


async def test_metrics_are_what_prometheus_reads() -> None:
    async with site() as one:
        one.health.report("database", PartState.UP)
        one.meters.running(3)
        async with one.session.get("/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "vesemir_deployments_running 3.0" in text
        assert 'vesemir_part_up{part="database"} 1.0' in text
        assert "vesemir_takes_work 1.0" in text


async def test_deployments_are_paged_and_filtered() -> None:
    rows = [row(5), row(4), row(3, application="blog"), row(2, state=DeploymentState.FAILED), row(1)]
    async with site(*rows) as one:
        assert (await one.get("/api/v1/deployments"))[1] == {
            "deployments": [summary(each).as_json() for each in rows],
            "next": None,
        }
        seen, before = [], None
        while True:
            query = {"limit": "2"} | ({"before": before} if before else {})
            page = (await one.get("/api/v1/deployments", params=query))[1]
            seen += [each["deployment_id"] for each in page["deployments"]]
            before = page["next"]
            if before is None:
                break
        assert seen == ["d5", "d4", "d3", "d2", "d1"]
        await one.get("/api/v1/deployments?since=2026-11-01T12:30:00+01:00")
        assert one.reader.since == datetime(2026, 11, 1, 11, 30, tzinfo=UTC)
        found = (await one.get("/api/v1/deployments?application=shop&state=failed"))[1]
        assert [each["deployment_id"] for each in found["deployments"]] == ["d2"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/deployments?limit=0", "limit is a whole number from 1 to 200"),
        ("/api/v1/deployments?limit=201", "limit is a whole number from 1 to 200"),
        ("/api/v1/deployments?limit=-1", "limit is a whole number"),
        ("/api/v1/deployments?limit=%D9%A3", "limit is a whole number"),
        ("/api/v1/deployments?limit=" + "9" * 5000, "limit is a whole number"),
        ("/api/v1/deployments?limit=1&limit=2", "limit is given once"),
        ("/api/v1/deployments?before=%00", "before is given once, as text"),
        ("/api/v1/deployments?state=done", "state is one of pending"),
        ("/api/v1/deployments?aplication=shop", "unknown query parameter aplication; allowed are limit, before"),
        ("/api/v1/deployments?since=yesterday", "since is a time as in RFC 3339"),
        ("/api/v1/deployments/d1?x=1", "unknown query parameter x; none is allowed here"),
        ("/api/v1/deployments/d1/events?after=x", "after is a whole number from 0"),
    ],
)
async def test_a_wrong_query_is_refused_in_words(path: str, said: str) -> None:
    async with site(row(1)) as one:
        status, body = await one.get(path)
        assert status == 400
        assert said in body["error"]["message"]


async def test_one_deployment_and_what_is_not_there() -> None:
    async with site(row(1)) as one:
        assert await one.get("/api/v1/deployments/d1") == (200, row(1).as_json() | {"last_sequence": 0})
        for path in (
            "/api/v1/deployments/d9",
            "/api/v1/deployments/d9/events",
            "/api/v1/deployments/%00",
            "/api",
            "/x",
        ):
            status, body = await one.get(path)
            assert status == 404
            assert body["error"]["status"] == 404


async def test_nothing_can_be_written() -> None:
    async with site(row(1)) as one:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with one.session.request(method, "/api/v1/deployments/d1") as answer:
                assert answer.status == 405
                assert "GET" in answer.headers["Allow"]
                assert (await answer.json())["error"]["status"] == 405


async def test_the_token_guards_the_record_and_nothing_else() -> None:
    async with site(row(1), token="open sesame") as one:
        for header in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic open sesame"}):
            async with one.session.get("/api/v1/deployments", headers=header) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert "sesame" not in await answer.text()
        right = {"Authorization": "bearer open sesame"}
        assert (await one.get("/api/v1/deployments/d1", headers=right))[0] == 200
        assert (await one.get("/health"))[0] == 503
        assert (await one.get("/health/live"))[0] == 200


async def test_the_database_away_is_503_and_says_when_to_try_again() -> None:
    async with site(row(1)) as one:
        one.reader.away = True
        async with one.session.get("/api/v1/deployments/d1") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert "database" in (await answer.json())["error"]["message"]


async def test_a_bug_is_500_and_tells_nothing() -> None:
    async with site(row(1)) as one:
        one.reader.written.clear()
        status, body = await one.get("/api/v1/deployments/d1/events")
        assert status == 500
        assert "KeyError" not in body["error"]["message"]


async def test_events_are_paged() -> None:
    async with site(row(1)) as one:
        for number in range(5):
            one.reader.write("d1", f"event-{number}")
        first = (await one.get("/api/v1/deployments/d1/events?limit=3"))[1]
        assert [event["sequence"] for event in first["events"]] == [1, 2, 3]
        rest = (await one.get(f"/api/v1/deployments/d1/events?limit=3&after={first['next']}"))[1]
        assert [event["sequence"] for event in rest["events"]] == [4, 5]
        assert rest["next"] is None


STREAM = {"Accept": "text/event-stream"}


async def next_message(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """One message of the stream, comments left out."""
    fields: dict[str, str] = {}
    while line := (await answer.content.readline()).decode():
        if line == "\n" and fields:
            return fields
        name, _, value = line.rstrip("\n").partition(": ")
        if name and not line.startswith(":"):
            fields[name] = value
    return fields


async def test_a_stream_tells_what_happens_until_the_end() -> None:
    async with site(row(1)) as one:
        one.reader.write("d1", "deployment.accepted", note="two\nlines, é")
        async with one.session.get("/api/v1/deployments/d1/events", headers=STREAM) as answer:
            assert answer.content_type == "text/event-stream"
            first = await next_message(answer)
            assert (first["id"], first["event"]) == ("1", "deployment.accepted")
            assert '"two\\nlines, é"' in first["data"]
            one.reader.write("d1", "deployment.started")
            assert (await next_message(answer))["event"] == "deployment.started"
            one.reader.write("d1", "deployment.finished")
            assert (await next_message(answer))["id"] == "3"
            assert await answer.content.read() == b""


async def test_a_stream_goes_on_where_it_broke_off() -> None:
    async with site(row(1)) as one:
        for name in ("deployment.accepted", "deployment.started", "deployment.finished"):
            one.reader.write("d1", name)
        headers = STREAM | {"Last-Event-ID": "2"}
        async with one.session.get("/api/v1/deployments/d1/events", headers=headers) as answer:
            assert (await next_message(answer))["event"] == "deployment.finished"
        one.reader.set_state("d1", DeploymentState.SUCCEEDED)
        headers["Last-Event-ID"] = "3"
        async with one.session.get("/api/v1/deployments/d1/events", headers=headers) as answer:
            assert (answer.status, await answer.content.read()) == (204, b""), "a browser stops asking"


async def test_a_stream_outlives_a_database_that_is_away() -> None:
    async with site(row(1)) as one:
        one.reader.write("d1", "deployment.accepted")
        async with one.session.get("/api/v1/deployments/d1/events", headers=STREAM) as answer:
            await next_message(answer)
            one.reader.away = True
            one.reader.write("d1", "deployment.finished")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(next_message(answer), 1)
            one.reader.away = False
            assert (await next_message(answer))["event"] == "deployment.finished"


async def test_of_what_was_cleaned_up_the_result_is_left() -> None:
    async with site() as one:
        body = {"event": "deployment.finished", "deployment_id": "d1", "sequence": 7, "status": "succeeded"}
        one.reader.kept["d1"] = StoredEvent("d1", 7, "deployment.finished", body)
        status, told = await one.get("/api/v1/deployments/d1")
        assert (status, "ended as succeeded" in told["error"]["message"]) == (410, True)
        path = "/api/v1/deployments/d1/events"
        assert await one.get(path) == (200, {"events": [body], "next": None})
        assert await one.get(f"{path}?after=7") == (200, {"events": [], "next": None})
        async with one.session.get(path, headers=STREAM) as answer:
            assert answer.content_type == "text/event-stream"
            assert (await next_message(answer))["id"] == "7"
            assert await answer.content.read() == b""
        async with one.session.get(path, headers=STREAM | {"Last-Event-ID": "7"}) as answer:
            assert answer.status == 204


async def test_a_listener_that_takes_nothing_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesemir.adapters.http.deployments.DEAF_SECONDS", 0.2)
    monkeypatch.setattr("vesemir.adapters.http.deployments.MOST_STREAMS", 1)
    async with site(row(1)) as one:
        for _ in range(20):
            one.reader.write("d1", "step.finished", output="x" * 1_000_000)
        url = one.session._base_url
        assert url is not None
        _, deaf = await asyncio.open_connection("127.0.0.1", url.port, limit=1024)
        deaf.write(b"GET /api/v1/deployments/d1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        async with asyncio.timeout(20):
            while True:
                async with one.session.get("/api/v1/deployments/d1/events", headers=STREAM) as answer:
                    if answer.status == 200:
                        break
                    assert answer.status == 503
        deaf.transport.abort()


async def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesemir.adapters.http.deployments.KEEP_ALIVE_SECONDS", 0.1)
    async with site(row(1)) as one, one.session.get("/api/v1/deployments/d1/events", headers=STREAM) as answer:
        assert (await answer.content.readline()).startswith(b":")


async def test_a_listener_that_leaves_is_no_bug() -> None:
    said: list[str] = []
    sink = logger.add(said.append, level="ERROR")
    try:
        async with site(row(1)) as one:
            answer = await one.session.get("/api/v1/deployments/d1/events", headers=STREAM)
            one.reader.write("d1", "deployment.accepted")
            await next_message(answer)
            answer.close()
            one.reader.write("d1", "deployment.finished")
    finally:
        logger.remove(sink)
    assert said == []


def app_on(reader: MemoryReader) -> web.Application:
    health, meters = HealthRegistry(), PrometheusMeters()
    return http_app(health=health, meters=meters, reader=reader, token=None, log=SilentLog())


async def test_stopping_ends_streams_at_once() -> None:
    app = app_on(MemoryReader(row(1)))
    async with asyncio.timeout(5), aiohttp.ClientSession() as session:
        async with serving(app, "127.0.0.1", 0, log=SilentLog()) as port:
            url = f"http://127.0.0.1:{port}/api/v1/deployments/d1/events"
            answer = await session.get(url, headers=STREAM)
        assert await answer.content.read() == b""


async def test_a_taken_port_is_said_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app = app_on(MemoryReader())
        with pytest.raises(VesemirError, match=rf"cannot listen on 127.0.0.1:{port}: .*http.port"):
            async with serving(app, "127.0.0.1", port, log=SilentLog()):
                pass
