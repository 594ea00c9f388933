"""The daemon as a service manager sees it: its notify socket, SIGABRT of the watchdog, SIGTERM. No server is needed."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.ssh_server import free_port, make_key

COMMAND = str(Path(sys.executable).with_name("vesemir"))
SECONDS = 30


class Watched:
    """A daemon whose broker and database are away, and what it says to systemd."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.heard: list[str] = []
        self.port = free_port()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.errors = folder / "stderr"
        own = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": "400000",
            "VESEMIR_HTTP__PORT": str(self.port),
            "VESEMIR_AMQP__URL": f"amqp://127.0.0.1:{free_port()}/",
            "VESEMIR_POSTGRES__DSN": f"postgresql://vesemir@127.0.0.1:{free_port()}/vesemir",
            "VESEMIR_CONFIG": str(folder / "vesemir.toml"),
            "CREDENTIALS_DIRECTORY": str(folder),
        }
        (folder / "vesemir.toml").write_text(
            '[ssh]\nclient_key = "${CREDENTIALS_DIRECTORY}/ssh_key"\n'
            'known_hosts = "${CREDENTIALS_DIRECTORY}/ssh_key.pub"\n'
        )
        make_key(folder / "ssh_key")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [COMMAND, "run"], env={**os.environ, **own, **more}, stdout=subprocess.DEVNULL, stderr=errors
            )

    def until(self, line: str) -> None:
        """Hear on until it said that."""
        self._hear(lambda: any(line in each for each in self.heard), what=line)

    def silent_for(self, seconds: float) -> None:
        """Until nothing was said for so long."""
        while select.select([self._socket], [], [], seconds)[0]:
            self._socket.recv(4096)

    def _hear(self, done: Callable[[], bool], *, what: str) -> None:
        limit = time.monotonic() + SECONDS
        while not done():
            assert select.select([self._socket], [], [], limit - time.monotonic())[0], (
                f"not heard: {what}; {self.heard}"
            )
            self.heard += self._socket.recv(4096).decode().splitlines()

    def health(self) -> dict[str, Any] | None:
        """The body, or None when nobody listens any more."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except OSError:
            return None

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def one(**more: str) -> Watched:
        started.append(Watched(tmp_path, **more))
        return started[-1]

    yield one
    for each in started:
        each.close()


def test_it_is_ready_and_waits_where_broker_and_database_are_away(start: Callable[..., Watched]) -> None:
    """No exit, so no loop of restarts; the status says what it waits for."""
    daemon = start()
    daemon.until("READY=1")
    daemon.until("WATCHDOG=1")
    daemon.until("STATUS=waits for database")
    daemon.process.terminate()
    daemon.until("STOPPING=1")
    (extended,) = (each for each in daemon.heard if each.startswith("EXTEND_TIMEOUT_USEC="))
    assert int(extended.partition("=")[2]) >= 20_000_000
    assert daemon.process.wait(SECONDS) == 0


def test_a_blocked_loop_feeds_no_watchdog_and_says_where_it_was(start: Callable[..., Watched], tmp_path: Path) -> None:
    """What systemd then does: SIGABRT. The journal gets the place."""
    daemon = start(
        VESEMIR_FAILPOINT="loop.turn",
        VESEMIR_FAILPOINT_ONCE=str(tmp_path / "now"),
        VESEMIR_FAILPOINT_DEED="block",
    )
    daemon.until("WATCHDOG=1")
    (tmp_path / "now").touch()
    daemon.silent_for(3 * 0.4)
    assert not (tmp_path / "now").exists()
    assert daemon.process.poll() is None
    daemon.process.send_signal(signal.SIGABRT)
    assert daemon.process.wait(SECONDS) == -signal.SIGABRT
    assert "failpoints.py" in daemon.errors.read_text()


def test_health_says_503_before_it_goes(start: Callable[..., Watched]) -> None:
    """For ``http.leave_seconds``: what a load balancer in front needs to notice it."""
    daemon = start(VESEMIR_HTTP__LEAVE_SECONDS="1.5")
    daemon.until("READY=1")
    began = time.monotonic()
    daemon.process.terminate()
    daemon.until("STOPPING=1")
    body = daemon.health()
    assert body is not None
    assert body["draining"] is True
    while daemon.health() is not None:
        assert time.monotonic() - began < SECONDS
    assert time.monotonic() - began >= 1.5
    assert daemon.process.wait(SECONDS) == 0


def test_a_second_sigterm_does_not_wait(start: Callable[..., Watched]) -> None:
    daemon = start(VESEMIR_HTTP__LEAVE_SECONDS="600")
    daemon.until("READY=1")
    daemon.process.terminate()
    daemon.until("STOPPING=1")
    daemon.process.terminate()
    assert daemon.process.wait(SECONDS) == 0


def test_sighup_reads_files_again_and_systemd_hears_when_it_is_done(
    start: Callable[..., Watched], tmp_path: Path
) -> None:
    """It ended an instance with 129, and a server in work stayed out of traffic until its lease ended."""
    policy, inventory = tmp_path / "policy.toml", tmp_path / "inventory.toml"
    policy.write_text("")
    inventory.write_text('[hosts.a]\naddress = "192.0.2.1"\n')
    daemon = start(VESEMIR_POLICY__FILE=str(policy), VESEMIR_INVENTORY__FILE=str(inventory))
    daemon.until("READY=1")
    for file in (policy, inventory, tmp_path / "ssh_key"):
        file.write_text("nonsense here\n")
    began = time.monotonic_ns() // 1000
    daemon.heard.clear()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("STATUS=reloaded; reload 1: ")
    signs = [line.partition("=") for line in daemon.heard if not line.startswith(("STATUS", "WATCHDOG"))]
    assert [name for name, _, _ in signs] == ["RELOADING", "MONOTONIC_USEC", "READY"]
    assert began <= int(signs[1][2]) <= time.monotonic_ns() // 1000
    body = daemon.health()
    assert body is not None
    assert [body["parts"][part]["state"] for part in ("policy", "inventory", "ssh", "recipes")] == [*["down"] * 3, "up"]
    assert "inventory.toml" in body["parts"]["inventory"]["detail"]
    (answer,) = (line for line in daemon.heard if line.startswith("STATUS=reloaded"))
    assert f"inventory stays as it was: {inventory}" in answer
    daemon.until("; reload 1: policy stays as it was")  # what it does, and the answer behind it
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("STATUS=reloaded; reload 2: ")
    assert daemon.process.poll() is None
