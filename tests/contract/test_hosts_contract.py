"""What the engine may rely on from any ``Hosts``: the fake in memory and the real adapter over sshd answer alike."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.hosts import HANGS, FakeHosts, failed
from tests.integration.ssh_server import Sshd, sshd_running
from tests.integration.ssh_sessions import key, ticket

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError
from vesemir.domain.step import Command, StepStatus, Trace
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Hosts

SUCCEEDS = Command(("true",))
FAILS = Command(("sh", "-c", "echo oh; exit 3"))
GOES_ON = Command(("sleep", "60"))


@dataclass
class World:
    hosts: Hosts
    target: Target


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_running(tmp_path_factory.mktemp("contract") / "box") as running:
        yield running


@pytest.fixture(params=["fake", "ssh"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        fake = FakeHosts(steps={"fails": failed(3, b"oh\n"), "goes-on": HANGS})
        yield World(fake, Target("box", "127.0.0.1"))
        return
    box: Sshd = request.getfixturevalue("box")
    async with SshHosts.started(box.settings()) as hosts:
        yield World(hosts, box.target)


def lane(request: pytest.FixtureRequest) -> str:
    """One for each test: the box keeps what it has seen."""
    return f"shop/{request.node.name}"


async def test_a_step_leaves_a_trace(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request))) as host:
        before = await host.trace(key("succeeds"))
        result = await host.run(key("succeeds"), SUCCEEDS)
        failure = await host.run(key("fails"), FAILS)
        after = await host.trace(key("fails"))
        other_try = await host.trace(key("fails", 2))

    assert before.trace is Trace.NEVER
    assert (result.status, result.exit_status) == (StepStatus.SUCCEEDED, 0)
    assert (failure.status, failure.exit_status, failure.output) == (StepStatus.FAILED, 3, b"oh\n")
    assert after.trace is Trace.FINISHED
    assert after.result is not None
    assert (after.result.status, after.result.exit_status, after.result.output) == (StepStatus.FAILED, 3, b"")
    assert other_try.trace is Trace.NEVER


async def test_a_step_runs_out_of_time(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request))) as host:
        result = await host.run(key("goes-on"), Command(GOES_ON.argv, timeout=0.2))
        trace = await host.trace(key("goes-on"))

    assert (result.status, result.exit_status) == (StepStatus.TIMED_OUT, None)
    assert trace.trace is Trace.FINISHED


async def test_a_cancelled_step_broke_off_and_the_session_goes_on(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request))) as host:
        running = asyncio.create_task(host.run(key("goes-on", 7), GOES_ON))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await host.run(key("succeeds"), SUCCEEDS)).exit_status == 0


async def test_a_lower_epoch_is_refused(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request), epoch=9)):
        pass
    with pytest.raises(LeaseLostError):
        async with world.hosts.open(world.target, ticket(lane=lane(request), epoch=8)):
            pass


async def test_a_higher_epoch_takes_over(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request), epoch=1)) as old:
        running = asyncio.create_task(old.run(key("goes-on", 8), GOES_ON))
        await asyncio.sleep(0)
        async with world.hosts.open(world.target, ticket(lane=lane(request), epoch=2)) as new:
            with pytest.raises(LeaseLostError):
                await running
            assert (await new.trace(key("goes-on", 8))).trace in {Trace.BROKEN_OFF, Trace.NEVER}
            assert (await new.run(key("succeeds"), SUCCEEDS)).exit_status == 0


async def test_a_lane_that_is_worked_on_is_busy(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request))):
        with pytest.raises(FailedError) as busy:
            async with world.hosts.open(world.target, ticket(lane=lane(request), lock_seconds=0.2)):
                pass
    assert busy.value.failure.code is FailureCode.TARGET_BUSY


async def test_without_a_valid_lease_nothing_is_run(world: World, request: pytest.FixtureRequest) -> None:
    valid = [True]
    quiet = ticket(lane=lane(request), valid=lambda: valid[0], beat_seconds=60, silence_seconds=90)
    async with world.hosts.open(world.target, quiet) as host:
        valid[0] = False
        with pytest.raises(LeaseLostError):
            await host.run(key("succeeds", 5), SUCCEEDS)
        valid[0] = True
        assert (await host.trace(key("succeeds", 5))).trace is Trace.NEVER


async def test_files_and_forwarded_connections(world: World, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with world.hosts.open(world.target, ticket(lane=lane(request))) as host:
        path = await host.write(b"content", "file")
        with pytest.raises(FailedError) as missing:
            await host.upload(tmp_path / "missing", "file")
        with pytest.raises(ConnectionError):
            await host.tcp_connect("127.0.0.1", 1, timeout=5)
        with pytest.raises(ConnectionError):
            await host.http_get("http://127.0.0.1:1/", timeout=5)

    assert path.startswith("/")
    assert path.endswith("/incoming/file")
    assert missing.value.failure.code is FailureCode.ARTIFACT_UNAVAILABLE


async def test_a_login_leaves_nothing_behind(world: World, request: pytest.FixtureRequest) -> None:
    async with world.hosts.login(world.target, ticket(lane=lane(request), epoch=3)) as look:
        done = await look.run(key("succeeds", 9), SUCCEEDS)
        failure = await look.run(key("fails", 9), FAILS)
        await look.try_sftp()
        await look.try_forwarding("127.0.0.1", 1)
    async with world.hosts.open(world.target, ticket(lane=lane(request), epoch=2)) as host:
        trace = await host.trace(key("fails", 9))

    assert (done.status, failure.exit_status, failure.output) == (StepStatus.SUCCEEDED, 3, b"oh\n")
    assert trace.trace is Trace.NEVER  # and a lower epoch is still welcome: nothing was left there


async def test_relay(world: World) -> None:
    async with world.hosts.relay(world.target) as relay:
        with pytest.raises(FailedError) as nobody:
            await relay.ask("/no/such.sock", "show info", timeout=5)
    assert nobody.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
