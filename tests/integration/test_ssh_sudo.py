"""Steps under ``sudo -n`` for an ordinary user: with the right and without it, and what root started is ended too."""

import asyncio
import binascii
import hashlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.ssh_server import DEPLOY, Sshd, alive_with, parents, sshd_running
from tests.integration.ssh_sessions import key, needs_root, reachable, shell, ticket, until

from vesemir.adapters.ssh.delivery import installed_program
from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.adapters.ssh.onhost.rules import RULES
from vesemir.adapters.ssh.onhost.wire import HELLO, PROTOCOL, RUN, frame, pack
from vesemir.domain.failure import FailedError, FailureCode, commands_in
from vesemir.domain.step import Command, StepStatus, Trace

pytestmark = needs_root

RIGHT = f"{DEPLOY} ALL=(root) NOPASSWD: ALL\n"
SUPERVISOR = "supervisor.py"
ALLOWED = 'id -un; echo "$VAR_WORD"'


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
    assert commands_in(result.reason) == (f"echo '{DEPLOY} ALL=(root) NOPASSWD: ALL' >> /etc/sudoers.d/vesemir",)
    assert after.exit_status == 0


async def test_sudo_that_wants_a_terminal(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The right is there: another line would change nothing."""
    sudoers = f"{RIGHT}Defaults requiretty\n"
    with sshd_running(reachable(tmp_path_factory) / "tty", user=DEPLOY, sudoers=sudoers) as box:
        async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket()) as host:
            result = await host.run(key(), Command(("true",), sudo=True))

    assert result.reason.startswith("sudo: ")
    assert "you must have a tty" in result.reason
    assert commands_in(result.reason) == (f"echo 'Defaults:{DEPLOY} !requiretty' >> /etc/sudoers.d/vesemir",)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sshd, Path]]:
    """A host with a supervisor of root's and a sudo rule for that file alone; and the file of its rules."""
    folder = reachable(tmp_path_factory)
    file, rules = folder / SUPERVISOR, folder / "supervisor.rules"
    file.write_text(installed_program().replace(RULES, str(rules)))
    file.chmod(0o755)
    rules.write_text(f"script {hashlib.sha256(ALLOWED.encode()).hexdigest()}\ncommand /usr/bin/id -un\n")
    rules.chmod(0o644)
    rule = f"{DEPLOY} ALL=(root) NOPASSWD: {file}\n"
    with sshd_running(folder / "box", user=DEPLOY, sudoers=rule) as running:
        yield running, file


async def test_an_installed_supervisor_does_as_root_what_its_rules_say(strict: tuple[Sshd, Path]) -> None:
    box, file = strict
    script = Command(("sh", "-eu", "-c", ALLOWED, "sh"), {"VAR_WORD": "given"}, sudo=True)
    async with (
        SshHosts.started(box.settings(supervisor=str(file))) as hosts,
        hosts.open(box.target, ticket(lane="strict")) as host,
    ):
        allowed = await host.run(key("script"), script)
        plain = await host.run(key("plain"), Command(("/usr/bin/id", "-un"), sudo=True))
        other = await host.run(key("other"), shell("id -un", sudo=True))
        without = await host.run(key("without"), shell("id -un"))

    assert (allowed.status, allowed.output) == (StepStatus.SUCCEEDED, b"root\ngiven\n"), allowed.reason
    assert plain.output == b"root\n"
    assert (other.status, other.exit_status, other.output) == (StepStatus.FAILED, None, b"")
    assert "does not have the line: script" in other.reason or "neither a script nor" in other.reason
    assert without.output == b"deploy\n"


@pytest.mark.parametrize("role", [PROTOCOL, "nested"])
async def test_under_sudo_it_takes_no_lane_and_so_writes_nothing_as_root(strict: tuple[Sshd, Path], role: str) -> None:
    """Whoever has the login may start it with sudo and say what he likes: neither files of root's nor commands."""
    box, file = strict
    folder = f"/tmp/vesemir-as-root-{uuid.uuid4().hex}"
    hello = [b"lane", b"1", b"1", b"5", b"1", folder.encode(), b"0"]
    order = [b"f", b"s", b"5", b"0", b"", b"4096", b"2", b"/usr/bin/touch", folder.encode()]
    said = frame(HELLO, pack(hello)) + frame(RUN, pack(order)) + frame(HELLO, pack([b"", *hello[1:]]))
    said += frame(RUN, pack(order))
    talk = f"{{ printf %s {binascii.b2a_base64(said, newline=False).decode()} | base64 -d; sleep 1; }}"
    command = shell(f"{talk} | sudo -n {file} abc {role} | tr -c '[:print:]' ' '")
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane=f"try-{role}")) as host:
        result = await host.run(key(), command)
    assert b"state folder is the login user's" in result.output
    assert not os.path.lexists(folder)  # noqa: ASYNC240 - what root wrote would be there now


async def test_a_supervisor_that_was_sent_has_no_right_there(strict: tuple[Sshd, Path]) -> None:
    """The sudo rule is for root's file and for nothing else."""
    box, _ = strict
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane="sent")) as host:
        result = await host.run(key(), Command(("/usr/bin/id", "-un"), sudo=True))
    assert (result.status, result.exit_status) == (StepStatus.FAILED, None)
    assert result.reason.startswith("sudo: ")


async def test_a_host_without_the_file_says_what_to_install(strict: tuple[Sshd, Path]) -> None:
    box, _ = strict
    box.variables["vesemir_supervisor"] = "/nowhere/supervisor.py"
    try:
        with pytest.raises(FailedError, match=r"install share/vesemir/onhost/supervisor\.py") as failed:
            async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket(lane="none")):
                pass
    finally:
        box.variables.clear()
    assert failed.value.failure.code is FailureCode.TARGET_UNSUPPORTED


async def test_an_installed_one_of_another_protocol_is_noticed_before_anything_runs(strict: tuple[Sshd, Path]) -> None:
    box, file = strict
    other = file.with_name("old.py")
    other.write_text(installed_program().replace("PROTOCOL = '1'", "PROTOCOL = '0'"))
    other.chmod(0o755)
    with pytest.raises(FailedError, match=r"speaks protocol 0, and this instance speaks 1; install share") as failed:
        async with (
            SshHosts.started(box.settings(supervisor=str(other))) as hosts,
            hosts.open(box.target, ticket(lane="old")),
        ):
            pass
    assert failed.value.failure.code is FailureCode.TARGET_UNSUPPORTED
