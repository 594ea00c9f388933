"""A real HAProxy with a host in two backends, one of which tracks the other, and with empty slots of a template."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

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
from vesemir.domain.traffic_capacity import counted
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.engine.traffic.server_places import find_backends
from vesemir.engine.traffic.traffic import Traffic
from vesemir.settings import HaproxySettings

__all__ = ["haproxies"]

BOTH = ("admin", "shop")


@asynccontextmanager
async def section(_key: str) -> AsyncIterator[None]:
    yield


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def opened(server: HaproxyServer, stack: AsyncExitStack) -> LoadBalancer:
    boxes = HaproxyBoxes(DirectHosts(), HaproxySettings()).open([server.target])  # type: ignore[arg-type]
    return (await stack.enter_async_context(boxes))[0]


async def two_backends(haproxies: Haproxies, stack: AsyncExitStack) -> tuple[LoadBalancer, Mapping[str, TinyApp]]:
    """Backend admin has no checks of its own: its servers track those of shop."""
    apps = await haproxies.apps(2)
    admin = "\n".join(f"    server {name} {line} track shop/{name}" for name, line in address_of(apps).items())
    server = await haproxies.haproxy(address_of(apps), more=f"backend admin\n{admin}\n")
    box = await opened(server, stack)

    async def up() -> bool:
        return all([(await box.servers("shop"))[name].status == "UP" for name in apps])

    await eventually(up)
    return box, apps


async def no_hold(_seconds: float, _percent: int) -> None:
    return


async def states(box: LoadBalancer, name: str) -> list[str]:
    return [(await box.servers(backend))[name].admin.value for backend in BOTH]


async def test_out_of_every_backend_and_back_into_all(haproxies: Haproxies, stack: AsyncExitStack) -> None:
    """Before: only the named one was drained, and the other sent its requests on."""
    box, _ = await two_backends(haproxies, stack)
    found = await find_backends([box], ["web1", "web2"])
    assert found == {"lb1": {"web1": ["admin", "shop"], "web2": ["admin", "shop"]}}
    traffic = Traffic(
        [box],
        TrafficRequest(HostSelector(("lb1",)), ("*",), "{name}", several=True, drain_seconds=5),
        min_available=None,
        capacity_seconds=1,
        up_seconds=10,
        ensure=lambda: None,
        critical=section,
        before=nothing_before(),
        found=found,
    )
    prior = await traffic.observe("web1")
    assert "drained in" in await traffic.take_out("web1", prior)
    assert await states(box, "web1") == ["maint", "maint"]
    with pytest.raises(FailedError) as caught:
        await traffic.take_out("web2", None)
    assert caught.value.failure.code is FailureCode.HAPROXY_CAPACITY, "the last one that is UP stays"
    assert await states(box, "web2") == ["ready", "ready"]

    await traffic.warm_up("web1", prior)
    said = await traffic.put_back("web1", prior, no_hold)
    assert said == "web1 ready at 100 % on lb1/admin, lb1/shop"
    assert await states(box, "web1") == ["ready", "ready"]
    assert all([(await box.servers(backend))["web1"].is_available for backend in BOTH])


async def test_empty_slots_of_a_template_are_no_servers(haproxies: Haproxies, stack: AsyncExitStack) -> None:
    """Before: of 7 servers 4 had to be UP for 50 %, and ``min_available`` 2 of 2 waited for 300 s (template-slots)."""
    apps = await haproxies.apps(2)
    slots = "server-template free 1-3 0.0.0.0:80 disabled\n    server-template named 1-2 nosuch.invalid:80"
    dns = "resolvers none\n    nameserver none 127.0.0.1:1"
    options = f"{slots} resolvers none init-addr none"
    box = await opened(await haproxies.haproxy(address_of(apps), options=options, more=dns), stack)
    view = await box.servers("shop")
    assert len(view) == 7
    assert {name for name, state in view.items() if not state.is_empty_slot} == {"web1", "web2"}
    assert view["named1"].status == "MAINT (resolution)"
    assert counted([view]) == 2

    traffic = Traffic(
        [box],
        TrafficRequest(HostSelector(("lb1",)), ("shop",), "{name}"),
        min_available=Share(2),
        capacity_seconds=1,
        up_seconds=10,
        ensure=lambda: None,
        critical=section,
        before=nothing_before(),
    )
    with pytest.raises(FailedError) as caught:
        await traffic.check(["web1"])
    assert "has 2 that count, of 7: 5 are empty slots" in caught.value.failure.message
