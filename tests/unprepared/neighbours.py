"""What a lab lacks: an artifact server that does not serve, and agents that HAProxy asks about its servers."""

import re
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.patience import until

PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title><p>Please sign in to the artifact store.</html>\n"
SLOW_BYTES = 10_000_000
"""Of which one comes every half second."""


class _Artifacts(BaseHTTPRequestHandler):
    """``/missing`` is 404, ``/page`` a page with status 200, ``/slow`` takes weeks."""

    protocol_version = "HTTP/1.1"
    stopping = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self._answer(200, SLOW_BYTES)
            while not self.stopping.wait(0.5):
                self.wfile.write(b"x")
                self.wfile.flush()
            return
        self._answer(200 if self.path == "/page" else 404, len(PAGE))
        self.wfile.write(PAGE)

    def _answer(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the table is what is printed."""


class _Artifactory(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that went away, which is what becomes of the slow ones."""


@contextmanager
def artifact_server() -> Iterator[str]:
    """Its URL, without a slash at the end."""
    _Artifacts.stopping = threading.Event()
    with _Artifactory(("127.0.0.1", 0), _Artifacts) as server, _serving(server):
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            _Artifacts.stopping.set()


class _Agent(socketserver.BaseRequestHandler):
    """Whom it asks is well."""

    def handle(self) -> None:
        self.request.sendall(b"up\n")


@contextmanager
def agents(lab: Lab) -> Iterator[None]:
    """Each server of the lab's HAProxy has an agent check, as in production; the configuration is loaded anew."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Agent) as server, _serving(server):
        check = f" agent-check agent-addr 127.0.0.1 agent-port {server.server_address[1]} agent-inter 500ms"
        file = lab.folder / "haproxy" / "haproxy.cfg"
        file.write_text(re.sub(r"(default-server .*)", rf"\1{check}", file.read_text()))
        vesemir("lab", "reload", "--dir", str(lab.folder))
        until(lambda: all(each.is_back for each in lab.servers().values()), what="every server is UP with an agent")
        yield


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def service(lab: Lab, box: str, verb: str) -> None:
    """The box's own service manager does it."""
    words: list[str | Path] = [lab.root(box) / "bin" / "systemctl", verb, "shop"]
    subprocess.run(words, check=True, timeout=60)
