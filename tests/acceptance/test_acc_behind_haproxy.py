"""Two instances behind ``config/haproxy/vesemir.cfg`` and a real HAProxy: one stops, and no request notices."""

import csv
import shutil
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.acceptance.conftest import StartDaemon
from tests.acceptance.patience import until
from tests.acceptance.running_daemon import Daemon

SHIPPED = Path(__file__).parents[2] / "config" / "haproxy" / "vesemir.cfg"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
TOKEN = "t0ken-of-the-api"
LEAVE_SECONDS = 3.0
BASE = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
"""


class Front:
    """HAProxy with the shipped sections, on a port of its own."""

    def __init__(self, folder: Path, daemons: dict[str, Daemon]) -> None:
        self._socket = folder / "front.sock"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        shipped = SHIPPED.read_text().replace("bind :8080", f"bind {self.url.removeprefix('http://')}")
        for number, name in enumerate(daemons, start=1):
            line = f"server vesemir{number} 192.0.2.2{number}:8080"
            assert line in shipped
            shipped = shipped.replace(line, f"server {name} {daemons[name].url.removeprefix('http://')}")
        file = folder / "front.cfg"
        file.write_text(BASE.format(socket=self._socket) + shipped)
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", file])

    def servers(self) -> dict[str, tuple[str, str]]:
        """Name to status and what kind of answer the last check got."""
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.connect(str(self._socket))
            runtime.sendall(b"show stat -1 4 -1\n")
            text = b"".join(iter(lambda: runtime.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {row["svname"]: (row["status"], row["check_status"]) for row in rows}

    def ready(self) -> bool:
        try:
            return {status for status, _ in self.servers().values()} == {"UP"}
        except OSError:
            return False

    def get(self, path: str, token: str = TOKEN) -> int:
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@contextmanager
def clients(front: Front, *, count: int) -> Iterator[Counter[object]]:
    """They ask without a pause; what they got, by status or error."""
    over = threading.Event()
    answers: Counter[object] = Counter()

    def ask(path: str) -> None:
        while not over.is_set():
            try:
                answers[front.get(path)] += 1
            except OSError as error:
                answers[repr(error)] += 1

    threads = [
        threading.Thread(target=ask, args=(("/api/v1/deployments", "/health")[each % 2],)) for each in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def daemons(daemon: StartDaemon) -> dict[str, Daemon]:
    """The first one is stopped."""
    leave = {"one": LEAVE_SECONDS, "two": 0}
    return {
        name: daemon(name, VESEMIR_HTTP__TOKEN=TOKEN, VESEMIR_HTTP__LEAVE_SECONDS=str(seconds))
        for name, seconds in leave.items()
    }


@pytest.fixture
def front(daemons: dict[str, Daemon], tmp_path: Path) -> Iterator[Front]:
    started = Front(tmp_path, daemons)
    try:
        until(started.ready, what="HAProxy has both instances UP")
        yield started
    finally:
        started.process.terminate()
        started.process.wait(20)


def test_no_request_fails_while_one_of_two_instances_is_stopped(daemons: dict[str, Daemon], front: Front) -> None:
    """It is out of HAProxy before it stops to answer: seen DOWN by its 503 while the process lives."""
    leaving = daemons["one"].process
    with clients(front, count=4) as answers:
        until(lambda: answers[200] > 50, what="requests through HAProxy")
        leaving.send_signal(signal.SIGTERM)
        until(lambda: front.servers()["one"][0] == "DOWN", what="HAProxy has taken it out")
        still_there = leaving.poll() is None
        why = front.servers()["one"][1]
        assert leaving.wait(60) == 0
        seen = answers[200]
        until(lambda: answers[200] > seen + 50, what="requests to the other one")
    assert front.get("/api/v1/deployments", token="wrong") == 401
    assert front.get("/metrics") == 404  # each instance has its own
    print(f"{answers.total()} requests, {answers.total() - answers[200]} failed")  # noqa: T201 - the figure
    assert set(answers) == {200}
    assert still_there
    assert why == "L7STS"  # a status other than 200, not a refused connection
