"""Steps under ``sudo -n`` for an ordinary user: with the right and without it, and what root started is ended too."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest
from tests.integration.ssh_server import DEPLOY, Sshd, alive_with, parents, sshd_running
from tests.integration.ssh_sessions import key, needs_root, reachable, shell, ticket, until

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.step import Command, StepStatus, Trace

pytestmark = needs_root

RIGHT = f"{DEPLOY} ALL=(root) NOPASSWD: ALL\n"


@pytest.fixture(scope="module", params=["", "Defaults use_pty\n"], ids=["pipes", "use_pty"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_running(reachable(tmp_path_factory) / "box", user=DEPLOY, sudoers=request.param + RIGHT) as running:
        yield running


def stubborn(mark: str) -> Command:
    script = "trap '' TERM HUP; echo $$; setsid sh -c \"trap '' TERM; sleep 600; : $1\" & sleep 600"
    return shell(script, mark, sudo=True, timeout=60)


async def test_steps_with_and_without_sudo_follow_each_other(box: Sshd) -> None:
    who = ("id", "-un")
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane="mixed")) as host:
        results = [await host.run(key(f"s{turn}"), Command(who, sudo=turn % 2 == 1)) for turn in range(4)]
        failed = await host.run(key("failed"), shell("echo out; exit 9", sudo=True, output_limit=2))
        trace = await host.trace(key("failed"))
        late = await host.run(key("late"), shell("trap '' TERM; sleep 60 & sleep 60", sudo=True, timeout=0.3))

    assert [result.output for result in results] == [b"deploy\n", b"root\n"] * 2
    assert (failed.status, failed.exit_status, failed.output, failed.output_bytes) == (StepStatus.FAILED, 9, b"t\n", 4)
    assert trace.result is not None
    assert trace.result.exit_status == 9
    assert (late.status, late.ended) == (StepStatus.TIMED_OUT, True)


async def test_a_cancel_ends_what_root_started(box: Sshd) -> None:
    mark = uuid.uuid4().hex
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane="cancel")) as host:
        running = asyncio.create_task(host.run(key("stubborn"), stubborn(mark)))
        await until(lambda: len(alive_with(mark)) > 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert alive_with(mark) == []
        assert (await host.trace(key("stubborn"))).trace is Trace.BROKEN_OFF
        assert (await host.run(key("next"), Command(("true",), sudo=True))).exit_status == 0


async def test_a_cut_connection_ends_what_root_started(box: Sshd) -> None:
    mark = uuid.uuid4().hex
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane="cut")) as host:
        running = asyncio.create_task(host.run(key("stubborn"), stubborn(mark)))
        await until(lambda: len(alive_with(mark)) > 1)
        cut = time.monotonic()
        host._connection._transport.abort()  # type: ignore[attr-defined]
        await asyncio.wait([running])
        assert running.exception() is not None
        await until(lambda: not alive_with(mark))
        assert time.monotonic() - cut < 8


async def test_the_supervisor_under_sudo_is_killed(box: Sshd) -> None:
    """Its step's processes come to the first supervisor, which has sudo end them."""
    mark = uuid.uuid4().hex
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane="killed")) as host:
        running = asyncio.create_task(host.run(key("stubborn"), stubborn(mark)))
        await until(lambda: len(alive_with(mark)) > 1)
        shells = [pid for pid in alive_with(mark) if pid in parents()]
        os.kill(parents()[min(shells)], signal.SIGKILL)
        result = await running
        assert alive_with(mark) == []

    assert (result.status, result.exit_status, result.ended) == (StepStatus.FAILED, None, True)
    assert "was killed" in result.reason


async def test_without_the_right_it_says_which_line_is_missing(tmp_path_factory: pytest.TempPathFactory) -> None:
    with sshd_running(reachable(tmp_path_factory) / "plain", user=DEPLOY) as plain:
        async with SshHosts.started(plain.settings()) as hosts, hosts.open(plain.target, ticket()) as host:
            result = await host.run(key(), Command(("true",), sudo=True))
            after = await host.run(key("after"), Command(("true",)))

    assert (result.status, result.exit_status) == (StepStatus.FAILED, None)
    assert result.reason.startswith("sudo: ")
    assert f"{DEPLOY} ALL=(root) NOPASSWD: ALL" in result.reason
    assert after.exit_status == 0
