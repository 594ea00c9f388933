"""Dead means dead: whatever a step does, nothing of it outlives its deadline, its session or its instance."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from tests.integration.ssh_server import Sshd, alive_with
from tests.integration.ssh_sessions import hosts, key, server, ticket, until

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError
from vesemir.domain.step import Command, StepStatus, Trace
from vesemir.engine.ports.hosts import Host

__all__ = ["hosts", "server"]

HARD = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
def child():
    os.setsid()
    if os.fork() == 0:
        program = "import signal,time;signal.signal(15,1);time.sleep(600)#" + sys.argv[1]
        os.execve(sys.executable, [sys.executable, "-c", program], {})
    os._exit(0)
for _ in range(3):
    if os.fork() == 0:
        child()
print("up", flush=True)
time.sleep(600)
"""
CHAINS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.time() + 30
for _ in range(%d):
    if os.fork() == 0:
        while time.time() < end:
            if os.fork():
                os._exit(0)
            os.setsid()
        os._exit(0)
time.sleep(600)
"""
"""Each member lives for the moment of one fork, in a session of its own."""


def hard(script: str, mark: str, *, timeout: float = 300) -> Command:
    return Command(("python3", "-c", textwrap.dedent(script), mark), timeout=timeout)


@contextlib.asynccontextmanager
async def running(host: Host, script: str, step: str) -> AsyncIterator[tuple[str, "asyncio.Task[object]"]]:
    """A step that is under way, and the word by which its processes are found."""
    mark = uuid.uuid4().hex
    task: asyncio.Task[object] = asyncio.create_task(host.run(key(step), hard(script, mark)))
    await until(lambda: len(alive_with(mark)) >= (4 if script is HARD else 1))
    try:
        yield mark, task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, FailedError, LeaseLostError):
            await task


@pytest.mark.parametrize("script", [HARD, CHAINS % 1, CHAINS % 6], ids=["hard", "chain", "chains"])
async def test_a_deadline_ends_the_whole_tree(server: Sshd, hosts: SshHosts, script: str) -> None:
    mark = uuid.uuid4().hex
    async with hosts.open(server.target, ticket()) as host:
        result = await host.run(key("late"), hard(script, mark, timeout=0.7))
        assert alive_with(mark) == []
        trace = await host.trace(key("late"))

    assert (result.status, result.exit_status, result.ended) == (StepStatus.TIMED_OUT, None, True)
    assert 0.7 <= result.duration_seconds < 7
    assert trace.result is not None
    assert trace.result.status is StepStatus.TIMED_OUT


async def test_a_cancelled_step_is_dead_when_the_task_ends(server: Sshd, hosts: SshHosts) -> None:
    async with hosts.open(server.target, ticket()) as host, running(host, HARD, "cancelled") as (mark, task):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alive_with(mark) == []
        assert (await host.trace(key("cancelled"))).trace is Trace.BROKEN_OFF
        assert (await host.run(key("next"), Command(("true",)))).status is StepStatus.SUCCEEDED


async def test_a_cut_connection_ends_the_tree(server: Sshd, hosts: SshHosts) -> None:
    async with hosts.open(server.target, ticket()) as host, running(host, HARD, "cut") as (mark, task):
        host._connection._transport.abort()  # type: ignore[attr-defined]
        with pytest.raises(FailedError) as lost:
            await task
        assert lost.value.failure.code is FailureCode.SSH_CONNECTION_LOST
        await until(lambda: not alive_with(mark), seconds=3)
    async with hosts.open(server.target, ticket()) as host:
        assert (await host.trace(key("cut"))).trace is Trace.BROKEN_OFF


async def test_a_stopped_instance_is_missed(server: Sshd) -> None:
    """SIGSTOP keeps the connection open; only the beat tells."""
    mark = uuid.uuid4().hex
    program = (
        "import asyncio, sys\nfrom vesemir.adapters.ssh.hosts import SshHosts\n"
        "from vesemir.settings import SshSettings\n"
        "from vesemir.domain.target import Target\nfrom tests.integration.ssh_sessions import ticket, key\n"
        "from tests.integration.test_ssh_trees import HARD, hard\n"
        "async def main():\n"
        f"    settings = SshSettings.model_validate_json({server.settings().model_dump_json()!r})\n"
        "    async with SshHosts.started(settings) as hosts:\n"
        f"        async with hosts.open({server.target!r}, ticket()) as host:\n"
        f"            await host.run(key('stopped'), hard(HARD, {mark!r}))\n"
        "asyncio.run(main())\n"
    )
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    try:
        await until(lambda: len(alive_with(mark)) > 3)
        client.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        # the client's own command line has the word too
        await until(lambda: set(alive_with(mark)) <= {client.pid}, seconds=5)
        assert time.monotonic() - stopped < 4
    finally:
        client.kill()
        await client.wait()


async def test_orphans_of_a_killed_supervisor_are_found_and_ended_first(server: Sshd, hosts: SshHosts) -> None:
    async with (
        hosts.open(server.target, ticket(lane="shop/orphans")) as host,
        running(host, HARD, "orphaned") as (mark, task),
    ):
        marker = next((server.state / "steps" / "d1").glob("forward.orphaned.1.started")).read_text()
        os.kill(int(marker.split()[5]), signal.SIGKILL)
        with pytest.raises(FailedError):
            await task
        assert alive_with(mark), "they left its session and ignored everything: only the successor can find them"
        async with hosts.open(server.target, ticket(lane="shop/orphans", epoch=2)) as successor:
            assert alive_with(mark) == []
            assert (await successor.trace(key("orphaned"))).trace is Trace.BROKEN_OFF


async def test_a_later_claim_takes_the_lane_over_at_once(server: Sshd, hosts: SshHosts) -> None:
    async with (
        hosts.open(server.target, ticket(lane="shop/taken", epoch=5)) as old,
        running(old, HARD, "taken") as (mark, task),
    ):
        begun = time.monotonic()
        async with hosts.open(server.target, ticket(lane="shop/taken", epoch=6)) as new:
            assert time.monotonic() - begun < 3
            assert alive_with(mark) == []
            assert (await new.trace(key("taken"))).trace is Trace.BROKEN_OFF
            with pytest.raises(LeaseLostError):
                await task
            with pytest.raises(LeaseLostError):
                await old.run(key("more"), Command(("true",)))
    with pytest.raises(LeaseLostError):
        async with hosts.open(server.target, ticket(lane="shop/taken", epoch=5)):
            pass


async def test_a_hanging_older_supervisor_is_ousted(server: Sshd, hosts: SshHosts) -> None:
    lane = "shop/hanging"
    async with hosts.open(server.target, ticket(lane=lane, epoch=7, silence_seconds=60)):
        pid = int((server.state / "lanes" / "shop%2Fhanging.lock").read_text().split()[2])
        os.kill(pid, signal.SIGSTOP)
        async with hosts.open(server.target, ticket(lane=lane, epoch=8, lock_seconds=2)) as new:
            assert (await new.run(key(), Command(("true",)))).exit_status == 0


async def test_one_lane_has_one_session_and_others_are_not_held_up(server: Sshd, hosts: SshHosts) -> None:
    async with hosts.open(server.target, ticket(lane="a/b")):
        with pytest.raises(FailedError) as busy:
            async with hosts.open(server.target, ticket(lane="a/b", lock_seconds=0.3)):
                pass
        async with hosts.open(server.target, ticket(lane="a/c")) as other:
            assert (await other.run(key(), Command(("true",)))).exit_status == 0
    assert busy.value.failure.code is FailureCode.TARGET_BUSY
    async with hosts.open(server.target, ticket(lane="a/b", lock_seconds=0.3)):
        pass
