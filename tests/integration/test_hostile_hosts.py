"""Hosts that lie, flood, drip and stay mute: each fails alone, with its own code, in time, and costs little.

The loop's longest turn is measured in processor time, so that a busy machine changes nothing.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.hostile_frames import ESCAPES, STEPS, TRACES, WELCOMES
from tests.integration.hostile_server import RAW
from tests.integration.hostile_sessions import Hostile, hostile_running, watched
from tests.integration.ssh_sessions import key, ticket

from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.adapters.ssh import channel as ssh_channel
from vesemir.adapters.ssh import sftp
from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import EpochRefusedError, FailedError, FailureCode
from vesemir.domain.step import Command, StepResult, StepStatus
from vesemir.settings import HaproxySettings

LOGIN_SECONDS = 1.0
SOON_SECONDS = 30.0
"""Far less than for ever: what a flood costs until it is enough depends on the machine (seen: 4 to 10 s)."""
"""Of the settings here; 20 in production."""
LONGEST_TURN = 0.1
GROWTH_MB = 30.0
TRUE = Command(("true",), timeout=10)
VIOLATED = FailureCode.SSH_PROTOCOL_VIOLATED


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    with hostile_running(tmp_path_factory.mktemp("hostile") / "host") as running:
        asyncio.run(first_login(running))
        yield running


async def first_login(hostile: Hostile) -> None:
    """What a process does once only, such as imports, is not a host's to answer for."""
    async with SshHosts.started(hostile.settings()) as hosts, hosts.open(hostile.target(), ticket(lane="a/b")):
        pass


@pytest.fixture
async def hosts(hostile: Hostile) -> AsyncIterator[SshHosts]:
    async with SshHosts.started(hostile.settings(login_timeout_seconds=LOGIN_SECONDS)) as started:
        yield started


async def outcome(hosts: SshHosts, hostile: Hostile, user: str, *, trace: bool = False) -> StepResult | FailedError:
    """Of a session with one step."""
    try:
        async with hosts.open(hostile.target(user), ticket(lane="a/b")) as host:
            if trace:
                await host.trace(key())
            return await host.run(key(), TRUE)
    except FailedError as error:
        return error


async def failed(hosts: SshHosts, hostile: Hostile, user: str, *, trace: bool = False) -> FailureCode:
    """With what code it ends; also that it does so quickly, cheaply, and leaves nothing behind."""
    gc.collect()
    begun = time.monotonic()
    async with watched() as cost:
        ended = await outcome(hosts, hostile, user, trace=trace)
    assert isinstance(ended, FailedError), ended
    assert time.monotonic() - begun < SOON_SECONDS
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < GROWTH_MB
    assert hosts._room.free == 1024 * 1024
    return ended.failure.code


async def test_an_honest_host_is_served(hosts: SshHosts, hostile: Hostile) -> None:
    ended = await outcome(hosts, hostile, "honest")
    assert isinstance(ended, StepResult)
    assert ended.status is StepStatus.SUCCEEDED
    large = await outcome(hosts, hostile, "honestly")
    assert isinstance(large, StepResult)
    assert large.output == b"x" * 20000


@pytest.mark.parametrize("number", range(len(STEPS)), ids=list(STEPS))
async def test_what_cannot_be_said_of_a_step(hosts: SshHosts, hostile: Hostile, number: int) -> None:
    if list(STEPS)[number] == "two ends":  # the first one is good; the second one meets the next question
        async with hosts.open(hostile.target(f"step-{number}"), ticket(lane="a/b")) as host:
            with pytest.raises(FailedError) as caught:
                await asyncio.gather(host.run(key(), TRUE), host.run(key("again"), TRUE))
        assert caught.value.failure.code is VIOLATED
        return
    assert await failed(hosts, hostile, f"step-{number}") is VIOLATED


@pytest.mark.parametrize("number", range(len(WELCOMES)), ids=list(WELCOMES))
async def test_what_cannot_be_said_of_a_lane(hosts: SshHosts, hostile: Hostile, number: int) -> None:
    assert await failed(hosts, hostile, f"welcome-{number}") is VIOLATED


@pytest.mark.parametrize("number", range(len(TRACES)), ids=list(TRACES))
async def test_what_cannot_be_known_of_a_step(hosts: SshHosts, hostile: Hostile, number: int) -> None:
    assert await failed(hosts, hostile, f"trace-{number}", trace=True) is VIOLATED


@pytest.mark.parametrize(
    ("user", "code"),
    [
        ("flood", VIOLATED),  # output as fast as it can: 4.7 GB in 20 s, once
        ("slowflood", VIOLATED),  # the same in frames of a byte
        ("more", VIOLATED),  # more than was announced
        ("complains", VIOLATED),  # standard error
        ("noise", FailureCode.TARGET_UNSUPPORTED),  # login files
        (
            "drip",
            FailureCode.TARGET_UNSUPPORTED,
        ),  # a greeting's place in packets of a byte: once 45 s
        ("mute", FailureCode.TARGET_UNSUPPORTED),
        ("banners", VIOLATED),  # before the login
        ("hangup", FailureCode.SSH_CONNECTION_LOST),
    ],
)
async def test_a_session_that_never_ends_does(hosts: SshHosts, hostile: Hostile, user: str, code: FailureCode) -> None:
    assert await failed(hosts, hostile, user) is code


@pytest.mark.parametrize("server", list(RAW))
async def test_a_server_that_never_comes_to_a_login(hostile: Hostile, server: str) -> None:
    begun = time.monotonic()
    async with SshHosts.started(hostile.settings(login_timeout_seconds=0.4)) as hosts, watched() as cost:
        with pytest.raises(FailedError) as caught:
            async with hosts.open(hostile.target(port=server), ticket(lane="a/b")):
                pass
    assert caught.value.failure.code is FailureCode.SSH_UNREACHABLE
    assert time.monotonic() - begun < 4 * LOGIN_SECONDS
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < GROWTH_MB


async def test_output_that_is_announced_and_kept_gives_its_room_back(
    hosts: SshHosts, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_channel, "SENDING_SECONDS", 0.2)
    monkeypatch.setattr(ssh_channel, "SENDING_BYTES_PER_SECOND", 1_000_000)
    assert await failed(hosts, hostile, "keeps") is FailureCode.SSH_CONNECTION_LOST


async def test_the_smallest_packets_at_full_speed_cost_a_share_of_the_loop(hosts: SshHosts, hostile: Hostile) -> None:
    """The beat, another host's session and everything else go on."""
    async with (
        watched() as cost,
        hosts.open(hostile.target("ignores"), ticket(lane="a/b")),
    ):
        for _ in range(10):
            assert isinstance(await outcome(hosts, hostile, "honest"), StepResult)
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < GROWTH_MB


async def test_a_host_that_says_our_lease_is_lost_is_not_believed_here(hosts: SshHosts, hostile: Hostile) -> None:
    """The engine asks the record (``engine/target/host_session.py``)."""
    with pytest.raises(EpochRefusedError):
        await outcome(hosts, hostile, "epoch")


async def test_output_with_terminal_controls_is_kept_as_it_is(hosts: SshHosts, hostile: Hostile) -> None:
    """Shown by ``domain/visible.py``, stored as bytes."""
    ended = await outcome(hosts, hostile, "escapes")
    assert isinstance(ended, StepResult)
    assert ended.output == ESCAPES


@pytest.mark.parametrize("user", ["sftp-bytewise", "sftp-endless"])
async def test_sftp_limits_that_lie_change_nothing(hosts: SshHosts, hostile: Hostile, user: str) -> None:
    """A byte for each request would be a million requests; terabytes, the whole file in memory."""
    async with watched() as cost, hosts.open(hostile.target(user), ticket(lane="a/b")) as host:
        async with asyncio.timeout(5):
            assert await host.write(bytes(1_000_000), "file") == "/home/x/.vesemir/incoming/file"
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < GROWTH_MB


async def test_an_sftp_server_that_does_not_go_is_left(
    hosts: SshHosts, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "EXIT_SECONDS", 0.2)
    async with hosts.open(hostile.target("sftp-stays"), ticket(lane="a/b")) as host:
        async with asyncio.timeout(3):
            await host.write(b"content", "file")
        with pytest.raises(FailedError) as caught:
            await host.run(key(), TRUE)
    assert caught.value.failure.code is FailureCode.SSH_CONNECTION_LOST


@pytest.mark.parametrize(
    ("user", "code"),
    [
        ("sftp-garbage", VIOLATED),
        ("sftp-huge", FailureCode.STEP_FAILED),
        ("sftp-wrong-id", FailureCode.STEP_FAILED),
        ("sftp-names", FailureCode.STEP_FAILED),
    ],
)
async def test_sftp_replies_that_lie(hosts: SshHosts, hostile: Hostile, user: str, code: FailureCode) -> None:
    async with watched() as cost, hosts.open(hostile.target(user), ticket(lane="a/b")) as host:
        with pytest.raises(FailedError) as caught:
            async with asyncio.timeout(5):
                await host.write(bytes(1_000_000), "file")
    assert caught.value.failure.code is code
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < GROWTH_MB


@pytest.mark.parametrize("user", ["http-chunks", "http-continues", "http-header", "http-mute"])
async def test_http_answers_without_end(hosts: SshHosts, hostile: Hostile, user: str) -> None:
    begun = time.monotonic()
    async with watched() as cost, hosts.open(hostile.target(user), ticket(lane="a/b")) as host:
        try:
            answer = await host.http_get("http://127.0.0.1:8080/", timeout=0.8)
            assert len(answer.body) <= 64 * 1024
        except (ConnectionError, TimeoutError):
            assert user != "http-continues"
    assert time.monotonic() - begun < 8 * LOGIN_SECONDS
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < GROWTH_MB


@pytest.mark.parametrize("user", ["haproxy-endless", "haproxy-mute"])
async def test_haproxy_replies_without_end(hosts: SshHosts, hostile: Hostile, user: str) -> None:
    boxes = HaproxyBoxes(hosts, HaproxySettings(command_timeout_seconds=0.5))
    begun = time.monotonic()
    async with watched() as cost, boxes.open([hostile.target(user)]) as (box,):
        with pytest.raises(FailedError) as caught:
            await box.process()
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    assert time.monotonic() - begun < 6.0
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < 2 * GROWTH_MB


async def test_healthy_hosts_do_not_notice_the_hostile_ones(hosts: SshHosts, hostile: Hostile) -> None:
    """A small fleet: 12 hosts, 4 of them hostile; ``tox -e hostile`` has the large one."""
    enemies = ["flood", "complains", "banners", "ignores"]

    async with watched() as cost:
        enemy = [asyncio.create_task(outcome(hosts, hostile, user)) for user in enemies]
        honest = await asyncio.gather(*(outcome(hosts, hostile, "honestly") for _ in range(8)))
        ended = await asyncio.gather(*enemy)
    assert all(isinstance(each, StepResult) and each.status is StepStatus.SUCCEEDED for each in honest)
    assert [isinstance(each, FailedError) for each in ended[:3]] == [True] * 3
    assert cost.longest < LONGEST_TURN
    assert cost.grown_mb < 2 * GROWTH_MB
