"""Steps on a real host: what they get, what comes back, what is remembered."""

import asyncio
import getpass
import uuid
from pathlib import Path

import pytest
from tests.integration.ssh_server import Sshd
from tests.integration.ssh_sessions import hosts, key, server, shell, ticket

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError
from vesemir.domain.step import Command, StepStatus, Trace

__all__ = ["hosts", "server"]

PYTHONS = [*sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python")), Path("/usr/bin/python3")]
AWKWARD = "a'b\"c $(touch /tmp/pwned) `id` \\ ;&|<>*?~#!\n\té\udcff"


async def test_words_and_variables_arrive_as_the_same_bytes(server: Sshd, hosts: SshHosts) -> None:
    command = Command(("sh", "-c", 'printf "%s\\0%s" "$1" "$WORD"', "sh", AWKWARD), environment={"WORD": AWKWARD})
    async with hosts.open(server.target, ticket()) as host:
        result = await host.run(key(), command)

    expected = AWKWARD.encode("utf-8", "surrogateescape")
    assert result.output == expected + b"\0" + expected


async def test_a_step_gets_a_clean_environment_and_nothing_inherited(server: Sshd, hosts: SshHosts) -> None:
    script = 'ls -l /proc/self/fd | grep -c " -> "; readlink /proc/self/fd/0; ps -o sid= -p $$; echo $$; env'
    async with hosts.open(server.target, ticket()) as host:
        lines = (await host.run(key(), shell(script, environment={"MORE": "1"}))).output.decode().splitlines()

    assert int(lines[0]) == 4, "0, 1, 2 and the folder that ls reads"
    assert lines[1] == "/dev/null"
    assert lines[2].strip() == lines[3], "it leads its own session"
    names = {line.partition("=")[0] for line in lines[4:]}
    assert names <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL", "MORE", "PWD", "SHLVL", "_", "OLDPWD"}
    assert "MORE" in names


async def test_the_end_of_a_long_output_is_kept_and_all_of_it_counted(server: Sshd, hosts: SshHosts) -> None:
    async with hosts.open(server.target, ticket()) as host:
        script = "head -c 100000000 /dev/zero; echo the end"
        result = await host.run(key(), shell(script, output_limit=50_000))
        small = await host.run(key(), shell("printf 12345", output_limit=3))

    assert result.status is StepStatus.SUCCEEDED
    assert result.output_bytes == 100_000_008
    assert len(result.output) == 50_000
    assert result.output.endswith(b"\0the end\n")
    assert small.output == b"345"


@pytest.mark.parametrize(
    ("command", "status", "exit_status", "reason"),
    [
        (shell("exit 7"), StepStatus.FAILED, 7, ""),
        (shell("kill -9 $$"), StepStatus.FAILED, None, "signal 9"),
        (Command(("no-such-program",)), StepStatus.FAILED, 127, "no-such-program"),
        (Command(("/etc/passwd",)), StepStatus.FAILED, 126, "Permission denied"),
        (Command(("true",), cwd="/no/such"), StepStatus.FAILED, 127, "/no/such"),
        (Command(("pwd",), cwd="/usr"), StepStatus.SUCCEEDED, 0, ""),
    ],
)
async def test_how_it_ended_is_told(
    server: Sshd, hosts: SshHosts, command: Command, status: StepStatus, exit_status: int | None, reason: str
) -> None:
    async with hosts.open(server.target, ticket()) as host:
        result = await host.run(key(), command)

    assert (result.status, result.exit_status) == (status, exit_status)
    assert reason in result.reason


async def test_leftovers_are_ended_and_counted_and_late_output_is_not_lost(server: Sshd, hosts: SshHosts) -> None:
    mark = uuid.uuid4().hex
    async with hosts.open(server.target, ticket()) as host:
        left = await host.run(key(), shell(f"(sh -c 'sleep 300; : {mark}' &) ; echo begun"))
        late = await host.run(key(), shell("(sleep 0.05; echo late) & echo early"))

    assert (left.output, left.leftovers >= 1, left.ended) == (b"begun\n", True, True)
    assert (late.output, late.leftovers) == (b"early\nlate\n", 0)


async def test_uploads_are_put_in_place_whole_and_private(server: Sshd, hosts: SshHosts, tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    source.write_bytes(b"x" * 1_000_000)
    async with hosts.open(server.target, ticket()) as host:
        first = await host.upload(source, "shop.tar.gz")
        again = await host.write(b"other", "shop.tar.gz")
        seen = await host.run(key(), Command(("stat", "-c", "%a %s", first)))
        with pytest.raises(FailedError) as missing:
            await host.upload(tmp_path / "missing", "x")

    assert first == again == f"{server.state}/incoming/shop.tar.gz"
    assert seen.output == b"600 5\n"
    assert missing.value.failure.code is FailureCode.ARTIFACT_UNAVAILABLE
    assert [path.name for path in (server.state / "incoming").iterdir()] == ["shop.tar.gz"]


async def test_a_question_that_was_given_up_does_not_answer_the_next(server: Sshd, hosts: SshHosts) -> None:
    async with hosts.open(server.target, ticket()) as host:
        for turn in range(5):
            asked = asyncio.create_task(host.trace(key("forgotten")))
            await asyncio.sleep(0)
            asked.cancel()
            result = await host.run(key("asked"), shell(f"echo {turn}"))
            assert result.output == f"{turn}\n".encode()


async def test_a_session_without_a_valid_lease_runs_nothing(server: Sshd, hosts: SshHosts) -> None:
    lease = [True]
    async with hosts.open(server.target, ticket(valid=lambda: lease[0], beat_seconds=60, silence_seconds=90)) as host:
        lease[0] = False
        with pytest.raises(LeaseLostError):
            await host.run(key("unwanted"), Command(("true",)))
        lease[0] = True
        assert (await host.trace(key("unwanted"))).trace is Trace.NEVER


async def test_a_lease_that_ends_in_mid_step_ends_the_step(server: Sshd, hosts: SshHosts) -> None:
    lease = [True]
    async with hosts.open(server.target, ticket(valid=lambda: bool(lease), beat_seconds=0.05)) as host:
        running = asyncio.create_task(host.run(key("long"), Command(("sleep", "60"))))
        asyncio.get_running_loop().call_later(0.3, lease.clear)
        with pytest.raises(LeaseLostError):
            await running
    async with hosts.open(server.target, ticket()) as host:
        assert (await host.trace(key("long"))).trace is Trace.BROKEN_OFF


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parts[-3])
async def test_every_python_from_3_6_on_will_do(server: Sshd, python: Path) -> None:
    if server.user != getpass.getuser() and python.is_relative_to(Path.home()):
        pytest.skip("its folder is closed to other users")
    settings, lane = server.settings(python=str(python)), ticket(lane="pythons")
    async with SshHosts.started(settings) as started, started.open(server.target, lane) as host:
        hello = await host.run(key(), shell("echo hello; sleep 60 &"))
        late = await host.run(key(), shell("trap '' TERM; sleep 60", timeout=0.2))
        trace = await host.trace(key())

    assert (hello.output, hello.leftovers, hello.exit_status) == (b"hello\n", 1, 0)
    assert (late.status, late.ended, trace.trace) == (StepStatus.TIMED_OUT, True, Trace.FINISHED)
