"""A request that hangs in the application of one box, so that its server cannot be drained."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.installed_lab import Lab
from tests.acceptance.patience import until


@contextmanager
def slow_request(lab: Lab, box: str) -> Iterator[None]:
    """Somebody's request hangs in the application of ``box``, which is stopped by a signal meanwhile.

    HAProxy does not check it meanwhile: after three checks without an answer its server would be DOWN.
    """
    (pid,) = _application(lab, box)
    server = f"{lab['backend']}/{box}"
    address = urlsplit(lab["http_url"])
    with ExitStack() as stack:
        lab.haproxy(f"disable health {server}")
        stack.callback(lab.haproxy, f"enable health {server}")
        os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        for _ in lab.names:
            asking = stack.enter_context(socket.create_connection((str(address.hostname), address.port), timeout=20))
            asking.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        until(lambda: lab.sessions(box) > 0, what=f"a request is at {box}")
        yield


def _application(lab: Lab, box: str) -> list[int]:
    """The process that runs in the box's current release."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(lab.app_root(box) / "releases").encode() in b" ".join(words[-2:]):
            found.append(int(folder.name))
    return found
