"""Odd hosts: login shells, homes and an sshd as sites have them. Each works, or says cause and cure in its words."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from tests.integration.ssh_server import DEPLOY, DEPLOY_ID, PYTHON, Account, Sshd, free_port, sshd_running
from tests.integration.ssh_sessions import key, needs_root, reachable, shell, ticket

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError
from vesemir.engine.ports.observe import SilentLog

pytestmark = needs_root

BANNER = "Zugriff nur für Befugte\n".encode("latin-1")
CONTENT = bytes(range(256)) * 3000
"""More than one piece."""
SHIM = '#!/bin/sh\necho "pyenv: python3: command not found" >&2\nexit 127\n'
NOISE = "echo Welcome to this host\n"


@dataclass(frozen=True)
class Odd:
    """``match``: what sshd has for this account; ``refused``: the words of its failure, none where it works."""

    account: Account
    match: str = ""
    login: str = ""
    python: str = PYTHON
    login_seconds: float = 20
    refused: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.account.name


def odd(name: str, *refused: str, login_shell: str = "/bin/bash", mount: str = "", **rest: Any) -> Odd:
    return Odd(Account(name, login_shell, mount), refused=refused, **rest)


HOSTS = (
    odd("dash", login_shell="/bin/sh"),
    odd("rbash", "rbash", "restricted", "login shell", login_shell="/bin/rbash"),
    odd("nologin", "This account is currently not available", "login shell", login_shell="/usr/sbin/nologin"),
    odd("noshell", "sshd's log", "login shell", login_shell="/no/such/shell"),
    odd("noisy", login=NOISE),
    odd("waits", "Enter your code", "login file", login="echo Enter your code:; sleep 60\n", login_seconds=2),
    odd("umask", login="umask 077\n"),
    odd("unmask", login="umask 000\n"),
    odd("forced", match='ForceCommand sh -c "$SSH_ORIGINAL_COMMAND"'),
    odd("elsewhere", "This service allows sftp connections only", "ForceCommand", match="ForceCommand internal-sftp"),
    odd("onesession", match="MaxSessions 1"),
    odd("nosession", "MaxSessions", match="MaxSessions 0"),
    odd("notcp", match="AllowTcpForwarding no"),
    odd("nothing", match="DisableForwarding yes\nMaxSessions 1"),
    odd("banner", match="Banner {folder}/banner"),
    odd("noexec", mount=f"-t tmpfs -o noexec,mode=0700,uid={DEPLOY_ID} tmpfs"),
    odd("readonly", "Read-only file system", ".vesemir", mount=f"-t tmpfs -o ro,mode=0700,uid={DEPLOY_ID} tmpfs"),
    odd("full", "No space left on device", mount=f"-t tmpfs -o size=64k,mode=0700,uid={DEPLOY_ID} tmpfs"),
    odd("fullsession", "No space left on device", match="MaxSessions 1",
        mount=f"-t tmpfs -o size=64k,mode=0700,uid={DEPLOY_ID} tmpfs"),
    odd("nopython", "/no/such/python3", "ssh.python", python="/no/such/python3"),
    odd("shim", "pyenv: python3: command not found", "ssh.python", python="{folder}/shim"),
)  # fmt: skip


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = reachable(tmp_path_factory) / "box"
    matches = [f"Match User {odd.name}\n{odd.match}\n" for odd in HOSTS if odd.match]
    extra = "".join(matches).replace("{folder}", str(folder))
    accounts = [odd.account for odd in HOSTS]
    with sshd_running(folder, user=DEPLOY, extra=extra, accounts=accounts) as running:
        (folder / "banner").write_bytes(BANNER)
        (folder / "shim").write_text(SHIM)
        (folder / "shim").chmod(0o755)
        for odd in HOSTS:
            if odd.login:
                (running.home(odd.account) / ".bashrc").write_text(odd.login)
        yield running


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    """A port that answers over HTTP."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"version": "1.0"}')

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Lines(SilentLog):
    """What was logged, filled in."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, **fields: object) -> None:
        self.lines.append(message.format(**fields))

    warning = info


async def served(box: Sshd, odd: Odd, port: int) -> None:
    """A file, a command, an HTTP and a TCP check, as a deployment does them."""
    python = odd.python.replace("{folder}", str(box.folder))
    settings = box.settings(python=python, login_timeout_seconds=odd.login_seconds)
    async with (
        SshHosts.started(settings) as hosts,
        hosts.open(box.account(odd.account), ticket(silence_seconds=20.0)) as host,
    ):
        path = await host.write(CONTENT, "d1.config")
        result = await host.run(key(), shell('stat -c %a "$1"; cksum < "$1"', path))
        answer = await host.http_get(f"http://127.0.0.1:{port}/health", timeout=5)
        await host.tcp_connect("127.0.0.1", port, timeout=5)
        with pytest.raises(ConnectionError, match="refused"):
            await host.tcp_connect("127.0.0.1", free_port(), timeout=5)
    assert result.output.split()[0] == b"600", result
    assert result.output.split()[2] == str(len(CONTENT)).encode(), result
    assert (answer.status, answer.body) == (200, b'{"version": "1.0"}')


async def problem(box: Sshd, odd: Odd, port: int) -> str | None:
    """What is wrong with how this host is treated."""
    try:
        async with asyncio.timeout(30):
            await served(box, odd, port)
    except FailedError as error:
        text = f"{error.failure.code}: {error.failure.message}"
        missing = [word for word in odd.refused if word not in text]
        return f"{odd.name}: {missing} not in: {text}" if missing or not odd.refused else None
    except Exception as error:  # noqa: BLE001 - all hosts are told of at the end
        return f"{odd.name}: {type(error).__name__}: {error}"
    return f"{odd.name} was served" if odd.refused else None


async def test_an_sftp_server_that_is_not_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It ended in one login a second for 15 minutes. It is logged once, and a file of many pieces arrives whole."""
    log, source = Lines(), reachable(tmp_path_factory) / "file"
    source.write_bytes(CONTENT)
    with sshd_running(source.parent / "box", sftp="/no/such/program") as box:
        async with (
            SshHosts.started(box.settings(), log=log) as hosts,
            hosts.open(box.target, ticket(silence_seconds=20.0)) as host,
        ):
            paths = [await host.upload(source, "d1.artifact"), await host.write(b"", "d1.empty")]
            result = await host.run(key(), shell('cat "$@" | cksum; ls -A "$(dirname "$1")"', *paths))

    assert result.output.split()[1:] == [str(len(CONTENT)).encode(), b"d1.artifact", b"d1.empty"], result
    assert len(log.lines) == 1
    assert "box has no usable SFTP: its server ended" in log.lines[0]
    assert "Subsystem sftp" in log.lines[0]


async def test_each_works_or_names_its_cause(box: Sshd, application: int) -> None:
    problems = await asyncio.gather(*(problem(box, odd, application) for odd in HOSTS))

    assert not (found := [each for each in problems if each]), "\n".join(found)
