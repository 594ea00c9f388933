"""Clients that mean no good (SECURITY.md): 300 of them here, 10,000 in ``python -m tests.hostile_http``."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from tests.hostile_http.clients import HALF_A_REQUEST, MALFORMED, NOTHING, SLOW_BODY, Answer, BadClients, ask, send
from tests.integration.http_site import Site, row, site
from tests.unit.engine.world import Lines

from vesemir.adapters.http import HttpLimits, serving
from vesemir.adapters.http.guarded import begun
from vesemir.engine.ports.observe import SilentLog

LIMITS = HttpLimits(connections=60, per_address=40)
QUICK = replace(LIMITS, header_seconds=0.2, body_seconds=0.2, send_seconds=0.2, keep_alive_seconds=0.2)
MANY = tuple(f"127.0.1.{number}" for number in range(1, 251))
STREAM = {"Accept": "text/event-stream"}


async def asked(one: Site, path: str = "/health/live") -> Answer:
    return await asyncio.to_thread(ask, one.port, path)


@pytest.mark.parametrize(("source", "most"), [(("127.0.0.1",), 40), (MANY, 60)], ids=["one address", "many"])
@pytest.mark.parametrize("sends", [HALF_A_REQUEST, NOTHING], ids=["half a request", "nothing"])
async def test_half_open_requests_push_out_each_other_and_never_a_health_check(
    source: tuple[str, ...], most: int, sends: bytes
) -> None:
    log = Lines()
    async with site(limits=LIMITS, log=log) as one:
        with BadClients(one.port) as clients:
            for _ in range(3):
                await asyncio.to_thread(clients.grow, 100, sends=sends, source=source)
                answer = await asked(one)
                assert answer.status == 200
                assert answer.seconds < 1
            await asyncio.to_thread(clients.wait_for, most, seconds=5)
            assert (await asked(one, "/api/v1/deployments")).status == 200
    assert len(log.of("warning")) <= 2
    assert log.of("exception") == []


@pytest.mark.parametrize("sends", [HALF_A_REQUEST, NOTHING], ids=["half a request", "nothing"])
async def test_a_header_that_does_not_come_ends_the_connection(sends: bytes) -> None:
    log = Lines()
    async with site(limits=QUICK, log=log) as one:
        with BadClients(one.port) as clients:
            await asyncio.to_thread(clients.grow, 20, sends=sends)
            await asyncio.to_thread(clients.wait_for, 0, seconds=5)
    first, rest = log.of("warning")
    assert first == "HTTP: the header of a request did not come within 0.2 s; it was closed (from 127.0.0.1)"
    assert "(19 times more within 60 s, the last from 127.0.0.1)" in rest


async def test_a_header_that_drips_has_no_more_time_than_one_that_does_not() -> None:
    async with site(limits=QUICK) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        begun_at = asyncio.get_running_loop().time()
        async with asyncio.timeout(5):
            while not reader.at_eof():
                writer.write(b"a")
                with_pause = asyncio.create_task(reader.read(1))
                await asyncio.wait([with_pause], timeout=0.02)
                if not with_pause.done():
                    with_pause.cancel()
                elif with_pause.exception() is not None:
                    break
        assert asyncio.get_running_loop().time() - begun_at < 2
        writer.transport.abort()


async def test_an_idle_connection_is_closed_and_a_used_one_is_not() -> None:
    limits = replace(QUICK, header_seconds=30)
    async with site(limits=limits) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        for _ in range(20):  # longer than one pause may be, all together
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = await asyncio.wait_for(reader.readuntil(b'{"status": "ok"}\n'), 5)
            assert answer.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_half_a_request_behind_a_whole_one_does_not_stay_either() -> None:
    async with site(limits=QUICK) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /health/live HT")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b'{"status": "ok"}\n')).startswith(b"HTTP/1.1 200")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


async def test_a_body_after_the_answer_does_not_keep_the_connection() -> None:
    limits = replace(QUICK, header_seconds=30, body_seconds=30)
    async with site(limits=limits) as one, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(SLOW_BODY)
        await reader.readuntil(b"}\n")
        writer.write(b"x" * 59_999)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_nothing_is_kept_of_a_connection_that_was_pushed_out_while_its_body_was_awaited() -> None:
    """Before: each such request stayed in memory for two seconds more; 10,000 of them cost 233 MB."""
    limits = replace(LIMITS, per_address=8)
    async with site(limits=limits) as one:
        with BadClients(one.port) as clients:
            await asyncio.to_thread(clients.grow, 100, sends=SLOW_BODY)
            assert (await asked(one)).status == 200
            await asyncio.sleep(0)
            handlers = [task for task in asyncio.all_tasks() if "RequestHandler.start" in repr(task)]
            assert len(handlers) <= 8 + 2


class Bodies:
    """Handlers that a later API may have: one reads a body, one writes a lot."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[BaseException | None] = asyncio.Queue()

    async def read(self, request: web.Request) -> web.Response:
        return await self._noted(request.read, lambda body: web.Response(text=str(len(body))))

    async def write(self, request: web.Request) -> web.StreamResponse:
        async def much() -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(200):
                await response.write(b"x" * 1_000_000)
            return response

        return await self._noted(much, lambda response: response)

    async def _noted(self, work: Callable[[], Any], answer: Callable[[Any], Any]) -> Any:
        try:
            done = answer(await work())
        except BaseException as error:
            self.ended.put_nowait(error)
            raise
        self.ended.put_nowait(None)
        return done


@asynccontextmanager
async def bodies(log: Lines) -> AsyncIterator[tuple[Bodies, int]]:
    handlers = Bodies()
    app = web.Application(middlewares=[begun])
    app.router.add_post("/api/v1/deployments", handlers.read)
    app.router.add_get("/much", handlers.write)
    async with serving(app, "127.0.0.1", 0, log=log, limits=QUICK) as port:
        yield handlers, port


async def test_a_body_that_does_not_come_ends_its_request() -> None:
    log = Lines()
    async with bodies(log) as (handlers, port), asyncio.timeout(10):
        with BadClients(port) as clients:
            await asyncio.to_thread(clients.grow, 5, sends=SLOW_BODY)
            await asyncio.to_thread(clients.wait_for, 0, seconds=5)
            for _ in range(5):
                assert isinstance(await handlers.ended.get(), ConnectionError)
        whole = SLOW_BODY + b"x" * 59_999
        assert (await asyncio.to_thread(send, port, whole)).body == b"60000"
    assert log.of("exception") == []
    assert "the body of a request did not come within 0.2 s" in log.of("warning")[0]


async def test_a_client_that_takes_no_answer_is_let_go() -> None:
    log = Lines()
    async with bodies(log) as (handlers, port), asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /much HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert isinstance(await handlers.ended.get(), ConnectionError)
        writer.transport.abort()
    assert "a client took nothing of its answer for 0.2 s" in log.of("warning")[0]


async def test_where_all_connections_are_in_work_only_a_health_check_gets_in() -> None:
    limits = HttpLimits(connections=8, per_address=8)
    async with site(row(1), limits=limits) as one, asyncio.timeout(20):
        answers = [await one.session.get("/api/v1/deployments/d1/events", headers=STREAM) for _ in range(8)]
        assert {answer.status for answer in answers} == {200}
        for _ in range(50):
            assert (await asked(one)).status == 200
        refused = await asked(one, "/api/v1/deployments")
        assert refused.status == 503
        assert "too many HTTP connections" in json.loads(refused.body)["error"]["message"]
        one.reader.write("d1", "deployment.finished")
        one.reader.set_state("d1", "succeeded")
        for answer in answers:
            await answer.read()
        assert (await asked(one, "/api/v1/deployments")).status == 200


async def test_malformed_requests_are_counted_in_a_few_lines() -> None:
    """Before: about nine lines of traceback for each."""
    log = Lines()
    async with site(log=log) as one:
        answers = [await asyncio.to_thread(send, one.port, request) for request in MALFORMED * 10]
        assert {answer.status for answer in answers} <= {0, 400, 404}
        assert (await asked(one)).status == 200
    assert log.of("exception") == log.of("error") == []
    assert 1 < len(log.of("warning")) < 10
    bad = [answer.body for answer in answers if answer.status == 400]
    assert len(bad) > 90
    assert all(set(json.loads(body)) == {"error"} for body in bad)


async def test_uploads_that_are_broken_off_are_no_bug() -> None:
    log = Lines()
    async with bodies(log) as (handlers, port), asyncio.timeout(10):
        head = b"POST /api/v1/deployments HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        for cut in (b"Content-Length: 9\r\n\r\n1234", b"Transfer-Encoding: chunked\r\n\r\n3\r\n12"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + cut)
            await writer.drain()
            writer.transport.abort()
            assert await handlers.ended.get() is not None
    assert log.of("exception") == []


async def test_stopping_does_not_wait_for_half_open_requests() -> None:
    with BadClients(0) as clients:
        async with site(log=SilentLog()) as one:
            clients.port = one.port
            await asyncio.to_thread(clients.grow, 50, sends=HALF_A_REQUEST)
            assert (await asked(one)).status == 200
            begun_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun_at < 2
