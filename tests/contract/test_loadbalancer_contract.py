"""What every load balancer promises the engine; the fake and a real HAProxy pass the same suite."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeServer
from tests.integration.haproxy_server import DirectHosts, Haproxies, eventually, haproxies

from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.domain.counters import CounterTally
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import AdminState, ServerState
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.settings import HaproxySettings

__all__ = ["haproxies"]

Send = Callable[[int, int], Awaitable[None]]


@pytest.fixture(params=["fake", "real"])
async def balancer(request: pytest.FixtureRequest, haproxies: Haproxies) -> AsyncIterator[LoadBalancer]:
    if request.param == "fake":
        yield FakeLoadBalancer(
            "lb1",
            [
                FakeServer("web1"),
                FakeServer("web2", has_agent=True),
                FakeServer("dead", healthy=False),
                FakeServer("plain", has_check=False, configured_weight=3),
            ],
            more={"admin": [FakeServer("web1")]},
        )
        return
    app, gone = await haproxies.app("web"), await haproxies.app("gone")
    gone.healthy = False
    address = f"127.0.0.1:{app.port}"
    lines = {
        "web1": address,
        "web2": f"{address} agent-check agent-port {gone.port} agent-inter 200ms",
        "dead": f"127.0.0.1:{gone.port}",
        "plain": f"{address} no-check weight 3",
    }
    server = await haproxies.haproxy(lines, more=f"backend admin\n    server web1 {address} track shop/web1")
    async with HaproxyBoxes(DirectHosts(), HaproxySettings()).open([server.target]) as opened:  # type: ignore[arg-type]
        yield opened[0]


async def until(balancer: LoadBalancer, server: str, condition: Callable[[ServerState], bool]) -> ServerState:
    async def holds() -> bool:
        return condition((await balancer.servers("shop"))[server])

    await eventually(holds)
    return (await balancer.servers("shop"))[server]


async def test_every_server_is_read_with_its_weights_and_checks(balancer: LoadBalancer) -> None:
    web = await until(balancer, "web1", lambda state: state.status == "UP")
    assert (web.admin, web.weight, web.user_weight, web.configured_weight) == (AdminState.READY, 100, 100, 100)
    assert (web.has_check, web.has_agent, web.is_idle, web.algorithm) == (True, False, True, "roundrobin")
    servers = await balancer.servers("shop")
    assert set(servers) == {"web1", "web2", "dead", "plain"}
    assert (servers["plain"].status, servers["plain"].has_check, servers["plain"].weight) == ("no check", False, 3)
    assert (servers["web2"].has_agent, servers["web2"].agent_enabled) == (True, True)


async def test_every_backend_is_named_with_its_servers(balancer: LoadBalancer) -> None:
    backends = await balancer.backends()
    assert {backend: set(servers) for backend, servers in backends.items()} == {
        "shop": {"web1", "web2", "dead", "plain"},
        "admin": {"web1"},
    }
    assert set(await balancer.servers("admin")) == {"web1"}


async def test_maint_hides_the_checks_and_drain_brings_them_back(balancer: LoadBalancer) -> None:
    await balancer.set_state("shop", "web1", AdminState.MAINT)
    state = (await balancer.servers("shop"))["web1"]
    assert (state.admin, state.status, state.check_health, state.is_up) == (AdminState.MAINT, "MAINT", None, False)

    await balancer.set_state("shop", "web1", AdminState.DRAIN)
    state = await until(balancer, "web1", lambda state: state.is_fresh_pass)
    assert (state.admin, state.is_up) == (AdminState.DRAIN, False)

    await balancer.set_state("shop", "web1", AdminState.READY)
    assert (await balancer.servers("shop"))["web1"].is_available


async def test_a_dead_one_is_no_fresh_pass(balancer: LoadBalancer) -> None:
    await until(balancer, "dead", lambda state: state.status == "DOWN")
    await balancer.set_state("shop", "dead", AdminState.MAINT)
    await balancer.set_state("shop", "dead", AdminState.DRAIN)
    state = (await balancer.servers("shop"))["dead"]
    assert not state.is_fresh_pass
    assert state.status.startswith("D")
    await until(balancer, "dead", lambda state: state.status == "DOWN")


async def test_marked_down_it_must_pass_its_checks_again(balancer: LoadBalancer) -> None:
    await balancer.set_state("shop", "web1", AdminState.MAINT)
    await balancer.set_state("shop", "web1", AdminState.DRAIN)
    await balancer.mark_down("shop", "web1")
    await until(balancer, "web1", lambda state: state.is_fresh_pass)


async def test_weights_as_a_share_and_exact(balancer: LoadBalancer) -> None:
    await balancer.set_weight("shop", "plain", 50)
    assert (await balancer.servers("shop"))["plain"].user_weight == 1
    await balancer.set_weight("shop", "plain", 10)
    state = (await balancer.servers("shop"))["plain"]
    assert (state.user_weight, state.is_up, state.is_available, state.is_taken_out) == (0, True, False, True)
    await balancer.set_user_weight("shop", "plain", 2)
    assert (await balancer.servers("shop"))["plain"].user_weight == 2
    await balancer.set_weight("shop", "plain", 100)
    assert (await balancer.servers("shop"))["plain"].weight == 3


async def test_an_agent_is_switched(balancer: LoadBalancer) -> None:
    await balancer.set_agent("shop", "web2", enabled=False)
    state = (await balancer.servers("shop"))["web2"]
    assert (state.has_agent, state.agent_enabled) == (True, False)
    await balancer.set_agent("shop", "web2", enabled=True)
    assert (await balancer.servers("shop"))["web2"].agent_enabled


async def test_sessions_are_ended_where_there_are_none(balancer: LoadBalancer) -> None:
    await balancer.shutdown_sessions("shop", "web1")
    assert (await balancer.servers("shop"))["web1"].is_idle


async def test_the_process_has_an_id(balancer: LoadBalancer) -> None:
    first = (await balancer.process()).process_id
    assert first > 0
    assert (await balancer.process()).process_id == first


@pytest.fixture(params=["fake", "real"])
async def served(request: pytest.FixtureRequest, haproxies: Haproxies) -> AsyncIterator[tuple[LoadBalancer, Send]]:
    """A load balancer with traffic on its one server: ``await send(pages, errors)``."""
    if request.param == "fake":
        fake = FakeLoadBalancer("lb1", [FakeServer("web1")])

        async def pretend(pages: int, errors: int) -> None:
            fake.answer("web1", requests=pages + errors, errors=errors)

        yield fake, pretend
        return
    app = await haproxies.app("web")
    server = await haproxies.haproxy({"web1": f"127.0.0.1:{app.port}"})

    async def send(pages: int, errors: int) -> None:
        for path in ["/"] * pages + ["/500"] * errors:
            assert (await server.get(path))[0] == (200 if path == "/" else 500)

    async with HaproxyBoxes(DirectHosts(), HaproxySettings()).open([server.target]) as opened:  # type: ignore[arg-type]
        yield opened[0], send


async def test_requests_and_errors_are_counted(served: tuple[LoadBalancer, Send]) -> None:
    """Each request once, and health checks not at all."""
    balancer, send = served
    before = await balancer.counters("shop")
    assert before.process_id == (await balancer.process()).process_id
    await send(7, 2)
    after = await balancer.counters("shop")
    assert after.continues(before)
    assert after.since(before) == {"web1": CounterTally(9, server_errors=2)}
    averaged = after.servers["web1"].averaged - before.servers["web1"].averaged
    assert (averaged, after.servers["web1"].response_ms is not None) == (9, True)


async def test_an_unknown_backend_has_no_counters(balancer: LoadBalancer) -> None:
    with pytest.raises(FailedError) as caught:
        await balancer.counters("nope")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER


@pytest.mark.parametrize(
    ("backend", "server"),
    [("nope", "web1"), ("shop", "nope"), ("shop", "web1;clear counters all"), ("shop\n", "web1"), ("shop", "")],
)
async def test_what_does_not_exist_is_refused(balancer: LoadBalancer, backend: str, server: str) -> None:
    """A name that could end or split a command never reaches HAProxy."""
    for work in (
        balancer.set_state(backend, server, AdminState.DRAIN),
        balancer.set_weight(backend, server, 50),
        balancer.shutdown_sessions(backend, server),
    ):
        with pytest.raises(FailedError) as caught:
            await work
        assert caught.value.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER


async def test_an_unknown_backend_has_no_servers(balancer: LoadBalancer) -> None:
    with pytest.raises(FailedError) as caught:
        await balancer.servers("nope")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER


async def test_a_socket_that_takes_commands(balancer: LoadBalancer) -> None:
    await balancer.check_rights()


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_a_socket_that_may_only_look(kind: str, haproxies: Haproxies) -> None:
    """Case dry-run-operator: it answers every question, and the first drain is refused."""
    async with AsyncExitStack() as stack:
        balancer: LoadBalancer
        if kind == "fake":
            balancer = fake = FakeLoadBalancer("lb1", [FakeServer("web1")])
            fake.level = "operator"
        else:
            server = await haproxies.haproxy({"web1": "127.0.0.1:1"})
            target = replace(server.target, variables={"haproxy_socket": f"{server.socket}.operator"})
            boxes = HaproxyBoxes(DirectHosts(), HaproxySettings())  # type: ignore[arg-type]
            (balancer,) = await stack.enter_async_context(boxes.open([target]))
        assert "web1" in await balancer.servers("shop")
        with pytest.raises(FailedError) as caught:
            await balancer.check_rights()
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    assert "'operator'" in caught.value.failure.message
