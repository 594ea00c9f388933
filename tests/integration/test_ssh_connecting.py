"""Connections that fail say which file, user or setting to look at; login files and few slots do no harm."""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import asyncssh
import pytest
from tests.integration.ssh_server import DEPLOY, Sshd, free_port, make_key, sshd_running
from tests.integration.ssh_sessions import key, needs_root, reachable, shell, ticket

from vesemir.adapters.ssh.dialer import Dialer, HostConnection
from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.step import Command
from vesemir.domain.target import Target
from vesemir.settings import SshSettings


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_running(tmp_path_factory.mktemp("connecting") / "box") as running:
        yield running


def public_key(private: Path) -> str:
    return Path(f"{private}.pub").read_text()


async def refusal(settings: SshSettings, target: Target) -> tuple[FailureCode, str]:
    with pytest.raises(FailedError) as failed:
        async with SshHosts.started(settings) as hosts, hosts.open(target, ticket()):
            pass
    return failed.value.failure.code, failed.value.failure.message


@pytest.mark.parametrize(
    ("pinned", "words"),
    [
        ("", ("no line of", "add one for [127.0.0.1]:{port}")),
        ("ssh-ed25519", ("is not the one pinned in", "replace the line")),
        ("ssh-rsa", ("of the kind ssh-rsa, and the host has only ssh-ed25519", "add a line")),
    ],
    ids=["not pinned", "another key", "another kind of key"],
)
async def test_a_wrong_host_key(box: Sshd, tmp_path: Path, pinned: str, words: tuple[str, ...]) -> None:
    known = tmp_path / "known_hosts"
    other = asyncssh.generate_private_key(pinned or "ssh-ed25519").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{box.port} {other}" if pinned else "")
    began = asyncio.get_running_loop().time()
    code, text = await refusal(box.settings(known_hosts=known), box.target)

    assert code is FailureCode.SSH_HOST_KEY_MISMATCH
    assert not [word for word in words if word.format(port=box.port) not in text], text
    assert f"`ssh-keygen -F '[127.0.0.1]:{box.port}' -f {known}`" in text or not pinned
    assert asyncio.get_running_loop().time() - began < 5, "at once, not after the time of a login"


async def test_a_key_that_is_pinned_by_the_hosts_name(box: Sshd, tmp_path: Path) -> None:
    """It decides alone: an address that a host says of itself may be another machine's, whose key is pinned too."""
    own = box.known_hosts.read_text().split(" ", 1)[1]
    other = public_key(make_key(tmp_path / "other"))
    known = tmp_path / "known_hosts"
    settings = box.settings(known_hosts=known)
    known.write_text(f"[127.0.0.1]:{box.port} {own}{box.target.name} {other}")
    code, text = await refusal(settings, box.target)
    assert code is FailureCode.SSH_HOST_KEY_MISMATCH
    assert f"ssh-keygen -F {box.target.name} -f {known}" in text
    known.write_text(f"{box.target.name} {own}")
    async with SshHosts.started(settings) as hosts, hosts.open(box.target, ticket()):
        pass


async def test_a_name_that_leads_elsewhere_than_the_operator_allows(box: Sshd) -> None:
    asked: list[tuple[Target, tuple[str, ...]]] = []

    def refuse(target: Target, addresses: Sequence[str]) -> str | None:
        asked.append((target, tuple(addresses)))
        return "127.0.0.1 is a loopback address" if "127.0.0.1" in addresses else None

    target = replace(box.target, address="localhost")
    async with SshHosts.started(box.settings(), refuse_place=refuse) as hosts:
        with pytest.raises(FailedError, match=r"must not be connected to: 127\.0\.0\.1 is") as caught:
            async with hosts.open(target, ticket()):
                pass
        async with hosts.open(box.target, ticket()):  # an address was looked at before
            pass
    assert caught.value.failure.code is FailureCode.TARGETS_INVALID_ATTRIBUTES
    assert [each for each, _ in asked] == [target]


async def test_a_key_that_the_host_does_not_know(box: Sshd, tmp_path: Path) -> None:
    code, text = await refusal(box.settings(client_key=make_key(tmp_path / "stranger")), box.target)

    assert code is FailureCode.SSH_AUTH_FAILED
    assert str(tmp_path / "stranger") in text
    assert box.user in text


async def test_a_client_key_that_cannot_be_read(box: Sshd, tmp_path: Path) -> None:
    code, text = await refusal(box.settings(client_key=tmp_path / "missing"), box.target)

    assert code is FailureCode.SSH_AUTH_FAILED
    assert str(tmp_path / "missing") in text


@pytest.mark.parametrize("address", ["127.0.0.1", "no-such-name.invalid"])
async def test_nobody_there(box: Sshd, address: str) -> None:
    code, text = await refusal(box.settings(), Target("web7", address, free_port()))

    assert code is FailureCode.SSH_UNREACHABLE
    assert "web7" in text


async def test_an_address_with_a_zone(tmp_path: Path) -> None:
    """As ssh(1) has it; pinned by the address with its zone, or by name."""
    with sshd_running(tmp_path / "box", extra="ListenAddress ::1") as six:
        target = replace(six.target, address="::1%lo")
        known = six.known_hosts.read_text().partition(" ")[2]
        for name in ("box", f"[::1%lo]:{six.port}"):
            six.known_hosts.write_text(f"{name} {known}")
            async with SshHosts.started(six.settings()) as hosts, hosts.login(target, ticket()):
                pass
        code, text = await refusal(six.settings(), replace(target, address="fe80::1%nosuch0"))

    assert code is FailureCode.SSH_UNREACHABLE
    assert "an interface 'nosuch0', which this instance does not have" in text


async def test_a_port_that_accepts_and_says_nothing(box: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        code, text = await refusal(box.settings(login_timeout_seconds=0.5), Target("web7", "127.0.0.1", port))

    assert code is FailureCode.SSH_UNREACHABLE
    assert "0.5 s" in text


async def test_connections_dropped_before_the_login_are_tried_again(box: Sshd) -> None:
    """As sshd's MaxStartups does; a proxy drops the first three."""
    dropped = 0
    relays: list[asyncio.Task[None] | None] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        relays.append(asyncio.current_task())
        if dropped < 3:
            dropped += 1
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", box.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while piece := await source.read(65536):
                sink.write(piece)
            sink.close()

        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
        await asyncio.gather(up_writer.wait_closed(), writer.wait_closed(), return_exceptions=True)

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        known = box.folder / "known_through_proxy"
        known.write_text(box.known_hosts.read_text().replace(f":{box.port} ", f":{port} "))
        through = replace(box.target, port=port)
        async with SshHosts.started(box.settings(known_hosts=known)) as hosts, hosts.login(through, ticket()):
            assert dropped == 3
        await asyncio.wait([task for task in relays if task is not None])


@pytest.mark.parametrize("last_words", [b"", b"Not allowed at this time\r\n"])
async def test_a_host_that_always_drops_is_unreachable_in_the_end(box: Sshd, last_words: bytes) -> None:
    """OpenSSH says why before its version, for instance of its ``PerSourcePenalties``."""

    def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(last_words)
        writer.close()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as rude:
        port = rude.sockets[0].getsockname()[1]
        code, text = await refusal(box.settings(login_timeout_seconds=1), Target("web7", "127.0.0.1", port))

    assert code is FailureCode.SSH_UNREACHABLE
    assert "MaxStartups" in text
    assert text.endswith("it says: Not allowed at this time" if last_words else "and its log")


async def test_handshakes_and_sessions_are_limited(box: Sshd) -> None:
    """Three sessions through one slot each: they follow each other."""
    async with SshHosts.started(box.settings(max_handshakes=1, max_sessions=1)) as hosts:
        inside, most = 0, 0

        async def one(number: int) -> None:
            nonlocal inside, most
            async with hosts.open(box.target, ticket(lane=f"lane/{number}")) as host:
                inside += 1
                most = max(most, inside)
                await host.run(key(), Command(("true",)))
                inside -= 1

        await asyncio.gather(one(1), one(2), one(3))
    assert most == 1


async def test_known_hosts_are_read_again_when_they_change(box: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    async with SshHosts.started(box.settings(known_hosts=known)) as hosts:
        with pytest.raises(FailedError):
            async with hosts.login(box.target, ticket()):
                pass
        known.write_text(box.known_hosts.read_text())
        os.utime(known, (1, 1))
        async with hosts.login(box.target, ticket()):
            pass


@pytest.mark.parametrize("python", ["/no/such/python3", "/bin/true"])
async def test_a_host_without_python(box: Sshd, python: str) -> None:
    code, text = await refusal(box.settings(python=python), box.target)

    assert code is FailureCode.TARGET_UNSUPPORTED
    assert "Python 3.6 or later" in text


async def test_a_state_folder_that_cannot_be_written(box: Sshd) -> None:
    target = replace(box.target, variables={"vesemir_state_dir": "/proc/no/such"})
    code, text = await refusal(box.settings(), target)

    assert code is FailureCode.TARGET_UNSUPPORTED
    assert "/proc/no" in text


@needs_root
async def test_login_files_may_print_and_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """bash reads ~/.bashrc for every command of sshd's."""
    with sshd_running(reachable(tmp_path_factory) / "noisy", user=DEPLOY) as noisy:
        (noisy.folder / "login" / ".bashrc").write_text(
            "echo Welcome; head -c 200000 /dev/zero; printf '\\0vesemir-supervisor '; read -t 0.2 word; echo again\n"
        )
        async with SshHosts.started(noisy.settings()) as hosts, hosts.open(noisy.target, ticket()) as host:
            assert (await host.run(key(), shell("echo clean"))).output == b"clean\n"


async def test_http_tcp_and_sockets_through_the_host(box: Sshd, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readline()).decode()
        writer.write(f"HTTP/1.1 418 Teapot\r\nContent-Length: {len(asked)}\r\n\r\n{asked}".encode())
        writer.close()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readline())
        writer.close()

    path = str(tmp_path / "admin.sock")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web, await asyncio.start_unix_server(say, path):
        port = web.sockets[0].getsockname()[1]
        async with SshHosts.started(box.settings()) as hosts:
            async with hosts.open(box.target, ticket(lane="forwarding")) as host:
                got = await host.http_get(f"http://127.0.0.1:{port}/a?b=c", timeout=5)
                await host.tcp_connect("127.0.0.1", port, timeout=5)
            async with hosts.relay(box.target) as relay:
                answers = [await relay.ask(path, f"show {word}", timeout=5) for word in ("info", "stat")]

    assert (got.status, got.body) == (418, b"GET /a?b=c HTTP/1.1\r\n")
    assert answers == ["heard show info\n", "heard show stat\n"]


async def test_a_silent_server_behind_the_host_runs_out_of_time(box: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silently = ticket(lane="silent")
        async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, silently) as host:
            with pytest.raises(TimeoutError):
                await host.http_get(f"http://127.0.0.1:{port}/", timeout=0.3)


class CountingServer(asyncssh.SSHServer):
    """Knows one key, and how often it was asked about any."""

    asked: ClassVar[list[str]] = []
    known: ClassVar[str] = ""

    def begin_auth(self, username: str) -> bool:
        self.asked.append(username)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        del username
        self.asked.append(key.get_algorithm())
        return key.export_public_key().decode().split()[1] == self.known


@pytest.mark.parametrize("known", [True, False])
async def test_a_key_is_offered_once_and_signed(tmp_path: Path, *, known: bool) -> None:
    """Each question more is a wait for the host more."""
    CountingServer.asked = []
    mine = public_key(make_key(tmp_path / "mine")).split()[1]
    CountingServer.known = mine if known else ""
    host_key = make_key(tmp_path / "host")
    keys = [str(host_key)]
    async with await asyncssh.listen("127.0.0.1", 0, server_factory=CountingServer, server_host_keys=keys) as at:
        port = at.get_port()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {public_key(host_key)}")
        settings = SshSettings(user="deploy", client_key=tmp_path / "mine", known_hosts=tmp_path / "known_hosts")
        async with Dialer.started(settings) as dialer:
            if known:
                async with dialer.connection(Target("a", "127.0.0.1", port)):
                    pass
            else:
                with pytest.raises(FailedError) as failed:
                    await dialer.dial(Target("a", "127.0.0.1", port))
                assert failed.value.failure.code is FailureCode.SSH_AUTH_FAILED
    assert CountingServer.asked == ["deploy", "ssh-ed25519"]


@pytest.mark.parametrize("offered", ["mlkem768x25519-sha256", "curve25519-sha256"])
async def test_post_quantum_key_exchange_where_both_sides_have_it(tmp_path: Path, offered: str) -> None:
    """OpenSSH has it from 9.9 on; what is older has the other one."""
    CountingServer.known = public_key(make_key(tmp_path / "mine")).split()[1]
    host_key = make_key(tmp_path / "host")
    async with await asyncssh.listen(
        "127.0.0.1", 0, server_factory=CountingServer, server_host_keys=[str(host_key)], kex_algs=[offered]
    ) as at:
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{at.get_port()} {public_key(host_key)}")
        settings = SshSettings(user="deploy", client_key=tmp_path / "mine", known_hosts=tmp_path / "known_hosts")
        target = Target("a", "127.0.0.1", at.get_port())
        async with Dialer.started(settings) as dialer, dialer.connection(target) as connection:
            assert connection.logged_in


async def test_what_a_session_waits_for_is_acknowledged_at_once(box: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is open: from then on sshd waits for nothing (it sets TCP_NODELAY)."""
    eager: list[bool] = []
    received = HostConnection.data_received

    def noted(self: HostConnection, data: bytes, datatype: int | None = None) -> None:
        eager.append(self.eager)
        received(self, data, datatype)

    monkeypatch.setattr(HostConnection, "data_received", noted)
    async with SshHosts.started(box.settings()) as hosts, hosts.open(box.target, ticket()) as host:
        await host.run(key("quick"), shell("true"))
    assert eager == sorted(eager, reverse=True)
    assert {True, False} == set(eager)
