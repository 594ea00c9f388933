"""The HTTP interface over a real socket, on a record in memory: contract section 4 and what a client may send wrong."""

import asyncio
import socket
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from loguru import logger
from tests.hostile_http.clients import send
from tests.integration.http_site import MemoryReader, row, site, summary

from vesemir import __version__
from vesemir.adapters.http import http_app, serving
from vesemir.adapters.observe import PrometheusMeters
from vesemir.domain.failure import VesemirError
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.observe import SilentLog
from vesemir.engine.ports.store import StoredEvent
from vesemir.engine.ports.views import InstanceState, InstanceView
from vesemir.engine.upkeep.health import HealthRegistry, PartState


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


async def test_both_tokens_are_right_while_one_is_being_changed() -> None:
    async with site(row(1), token="new\nold\n\n") as one:
        statuses = [
            (await one.get("/api/v1/deployments/d1", headers={"Authorization": f"Bearer {token}"}))[0]
            for token in ("new", "old", "", "new\told")
        ]
        assert statuses == [200, 200, 401, 401]


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
        deaf.write(
            b"GET /api/v1/deployments/d1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        )
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


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
async def test_health_and_metrics_are_answered_whatever_they_are_called(path: str) -> None:
    async with site() as one:
        one.health.report("database", PartState.UP)
        for headers in ({"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            async with one.session.get(path, headers=headers) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{80}", "127.0.0.1.evil.example", "", "a b"])
async def test_another_host_name_is_refused_and_the_setting_is_named(host: str) -> None:
    """A page whose own name resolves to this address (DNS rebinding) reads nothing."""
    async with site(row(1)) as one:
        status, body = await one.get("/api/v1/deployments", headers={"Host": host})
        assert status == (421 if host else 400)
        assert ("http.hosts" in body["error"]["message"]) == (status == 421)
        assert "evil" not in str(body)


async def test_without_a_host_or_with_two_nothing_is_read() -> None:
    async with site(row(1)) as one:
        path, end = b"/api/v1/deployments", b"Connection: close\r\n\r\n"
        for head in (
            b"GET %s HTTP/1.0\r\n" % path,
            b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n" % path,
            b"GET http://evil.example%s HTTP/1.1\r\nHost: 127.0.0.1\r\n" % path,
        ):
            answer = await asyncio.to_thread(send, one.port, head + end)
            assert answer.status in {400, 421}
            assert b"deployments" not in answer.body


async def test_the_hosts_of_the_setting_are_the_only_ones() -> None:
    async with site(row(1), hosts=("vesemir.example.com",)) as one:
        for host, expected in (("Vesemir.example.com", 200), ("vesemir.example.com:443", 200), ("127.0.0.1", 421)):
            assert (await one.get("/api/v1/deployments", headers={"Host": host}))[0] == expected


async def test_pages_of_other_sites_are_refused() -> None:
    async with site(row(1)) as one:

        async def status(method: str = "GET", **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with one.session.request(method, "/api/v1/deployments", headers=named) as answer:
                return answer.status

        own = f"http://127.0.0.1:{one.port}"
        assert await status(Origin=own) == 200
        assert await status(Origin="https://evil.example") == 403
        assert await status(Origin="null") == 403
        assert await status(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors") == 403
        assert await status(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 200
        assert await status(Sec_Fetch_Site="same-origin", Origin=own) == 200
        assert await status("POST", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 403
        assert await status("POST", Sec_Fetch_Site="same-site") == 403
        assert await status("POST", Origin="https://evil.example") == 403
        assert await status("POST", Origin=own) == 405


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


async def test_the_instances_that_work_or_did() -> None:
    async with site() as one:
        assert await one.get("/api/v1/instances") == (200, {"instances": []})
        moment = "2026-11-23T12:00:00.000000Z"
        one.reader.running = [InstanceView("a/1", "0.2.0", InstanceState.WORKING, moment, 3, moment)]
        shown = {
            "name": "a/1", "version": "0.2.0", "state": "working", "since": moment, "in_work": 3, "renewed_at": moment,
        }  # fmt: skip
        assert await one.get("/api/v1/instances") == (200, {"instances": [shown]})
        assert (await one.get("/api/v1/instances?all=1"))[0] == 400
        one.reader.away = True
        assert (await one.get("/api/v1/instances"))[0] == 503
    async with site(token="secret") as one:
        assert (await one.get("/api/v1/instances"))[0] == 401
