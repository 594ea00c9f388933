"""HAProxy's runtime sockets through SSH: a path, an address on the box, and the master's, which is another one."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.haproxy_server import Haproxies, HaproxyServer, haproxies
from tests.integration.ssh_server import Sshd, sshd_running

from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.adapters.ssh import SshHosts
from vesemir.adapters.ssh.forwarding import address_of
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import AdminState
from vesemir.settings import HaproxySettings

__all__ = ["haproxies"]

SECONDS = 5.0
"""What an answer may take at most; the master's took all of it."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_running(tmp_path_factory.mktemp("sockets") / "box") as running:
        yield running


@pytest.fixture
async def server(haproxies: Haproxies) -> HaproxyServer:
    app = await haproxies.app("web1")
    return await haproxies.haproxy({"web1": f"127.0.0.1:{app.port}"}, tcp=True)


@pytest.fixture
async def hosts(box: Sshd) -> AsyncIterator[SshHosts]:
    async with SshHosts.started(box.settings()) as hosts:
        yield hosts


@pytest.mark.parametrize("kind", ["path", "address"])
async def test_commands_and_answers(kind: str, server: HaproxyServer, box: Sshd, hosts: SshHosts) -> None:
    """Before: an address was taken for a path, which was not there (case stats-socket-tcp)."""
    socket = str(server.socket) if kind == "path" else server.address
    target = replace(box.target, variables={"haproxy_socket": socket})
    async with HaproxyBoxes(hosts, HaproxySettings(command_timeout_seconds=SECONDS)).open([target]) as (balancer,):
        assert set(await balancer.backends()) == {"shop"}
        await balancer.set_state("shop", "web1", AdminState.DRAIN)
        assert (await balancer.servers("shop"))["web1"].admin is AdminState.DRAIN


async def test_nobody_listens_at_the_address(server: HaproxyServer, box: Sshd, hosts: SshHosts) -> None:
    await server.stop()
    async with hosts.relay(box.target) as relay:
        with pytest.raises(FailedError) as caught:
            await relay.ask(server.address, "show info", timeout=SECONDS)
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    assert server.address in caught.value.failure.message


async def test_the_master_socket_answers_at_once_and_is_named(
    server: HaproxyServer, box: Sshd, hosts: SshHosts
) -> None:
    """Before: "no answer within 10 s", twice, though it answered at once and waited for more (case master-cli)."""
    target = replace(box.target, variables={"haproxy_socket": str(server.master)})
    async with HaproxyBoxes(hosts, HaproxySettings(command_timeout_seconds=SECONDS)).open([target]) as (balancer,):
        with pytest.raises(FailedError) as caught:
            await balancer.servers("shop")
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    assert "answered on its master socket" in caught.value.failure.message


@pytest.mark.parametrize(
    ("socket", "address"),
    [
        ("127.0.0.1:9999", ("127.0.0.1", 9999)),
        ("[::1]:9999", ("::1", 9999)),
        ("lb.example.org:1", ("lb.example.org", 1)),
        ("/run/haproxy/admin.sock", None),
        ("/run/a:99", None),
        ("admin.sock", None),
        ("::1:9999", None),
    ],
)
def test_what_is_an_address(socket: str, address: tuple[str, int] | None) -> None:
    assert address_of(socket) == address


def test_paths_may_have_spaces(tmp_path: Path) -> None:
    assert address_of(str(tmp_path / "a socket:1")) is None
