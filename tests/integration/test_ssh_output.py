"""Large outputs of many hosts go through little memory: whoever has no room waits, and nothing else does."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.ssh_server import Sshd, sshd_running
from tests.integration.ssh_sessions import key, ticket

from vesemir.adapters.ssh.host import SshHost
from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.adapters.ssh.room import OutputRoom
from vesemir.domain.failure import FailedError
from vesemir.domain.step import Command, StepStatus

SIZE = 256 * 1024
PRINTS = Command(("sh", "-c", f"head -c {SIZE + 1000} /dev/zero | tr '\\0' x"), timeout=60)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_running(tmp_path_factory.mktemp("output") / "box") as running:
        yield running


@pytest.fixture
async def hosts(box: Sshd) -> AsyncIterator[SshHosts]:
    async with SshHosts.started(box.settings()) as opened:
        opened._room = OutputRoom(SIZE + 10_000)
        yield opened


async def waits(host: object) -> None:
    assert isinstance(host, SshHost)
    async with asyncio.timeout(20):
        while host._channel._fetching is None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def test_all_of_it_arrives_from_everybody(box: Sshd, hosts: SshHosts) -> None:
    async def one(number: int) -> int:
        async with hosts.open(box.target, ticket(lane=f"output{number}")) as host:
            first = await host.run(key(f"first{number}"), PRINTS)
            host.recorded()
            second = await host.run(key(f"second{number}"), PRINTS)
            assert first.output == second.output == b"x" * SIZE
            assert first.output_bytes == second.output_bytes == SIZE + 1000
            return number

    assert await asyncio.gather(*map(one, range(6))) == list(range(6))
    assert hosts._room.free == SIZE + 10_000


async def test_a_cancel_does_not_wait_for_room(box: Sshd, hosts: SshHosts) -> None:
    assert await hosts._room.take(SIZE) == SIZE
    async with hosts.open(box.target, ticket(lane="cancelled")) as host:
        running = asyncio.create_task(host.run(key("large"), PRINTS))
        await waits(host)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        result = await host.run(key("next"), Command(("echo", "hello")))
        assert (result.status, result.output) == (StepStatus.SUCCEEDED, b"hello\n")
    hosts._room.give_back(SIZE)
    assert hosts._room.free == SIZE + 10_000


async def test_a_connection_that_breaks_while_it_waits_gives_its_place_away(box: Sshd, hosts: SshHosts) -> None:
    assert await hosts._room.take(SIZE) == SIZE
    async with hosts.open(box.target, ticket(lane="broken")) as host:
        running = asyncio.create_task(host.run(key("large"), PRINTS))
        await waits(host)
        assert isinstance(host, SshHost)
        host._connection._transport.abort()  # type: ignore[union-attr]
        with pytest.raises(FailedError):
            await running
    hosts._room.give_back(SIZE)
    assert await hosts._room.take(SIZE + 10_000) == SIZE + 10_000


async def test_a_session_that_is_left_gives_its_room_back(box: Sshd, hosts: SshHosts) -> None:
    async with hosts.open(box.target, ticket(lane="left")) as host:
        await host.run(key("large"), PRINTS)
        assert hosts._room.free < SIZE
    assert hosts._room.free == SIZE + 10_000
