"""What HAProxy 2.6 of Debian 12 counts for a server, and where: the facts that ``domain.counters`` builds on."""

import asyncio
import statistics
import time

from tests.integration.haproxy_server import DirectHosts, Haproxies, HaproxyServer, eventually, haproxies

from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.domain.counters import BoxCounters, CounterTally
from vesemir.domain.response_time import mean_between
from vesemir.settings import HaproxySettings

__all__ = ["haproxies"]

DEAD = "127.0.0.1:1 no-check"


async def counted(server: HaproxyServer) -> BoxCounters:
    async with HaproxyBoxes(DirectHosts(), HaproxySettings()).open([server.target]) as opened:  # type: ignore[arg-type]
        return await opened[0].counters("shop")


async def since(server: HaproxyServer, before: BoxCounters) -> dict[str, CounterTally]:
    after = await counted(server)
    assert after.continues(before)
    return after.since(before)


async def test_errors_of_every_kind(haproxies: Haproxies) -> None:
    app = await haproxies.app("web")
    server = await haproxies.haproxy({"web1": f"127.0.0.1:{app.port}"})
    before = await counted(server)
    answers = [(await server.get(path))[0] for path in ("/", "/500", "/close", "/half")]
    assert answers == [200, 500, 502, 200]
    # Newer ones (3.0) count what broke off without an answer a second time, as a request and as an error.
    twice = int((await server.version()).partition(".")[0]) >= 3
    assert await since(server, before) == {"web1": CounterTally(4 + twice, server_errors=1, response_errors=2 + twice)}


async def test_no_connection_and_nobody_else_to_ask(haproxies: Haproxies) -> None:
    server = await haproxies.haproxy({"web1": DEAD}, options="retries 1")
    before = await counted(server)
    assert [(await server.get())[0] for _ in range(2)] == [503, 503]
    assert await since(server, before) == {"web1": CounterTally(2, connection_errors=2)}


async def test_a_request_that_another_server_took_is_still_this_ones_failure(haproxies: Haproxies) -> None:
    """The client saw no error: without ``wredis`` a release that takes no connection would seem to be idle."""
    app = await haproxies.app("web")
    servers = {"web1": f"127.0.0.1:{app.port}", "web2": DEAD}
    server = await haproxies.haproxy(servers, options="option redispatch\n    retries 3")
    before = await counted(server)
    assert {(await server.get())[0] for _ in range(6)} == {200}
    there = await since(server, before)
    assert there["web1"] == CounterTally(6)
    assert there["web2"].connection_errors == there["web2"].requests > 0


async def test_neither_a_reload_nor_cleared_counters_make_a_difference(haproxies: Haproxies) -> None:
    app = await haproxies.app("web")
    server = await haproxies.haproxy({"web1": f"127.0.0.1:{app.port}"})
    await server.get()
    before = await counted(server)
    await server.ask("clear counters all")
    cleared = await counted(server)
    assert not cleared.continues(before)
    await server.get()
    await server.reload()
    assert not (await counted(server)).continues(cleared)


async def test_the_average_is_over_512_responses(haproxies: Haproxies) -> None:
    """Not over 1024, as the manual has it, which would tell half: each took longer than the application held it, and
    less than its client waited.
    """
    app = await haproxies.app("web")
    server = await haproxies.haproxy({"web1": f"127.0.0.1:{app.port}"})
    await server.ask("disable health shop/web1")  # a slow machine may be late for a check, and is asked all the same
    for _ in range(30):
        await asyncio.gather(*(server.get() for _ in range(20)))
    before = (await counted(server)).servers["web1"]

    async def timed() -> float:
        started = time.monotonic()
        assert (await server.get("/slow"))[0] == 200
        return time.monotonic() - started

    async def all_there() -> bool:
        return app.slow_now == 60

    asking = asyncio.gather(*(timed() for _ in range(60)))
    await eventually(all_there)
    asyncio.get_running_loop().call_later(0.5, app.release.set)
    waited = await asking
    found = mean_between(before, (await counted(server)).servers["web1"])
    assert found is not None
    assert found.requests == 60
    assert found.least_ms <= 1000 * statistics.mean(waited)
    assert found.most_ms >= 1000 * statistics.mean(app.held_seconds)
