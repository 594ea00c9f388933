"""A private Chef server for a test run: goiardi in memory, signatures verified, temporary folder, free loopback port.

Import the fixture into a test module: ``from tests.integration.goiardi_server import goiardi_server``. It starts once
per test run (under a second), whichever module asks first. Tests keep apart by the tags of their nodes.
"""

import itertools
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vesemir.adapters.chef.signing import signed_headers

CLIENT = "vesemir"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_WRITERS = 4


@dataclass(slots=True)
class GoiardiServer:
    """One server. ``stop`` and ``start`` may be called again: the address stays, what was in memory is gone."""

    folder: Path
    program: str
    port: int
    _process: subprocess.Popen[bytes] | None = None
    _key: RSAPrivateKey | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client_key(self) -> Path:
        """The key of the client ``vesemir``."""
        return self.folder / "vesemir.pem"

    def start(self) -> None:
        """Returns when it answers and knows the client."""
        self._key = None
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    self.program, "--use-auth", "--ipaddress=127.0.0.1", "--hostname=127.0.0.1", f"--port={self.port}",
                    f"--conf-root={self.folder}", "--disable-webui", "--log-level=warning",
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder, env={}, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "output").read_text(encoding="utf-8", errors="replace")
                self.stop()
                raise RuntimeError(f"goiardi did not start:\n{log[-4000:]}")
            time.sleep(0.05)  # refused until it listens; there is nothing to wait on before that
        made = self.call("POST", "/clients", {"name": CLIENT, "create_key": True})
        self.client_key.write_text(made["private_key"])

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_SECONDS)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """As the server's administrator. Raises ``urllib.error.HTTPError``."""
        if self._key is None:  # reading it takes longer than signing with it
            key = load_pem_private_key((self.folder / "admin.pem").read_bytes(), password=None)
            assert isinstance(key, RSAPrivateKey)
            self._key = key
        content = b"" if body is None else json.dumps(body).encode()
        headers = signed_headers(self._key, method, path, content, client_name="admin", moment=datetime.now(UTC))
        headers |= {"Content-Type": "application/json", "Accept": "application/json"}
        url = f"{self.url}{urllib.parse.quote(path)}"
        request = urllib.request.Request(url, content or None, headers, method=method)  # noqa: S310 -- our own server
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)

    def add(self, *nodes: Mapping[str, Any]) -> None:
        """Nodes as ``node`` makes them; an older one of the same name is replaced."""

        def put(node: Mapping[str, Any]) -> None:
            try:
                self.call("POST", "/nodes", node)
            except urllib.error.HTTPError as error:
                if error.code != 409:  # there already
                    raise
                self.call("PUT", f"/nodes/{node['name']}", node)

        with ThreadPoolExecutor(_WRITERS) as writers:
            list(writers.map(put, nodes))

    def delete(self, *names: str) -> None:
        with ThreadPoolExecutor(_WRITERS) as writers:
            list(writers.map(lambda name: self.call("DELETE", f"/nodes/{name}"), names))

    def _answers(self) -> bool:
        try:
            self.call("GET", "/nodes")
        except (OSError, ValueError):
            return False
        return True


_FIRST_ADDRESS = IPv4Address("127.9.0.0")
_NODES = itertools.count(1)


def node(
    name: str,
    *,
    tags: Sequence[str] = (),
    environment: str = "production",
    roles: Sequence[str] = (),
    recipes: Sequence[str] = (),
    automatic: Mapping[str, Any] | None = None,
    normal: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A node that has just converged, with an address of its own unless ``automatic`` says otherwise."""
    address = str(_FIRST_ADDRESS + next(_NODES))
    own = {"ipaddress": address, "ohai_time": time.time(), "roles": list(roles), "recipes": list(recipes)}
    return {
        "name": name,
        "json_class": "Chef::Node",
        "chef_type": "node",
        "chef_environment": environment,
        "run_list": [],
        "default": {},
        "override": {},
        "normal": {"tags": list(tags), **(normal or {})},
        "automatic": {**own, **(automatic or {})},
    }


def new_server() -> GoiardiServer:
    """Not started. Skips the test if there is no goiardi."""
    program = shutil.which("goiardi", path="/usr/local/bin:/usr/bin:/usr/sbin")
    if program is None:
        pytest.skip("goiardi is not installed (script/bootstrap installs it)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return GoiardiServer(Path(tempfile.mkdtemp(prefix="vesemir-goiardi-")), program, port)


_RUNNING = pytest.StashKey[GoiardiServer]()


@pytest.fixture(scope="session")
def goiardi_server(pytestconfig: pytest.Config) -> Iterator[GoiardiServer]:
    """Running. Started by the first module that asks for it."""
    running = pytestconfig.stash.get(_RUNNING, None)
    if running is not None:
        yield running
        return
    server = new_server()
    try:
        server.start()
        pytestconfig.stash[_RUNNING] = server
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)
