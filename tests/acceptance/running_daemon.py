"""``vesemir run`` as a subprocess, seen from outside: its /health, its exit status, its log."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.installed_lab import COMMAND, SECONDS, own_environment
from tests.acceptance.patience import until
from tests.acceptance.web import get

from vesemir.engine.failpoints import EXIT_STATUS


class Daemon:
    """One instance. ``stop`` is SIGTERM and its exit status."""

    def __init__(self, name: str, port: int, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self._log = log

    def health(self) -> tuple[int, dict[str, Any]]:
        """(status, body); the status is 0 while nobody listens."""
        try:
            return get(f"{self.url}/health")
        except OSError:
            return 0, {}

    def alive(self) -> bool:
        """/health/live, which knows of nothing but the process itself."""
        return get(f"{self.url}/health/live")[0] == 200

    def healthy(self) -> bool:
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log()}"
        return self.health()[0] == 200

    def wait_until_healthy(self) -> None:
        until(self.healthy, what=f"/health of {self.name} is 200")

    def wait_until_unhealthy(self, part: str) -> None:
        """503, and its body says which part is away."""

        def told() -> bool:
            assert self.process.poll() is None, f"the daemon ended:\n{self.log()}"
            status, body = self.health()
            return status == 503 and part in json.dumps(body)

        until(told, what=f"/health of {self.name} is 503 for {part}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """As ``kill -9``; it may not exit with 0 then."""
        self.process.kill()
        self.process.wait(SECONDS)

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]


@contextmanager
def running(
    lab: Mapping[str, Any],
    folder: Path,
    name: str,
    more: Mapping[str, str],
    *,
    healthy: bool = True,
    own_session: bool = False,
) -> Iterator[Daemon]:
    """Started, and healthy unless that is not waited for. At the end SIGTERM, and exit status 0 unless it died.

    ``own_session``: the kernel shares the CPU out between sessions first (sched(7), autogroup).
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"VESEMIR_INSTANCE": name, "VESEMIR_HTTP__PORT": str(port)}
    log = folder / f"{name}-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [COMMAND, "run"],
            env=own_environment(lab["env"] | own | dict(more)),
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=own_session,
        )
    daemon = Daemon(name, port, log, process)
    try:
        if healthy:
            daemon.wait_until_healthy()
        yield daemon
    finally:
        killed = process.poll() in (-signal.SIGKILL, EXIT_STATUS)
        if process.poll() is None:
            daemon.terminate()
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert killed or status == 0, f"{name} ended with {status}:\n{daemon.log()}"
