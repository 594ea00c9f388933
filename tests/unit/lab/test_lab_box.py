"""The programs of a box, run for real: the application, the service manager and the stand-in for systemctl."""

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vesemir.lab.artifacts import FLAKY_PERCENT, FLAKY_VERSION, release_files
from vesemir.lab.resources import program

PYTHON = str(Path(sys.executable).resolve())
IGNORES_TERM = "#!/bin/sh\ntrap '' TERM\nsleep 600 &\necho $! > child\nwhile :; do wait; done\n"


@dataclass
class Manager:
    folder: Path
    port: int

    @property
    def release(self) -> Path:
        return self.folder / "release"

    def words(self, *words: str) -> list[str]:
        return [PYTHON, "-I", "-S", str(self.folder / "systemctl.py"), str(self.folder / "socket"), "web1", *words]

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), capture_output=True, text=True, timeout=30, check=False)

    def get(self, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def install(self, version: str) -> None:
        for name, (text, mode) in release_files(version).items():
            (self.release / name).write_text(text)
            (self.release / name).chmod(mode)

    def until_open(self, *, wanted: bool) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as trial:
                if (trial.connect_ex(("127.0.0.1", self.port)) == 0) is wanted:
                    return
            time.sleep(0.01)
        pytest.fail(f"the port is {'closed' if wanted else 'open'}")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        made = Manager(tmp_path, trial.getsockname()[1])
    for name in ("services.py", "systemctl.py"):
        (tmp_path / name).write_text(program(name))
    made.release.mkdir()
    made.install("1.0.0")
    environment = {
        "PATH": os.environ["PATH"], "PYTHON": PYTHON, "APPLICATION": "shop", "BOX_NAME": "web1",
        "ADDRESS": "127.0.0.1", "PORT": str(made.port),
    }  # fmt: skip
    service = {
        "box": "web1", "name": "shop", "command": str(made.release / "run"), "folder": str(made.release),
        "environment": environment, "log": str(tmp_path / "log"),
    }  # fmt: skip
    (tmp_path / "services.json").write_text(json.dumps([service]))
    argv = [
        PYTHON,
        "-I",
        "-S",
        str(tmp_path / "services.py"),
        str(tmp_path / "services.json"),
        str(tmp_path / "socket"),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert select.select([child.stdout], [], [], 20)[0]
        assert child.stdout.readline() == b"1 services started\n"
        made.until_open(wanted=True)
        yield made
        child.terminate()
        assert child.wait(20) == 0
    made.until_open(wanted=False)


def test_the_application_tells_who_it_is(manager: Manager) -> None:
    status, body = manager.get()
    assert (status, json.loads(body)) == (200, {"application": "shop", "version": "1.0.0", "box": "web1"})
    assert manager.get("/health")[0] == 200
    assert manager.get("//health")[0] == 200
    assert manager.get("/else")[0] == 404


def test_the_flaky_release_answers_a_tenth_of_its_pages_with_500(manager: Manager) -> None:
    """And its health check is well, so that nothing but its answers tells."""
    manager.install(FLAKY_VERSION)
    assert manager.systemctl("restart", "shop").returncode == 0
    manager.until_open(wanted=True)
    answers = [manager.get() for _ in range(100)]
    assert [status for status, _ in answers].count(500) == FLAKY_PERCENT
    assert {json.loads(body)["version"] for _, body in answers} == {FLAKY_VERSION}
    assert {manager.get("/health")[0] for _ in range(20)} == {200}


def test_a_connection_is_kept_for_the_next_request_and_closed_when_asked(manager: Manager) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := client.recv(4096):
            received += chunk
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert received.count(b"Connection: close") == 1


def test_a_slow_page_takes_its_time_and_keeps_nobody_else_waiting(manager: Manager) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as client:
        began = time.monotonic()
        client.sendall(
            b"GET /slow?seconds=2 HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
        assert manager.get()[0] == 200
        assert select.select([client], [], [], 0)[0] == [], "the slow page is still on its way"
        received = b""
        while chunk := client.recv(4096):
            received += chunk
    assert time.monotonic() - began >= 2
    assert received.index(b'"version": "1.0.0"') < received.index(b"healthy"), "in the order of the requests"
    assert manager.get("/slow?seconds=x")[0] == 200


def test_a_slow_page_is_answered_before_the_application_ends(manager: Manager) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as client:
        client.sendall(b"GET /slow?seconds=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert manager.get()[0] == 200, "the slow request has arrived: a later one was answered"
        assert manager.systemctl("stop", "shop").returncode == 0
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        assert client.recv(4096) == b""


def test_cat_tells_whether_there_is_such_a_service(manager: Manager) -> None:
    known, unknown = manager.systemctl("cat", "shop"), manager.systemctl("cat", "shopp")
    assert (known.returncode, known.stdout.splitlines()[0]) == (0, "# shop.service of web1")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "No files found for shopp.service.\n"


def test_restart_serves_the_release_that_is_there_now(manager: Manager) -> None:
    manager.install("2.0.0")
    assert json.loads(manager.get()[1])["version"] == "1.0.0"
    assert manager.systemctl("restart", "shop.service").returncode == 0
    manager.until_open(wanted=True)
    assert json.loads(manager.get()[1])["version"] == "2.0.0"


def test_a_request_that_is_under_way_is_answered_before_the_application_ends(manager: Manager) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert manager.get()[0] == 200, "the half request has arrived: a later one was answered"
        with subprocess.Popen(
            [
                PYTHON,
                "-I",
                "-S",
                str(manager.folder / "systemctl.py"),
                str(manager.folder / "socket"),
                "web1",
                "stop",
                "shop",
            ]
        ) as stopping:
            manager.until_open(wanted=False)
            client.sendall(b"Host: a\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            assert stopping.wait(20) == 0


def test_a_release_that_ends_at_once_is_failed_though_the_restart_was_not(manager: Manager) -> None:
    manager.install("3.0.0-broken")
    assert manager.systemctl("restart", "shop").returncode == 0, "as with Type=simple"
    deadline = time.monotonic() + 10
    while (state := manager.systemctl("is-active", "shop")).stdout != "failed\n":
        assert time.monotonic() < deadline
    assert state.returncode == 3
    manager.until_open(wanted=False)
    assert "payment gateway" in (manager.folder / "log").read_text()
    assert manager.systemctl("status", "shop").returncode == 3


def test_a_release_that_cannot_be_started_fails_the_restart(manager: Manager) -> None:
    (manager.release / "run").unlink()
    answer = manager.systemctl("restart", "shop")
    assert answer.returncode == 1
    assert "No such file" in answer.stderr


def test_systemctl_exits_as_systemctl_does(manager: Manager) -> None:
    assert manager.systemctl("is-active", "shop").stdout == "active\n"
    assert manager.systemctl("is-active", "--quiet", "shop").stdout == ""
    daemon_reload = manager.systemctl("daemon-reload")
    assert (daemon_reload.returncode, daemon_reload.stdout, daemon_reload.stderr) == (0, "", "")
    assert manager.systemctl("start", "shop").returncode == 0
    assert manager.systemctl("stop", "shop").returncode == 0
    stopped = manager.systemctl("is-active", "shop")
    assert (stopped.returncode, stopped.stdout) == (3, "inactive\n")
    unknown = manager.systemctl("restart", "nothing")
    assert (unknown.returncode, unknown.stderr) == (
        5, "Failed to restart nothing.service: Unit nothing.service not found.\n"
    )  # fmt: skip
    assert manager.systemctl("status", "nothing").returncode == 4
    assert manager.systemctl("frobnicate", "shop").returncode == 1
    assert manager.systemctl().returncode == 1


def test_what_a_service_started_ends_when_its_main_program_does(manager: Manager) -> None:
    (manager.release / "run").write_text(IGNORES_TERM)
    assert manager.systemctl("restart", "shop").returncode == 0
    child = manager.release / "child"
    deadline = time.monotonic() + 10
    while not (child.exists() and child.read_text().strip()):
        assert time.monotonic() < deadline
    pid = int(child.read_text())
    os.kill(pid, 0)
    status = manager.systemctl("status", "shop").stdout
    main = int(status.split("Main PID: ")[1].split()[0])
    os.kill(main, signal.SIGKILL)
    while manager.systemctl("is-active", "shop").stdout != "failed\n":
        assert time.monotonic() < deadline
    ended = Path(f"/proc/{pid}/stat")
    while ended.exists() and ") Z " not in ended.read_text():
        assert time.monotonic() < deadline
