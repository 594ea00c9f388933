"""The three alerts of issue 6, provoked in a lab: CPU without work, a queue that grows, a server left drained."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.installed_lab import Held, Lab
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import Daemon
from tests.alerting.prometheus import Prometheus

CPU, QUEUE, NOT_CLAIMED, DRAINED = (
    "VesemirCpuHigh",
    "VesemirQueueGrowing",
    "VesemirDeploymentsNotClaimed",
    "VesemirServersLeftDrained",
)
PROVOKED = (CPU, QUEUE, NOT_CLAIMED, DRAINED)
ON_THEIR_WAY = 50
STATUS_LINE = b"HTTP/1.1 200 "
PATIENCE_SECONDS = 150.0
ONE_MORE_SECONDS = 1.0
EAGER = -15
"""Nice value of the instance whose CPU is to be used up: other tests want the machine's cores at the same time."""


@contextmanager
def flooded(daemon: Daemon) -> Iterator[None]:
    """Somebody reads its /metrics in a loop, as fast as it answers: work for the instance, and no deployment.

    Whatever else the machine does, the instance comes first, as far as this account may say so: its CPU is what counts.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, daemon.process.pid, EAGER)
        Path(f"/proc/{daemon.process.pid}/autogroup").write_text(str(EAGER))
    enough = threading.Event()
    asker = threading.Thread(target=_ask, args=(daemon.url, enough), name="asker")
    asker.start()
    try:
        yield
    finally:
        enough.set()
        asker.join()


def _ask(url: str, enough: threading.Event) -> None:
    """Many requests on their way at any time (RFC 9112, section 9.3.2), so that the instance never waits for us."""
    place = urlsplit(url)
    request = f"GET /metrics HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    with socket.create_connection((str(place.hostname), place.port), timeout=30) as connection:
        connection.sendall(request * ON_THEIR_WAY)
        kept = b""
        while not enough.is_set():
            kept += connection.recv(1024 * 1024)
            answered = kept.count(STATUS_LINE)
            connection.sendall(request * answered)
            kept = kept[-len(STATUS_LINE) + 1 :]


class Queue:
    """Deployments that do not end before they are told to, each in a lane of its own: soon every instance is full."""

    def __init__(self, lab: Lab, requester: Requester) -> None:
        self._lab = lab
        self._requester = requester
        self._held = Held(lab)
        self._names: list[str] = []
        self._sent = 0.0

    def grow(self) -> None:
        """By one, unless the last one came just now."""
        now = time.monotonic()
        if now - self._sent < ONE_MORE_SECONDS:
            return
        self._sent = now
        event = self._lab.script(self._held.script, self._lab.names[0])
        self._requester.publish(event)
        self._names.append(event["deployment_id"])

    def let_go(self) -> None:
        """All of them end well, and each requester is told."""
        self._held.let_go(self._lab.names[0])
        for name in self._names:
            assert self._requester.finished(name, seconds=PATIENCE_SECONDS)["status"] == "succeeded"


def provoke(
    lab: Lab,
    requester: Requester,
    daemons: list[Daemon],
    watching: Prometheus,
    tell: Callable[[str], None] = lambda _text: None,
) -> set[str]:
    """Each cause until its alert fires; the names of all that fired. ``tell`` hears of each (its summary) at once.

    In the end the server that was left drained is set ready by hand, and its alert goes by itself.
    """
    box = lab.names[-1]
    broken = lab.event("3.0.0-broken", targets={"hosts": [box]})
    requester.publish(broken)
    queue, fired = Queue(lab, requester), set[str]()

    def wait(*names: str) -> None:
        def all_fired() -> bool:
            for name, alert in watching.alerts().items():
                if name not in fired:
                    fired.add(name)
                    tell(f"fired: {name}: {alert['annotations']['summary']}")
            if QUEUE not in fired:
                queue.grow()
            return set(names) <= fired

        requester.wait(all_fired, f"firing: {names}", PATIENCE_SECONDS)

    try:
        with flooded(daemons[-1]):
            wait(CPU)
        wait(*PROVOKED)
        result = requester.finished(broken["deployment_id"])
        assert (result["status"], lab.servers()[box].is_drained) == ("failed", True), result
        lab.haproxy(f"set server {lab['backend']}/{box} state ready")
    finally:
        queue.let_go()
    requester.wait(lambda: DRAINED not in watching.alerts(), "an end of the alert once it is ready", PATIENCE_SECONDS)
    tell(f"ended by itself, once the server was set ready by hand: {DRAINED}")
    return fired
