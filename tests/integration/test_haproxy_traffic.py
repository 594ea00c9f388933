"""The safe order on a real HAProxy: drained by sessions, fresh checks, weights, reloads, two load balancers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.fakes.left_before import nothing_before
from tests.integration.haproxy_server import (
    DirectHosts,
    Haproxies,
    HaproxyServer,
    TinyApp,
    address_of,
    eventually,
    haproxies,
)

from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.request import TrafficRequest
from vesemir.domain.selector import HostSelector
from vesemir.domain.share import Share
from vesemir.domain.traffic import AdminState, ServerState
from vesemir.engine.traffic.traffic import Traffic
from vesemir.settings import HaproxySettings

__all__ = ["haproxies"]


@asynccontextmanager
async def section(_key: str) -> AsyncIterator[None]:
    yield


async def no_hold(_seconds: float, _percent: int) -> None:
    return


class Moving:
    """Traffic over real load balancers."""

    def __init__(self, servers: Sequence[HaproxyServer], stack: AsyncExitStack) -> None:
        self.servers = servers
        self.hosts = DirectHosts()
        self._stack = stack

    async def traffic(self, *, up_seconds: float = 10, min_available: int = 0, **asked: Any) -> Traffic:
        boxes = HaproxyBoxes(self.hosts, HaproxySettings())  # type: ignore[arg-type]
        balancers = await self._stack.enter_async_context(boxes.open([server.target for server in self.servers]))
        request = TrafficRequest(HostSelector(("lb1",)), ("shop",), "{name}", **asked)
        return Traffic(
            balancers,
            request,
            min_available=Share(min_available),
            capacity_seconds=1,
            up_seconds=up_seconds,
            ensure=lambda: None,
            critical=section,
            before=nothing_before(),
        )

    async def state(self, name: str, box: int = 0) -> ServerState:
        hosts = DirectHosts()
        async with HaproxyBoxes(hosts, HaproxySettings()).open([self.servers[box].target]) as balancers:  # type: ignore[arg-type]
            return (await balancers[0].servers("shop"))[name]

    async def settled(self, apps: dict[str, TinyApp]) -> None:
        for box in range(len(self.servers)):

            async def up(box: int = box) -> bool:
                return all([(await self.state(name, box)).status == "UP" for name in apps])

            await eventually(up)


@pytest.fixture
async def moving_stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_a_drain_waits_for_the_request_that_is_under_way(
    haproxies: Haproxies, moving_stack: AsyncExitStack
) -> None:
    apps = await haproxies.apps(2)
    server = await haproxies.haproxy(address_of(apps))
    moving = Moving([server], moving_stack)
    await moving.settled(apps)
    slow = asyncio.create_task(server.get("/slow"))
    began = {asyncio.create_task(app.slow_began.wait()): app for app in apps.values()}
    done, others = await asyncio.wait(began, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    busy = began[done.pop()]
    traffic = await moving.traffic()
    prior = await traffic.observe(busy.name)

    leaving = asyncio.create_task(traffic.take_out(busy.name, prior))

    async def draining() -> bool:
        return (await moving.state(busy.name)).admin is AdminState.DRAIN

    await eventually(draining)
    for _ in range(4):
        assert (await server.get())[1] != busy.name
    assert not leaving.done()
    busy.release.set()
    assert "drained in" in await leaving
    assert await slow == (200, busy.name)
    assert (await moving.state(busy.name)).admin is AdminState.MAINT


async def test_a_drain_that_takes_too_long_fails_or_ends_the_sessions(
    haproxies: Haproxies, moving_stack: AsyncExitStack
) -> None:
    apps = await haproxies.apps(1)
    server = await haproxies.haproxy(address_of(apps))
    moving = Moving([server], moving_stack)
    await moving.settled(apps)
    slow = asyncio.create_task(server.get("/slow"))
    await apps["web1"].slow_began.wait()
    failing = await moving.traffic(drain_seconds=0.5)
    prior = await failing.observe("web1")

    with pytest.raises(FailedError) as caught:
        await failing.take_out("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_DRAIN_TIMED_OUT
    await failing.restore("web1", prior)
    assert (await moving.state("web1")).admin is AdminState.READY

    forcing = await moving.traffic(drain_seconds=0.5, on_drain_timeout="shutdown")
    assert "ended by force" in await forcing.take_out("web1", prior)
    assert (await moving.state("web1")).is_idle
    assert (await slow)[1] != "web1"


@pytest.mark.parametrize("more", ["", "fall 1"])
async def test_a_dead_application_gets_no_traffic_back(
    haproxies: Haproxies, moving_stack: AsyncExitStack, more: str
) -> None:
    """Leaving maint shows a server as healthy before any check, with ``fall 1`` even as fully healthy."""
    apps = await haproxies.apps(2)
    moving = Moving([await haproxies.haproxy(address_of(apps, more=more))], moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic(up_seconds=1.5)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    apps["web1"].healthy = False

    with pytest.raises(FailedError) as caught:
        await traffic.warm_up("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_NOT_UP
    assert "L7STS" in caught.value.failure.message
    assert "left drained on lb1" in await traffic.leave_drained("web1")
    assert (await moving.state("web1")).admin is AdminState.DRAIN

    apps["web1"].healthy = True
    assert "fresh check" in await traffic.warm_up("web1", prior)
    await traffic.put_back("web1", prior, no_hold)
    assert (await moving.state("web1")).is_available


async def test_a_server_that_is_checked_more_seldom_than_is_waited_for(
    haproxies: Haproxies, moving_stack: AsyncExitStack
) -> None:
    apps = await haproxies.apps(1)
    moving = Moving([await haproxies.haproxy(address_of(apps, more="inter 30s"))], moving_stack)

    async def checked() -> bool:
        return (await moving.state("web1")).last_check_passed

    await eventually(checked)
    traffic = await moving.traffic(up_seconds=0.5)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    with pytest.raises(FailedError, match=r"L7OK.*the last check passed.*two of them"):
        await traffic.warm_up("web1", prior)


async def test_weights_are_held_one_after_the_other(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(2)
    moving = Moving([await haproxies.haproxy(address_of(apps))], moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic(weights=(5, 25), degradation_seconds=7)
    prior = await traffic.observe("web1")
    held = []

    async def hold(seconds: float, percent: int) -> None:
        state = await moving.state("web1")
        held.append((seconds, percent, state.weight, state.admin))

    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    assert "100 %" in await traffic.put_back("web1", prior, hold)

    assert held == [(7, 5, 5, AdminState.READY), (7, 25, 25, AdminState.READY)]
    assert (await moving.state("web1")).weight == 100


async def test_out_on_both_load_balancers_and_in_on_both(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(2)
    both = [await haproxies.haproxy(address_of(apps), name=name) for name in ("lb1", "lb2")]
    moving = Moving(both, moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic()
    prior = await traffic.observe("web1")

    async def seen() -> list[bool | None]:
        return list((await traffic.in_traffic(["web1", "web2", "web9"], seconds=5)).values())

    assert await seen() == [True, True, False], "web9 is no server of it"
    await traffic.take_out("web1", prior)
    assert [(await moving.state("web1", box)).admin for box in (0, 1)] == [AdminState.MAINT] * 2
    assert await seen() == [False, True, False]
    await traffic.warm_up("web1", prior)
    assert await seen() == [False, True, False], "a passed check alone is no traffic"
    await traffic.put_back("web1", prior, no_hold)
    assert [(await moving.state("web1", box)).status for box in (0, 1)] == ["UP"] * 2
    assert await seen() == [True, True, False]

    await both[1].stop()
    assert await seen() == [None, None, False], "what one of them says is enough for a no"
    with pytest.raises(FailedError) as caught:
        await traffic.take_out("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    said = await traffic.leave_drained("web1")
    assert "left drained on lb1" in said
    assert "could not be drained on lb2" in said


@pytest.mark.parametrize("keep_state", [True, False])
async def test_a_reload_is_noticed_and_the_state_asserted_again(
    haproxies: Haproxies, moving_stack: AsyncExitStack, *, keep_state: bool
) -> None:
    apps = await haproxies.apps(2)
    server = await haproxies.haproxy(address_of(apps), keep_state=keep_state)
    moving = Moving([server], moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic(weights=(10,))
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)

    await server.reload()
    assert ((await moving.state("web1")).admin is AdminState.MAINT) is keep_state
    await traffic.assert_out("web1")
    assert (await moving.state("web1")).admin is AdminState.MAINT

    async def is_in_maint() -> bool:
        return (await moving.state("web1")).admin is AdminState.MAINT

    async with traffic.kept_out("web1"):
        await server.reload()
        await eventually(is_in_maint)

    async def reload(_seconds: float, percent: int) -> None:
        async def serves_again() -> bool:
            state = await moving.state("web1")
            return (state.admin, state.weight) == (AdminState.READY, percent)

        await server.reload()
        await eventually(serves_again)

    await traffic.warm_up("web1", prior)
    await server.reload()
    said = await traffic.put_back("web1", prior, reload)
    assert "reloaded" in said
    state = await moving.state("web1")
    assert (state.admin, state.weight) == (AdminState.READY, 100)


async def test_an_agent_is_silenced_and_woken_again(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    """The agent says ``ready`` all the time, which would end the drain."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready up 100%\n")
        writer.close()

    agent = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        port = agent.sockets[0].getsockname()[1]
        apps = await haproxies.apps(1)
        more = f"agent-check agent-port {port} agent-inter 100ms"
        moving = Moving([await haproxies.haproxy(address_of(apps, more=more))], moving_stack)
        await moving.settled(apps)
        traffic = await moving.traffic()
        prior = await traffic.observe("web1")

        await traffic.take_out("web1", prior)
        state = await moving.state("web1")
        assert (state.admin, state.has_agent, state.agent_enabled) == (AdminState.MAINT, True, False)
        assert "fresh check" in await traffic.warm_up("web1", prior)
        await traffic.put_back("web1", prior, no_hold)
        assert (await moving.state("web1")).agent_enabled
    finally:
        agent.close()
        await agent.wait_closed()


async def test_what_is_refused_before_anything_starts(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(2)
    moving = Moving([await haproxies.haproxy(address_of(apps, more="weight 5"))], moving_stack)
    traffic = await moving.traffic(weights=(10,))

    with pytest.raises(FailedError, match=r"no server web9 \(it has: web1, web2\)") as caught:
        await traffic.check(["web9"])
    assert caught.value.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER
    with pytest.raises(FailedError, match="10 % of the configured weight 5") as caught:
        await traffic.check(["web1"])
    assert caught.value.failure.code is FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO
    await (await moving.traffic(weights=(20,))).check(["web1"])


@pytest.mark.parametrize(
    ("algorithm", "options", "refused"),
    [("static-rr", "", "check"), ("source", "", "drain"), ("source", "hash-type consistent", ""), ("random", "", "")],
)
async def test_algorithms_that_know_only_0_and_100(
    haproxies: Haproxies, moving_stack: AsyncExitStack, algorithm: str, options: str, refused: str
) -> None:
    """HAProxy does not tell a static hash from a consistent one: that is found out while the server is drained."""
    apps = await haproxies.apps(2)
    server = await haproxies.haproxy(address_of(apps), algorithm=algorithm, options=options)
    moving = Moving([server], moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic(weights=(10,))
    prior = await traffic.observe("web1")
    if refused == "check":
        with pytest.raises(FailedError, match="at 0 % and at 100 % only"):
            await traffic.check(["web1"])
        return
    await traffic.check(["web1"])
    if refused == "drain":
        with pytest.raises(FailedError, match="static LB algorithm") as caught:
            await traffic.take_out("web1", prior)
        assert caught.value.failure.code is FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO
        await traffic.restore("web1", prior)
    else:
        await traffic.take_out("web1", prior)
        await traffic.warm_up("web1", prior)
        await traffic.put_back("web1", prior, no_hold)
    state = await moving.state("web1")
    assert (state.admin, state.user_weight) == (AdminState.READY, 100)


async def test_a_server_without_checks_and_one_that_tracks(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(2)
    lines = {
        "web1": f"127.0.0.1:{apps['web1'].port} no-check",
        "web2": f"127.0.0.1:{apps['web2'].port}",
        "web3": f"127.0.0.1:{apps['web2'].port} no-check track shop/web2",
    }
    moving = Moving([await haproxies.haproxy(lines)], moving_stack)
    await moving.settled({"web2": apps["web2"]})
    traffic = await moving.traffic()
    for name, said in (("web1", "the recipe's own health check decides alone"), ("web3", "that it tracks")):
        prior = await traffic.observe(name)
        await traffic.take_out(name, prior)
        assert said in await traffic.warm_up(name, prior)
        await traffic.put_back(name, prior, no_hold)
        assert (await moving.state(name)).is_available


async def test_a_reload_in_mid_drain_gives_the_old_process_its_time(
    haproxies: Haproxies, moving_stack: AsyncExitStack
) -> None:
    """It still has the request, and the new process shows no session: maint and the recipe would come too early."""
    apps = await haproxies.apps(1)
    server = await haproxies.haproxy(address_of(apps))
    moving = Moving([server], moving_stack)
    await moving.settled(apps)
    slow = asyncio.create_task(server.get("/slow"))
    await apps["web1"].slow_began.wait()
    traffic = await moving.traffic(drain_seconds=8)
    prior = await traffic.observe("web1")
    leaving = asyncio.create_task(traffic.take_out("web1", prior))

    async def draining() -> bool:
        return (await moving.state("web1")).admin is AdminState.DRAIN

    async def idle() -> bool:
        state = await moving.state("web1")
        return state.admin is AdminState.DRAIN and state.is_idle

    await eventually(draining)
    await server.reload()
    await eventually(idle)
    assert not leaving.done()
    apps["web1"].release.set()
    assert await slow == (200, "web1")
    assert "its old process had time to finish" in await leaving


async def test_a_slow_start_and_a_backup_server(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    """What HAProxy gives of the weight at first does not matter; a backup that is UP counts as there."""
    apps = await haproxies.apps(2)
    lines = {
        "web1": f"127.0.0.1:{apps['web1'].port} slowstart 30s",
        "web2": f"127.0.0.1:{apps['web2'].port} backup",
    }
    moving = Moving([await haproxies.haproxy(lines)], moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic(weights=(50,), min_available=1)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    await traffic.put_back("web1", prior, no_hold)
    state = await moving.state("web1")
    assert (state.admin, state.user_weight, state.is_available) == (AdminState.READY, 100, True)
    assert state.weight < 100


async def test_capacity_is_what_is_up_now(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(2)
    moving = Moving([await haproxies.haproxy(address_of(apps))], moving_stack)
    await moving.settled(apps)
    traffic = await moving.traffic(min_available=1)
    apps["web2"].healthy = False

    async def down() -> bool:
        return (await moving.state("web2")).status == "DOWN"

    await eventually(down)
    prior = await traffic.observe("web1")
    with pytest.raises(FailedError) as caught:
        await traffic.take_out("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_CAPACITY
    assert (await moving.state("web1")).admin is AdminState.READY

    apps["web2"].healthy = True
    await moving.settled(apps)
    await traffic.take_out("web1", prior)


async def test_what_somebody_else_took_out_is_left_so(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(3)
    server = await haproxies.haproxy(address_of(apps))
    moving = Moving([server], moving_stack)
    await moving.settled(apps)
    orders = {"web1": "state maint", "web2": "state drain", "web3": "weight 0"}
    for name, order in orders.items():
        assert not (await server.ask(f"set server shop/{name} {order}")).strip()
    traffic = await moving.traffic()
    for name in orders:
        before = await moving.state(name)
        prior = await traffic.observe(name)
        assert prior.drained_by_others
        assert "not by it" in await traffic.take_out(name, prior)
        assert (await moving.state(name)).admin is AdminState.MAINT
        await traffic.warm_up(name, prior)
        assert "left as it was" in await traffic.put_back(name, prior, no_hold)
        after = await moving.state(name)
        assert (after.admin, after.user_weight) == (before.admin, before.user_weight)


async def test_a_lost_relay_is_opened_again_once(haproxies: Haproxies, moving_stack: AsyncExitStack) -> None:
    apps = await haproxies.apps(1)
    moving = Moving([await haproxies.haproxy(address_of(apps))], moving_stack)
    traffic = await moving.traffic()
    await traffic.observe("web1")
    assert len(moving.hosts.relays) == 1
    moving.hosts.relays[-1].cut = True

    await traffic.observe("web1")
    assert len(moving.hosts.relays) == 2

    moving.hosts.relays[-1].cut = True
    moving.hosts.refuse = True
    with pytest.raises(FailedError) as caught:
        await traffic.observe("web1")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    moving.hosts.refuse = False
    await traffic.observe("web1")


async def test_a_server_that_the_configuration_disables_is_ready_once_it_was_set_so(
    haproxies: Haproxies, moving_stack: AsyncExitStack
) -> None:
    """HAProxy goes on telling of the configuration in ``srv_admin_state``; that is no maint."""
    apps = await haproxies.apps(1)
    server = await haproxies.haproxy(address_of(apps, more="disabled"))
    moving = Moving([server], moving_stack)
    assert (await moving.state("web1")).admin is AdminState.MAINT
    await server.ask("set server shop/web1 state ready")
    await moving.settled(apps)

    traffic = await moving.traffic()
    prior = await traffic.observe("web1")
    assert not prior.drained_by_others
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    await traffic.put_back("web1", prior, no_hold)
    assert (await moving.state("web1")).is_available
