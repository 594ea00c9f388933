"""A private RabbitMQ for a test run: temporary folder, own epmd, free loopback ports, own cookie, no plugins.

Import the fixture into a test module: ``from tests.integration.rabbit_server import rabbit_server``. It starts once per
test run (about 10 s), whichever module asks first. As root it runs as user ``rabbitmq``. Tests keep apart by namespace.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.integration.tls_authority import TlsAuthority

_CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/broker.pem
ssl_options.keyfile = {folder}/broker-key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
log.console = false
log.file.level = warning
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 1GB
collect_statistics_interval = 60000
"""
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_SERVERS = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), Path("/usr/sbin/rabbitmq-server"))


@dataclass(slots=True)
class RabbitServer:
    """One server. ``start`` and ``stop`` may be called again and again: the port and the contents stay."""

    folder: Path
    program: Path
    port: int
    epmd_port: int
    dist_port: int
    tls_port: int
    """Wants a client certificate; ``ca.pem``, ``client.pem`` and ``client-key.pem`` of ``folder`` are for it."""
    _epmd: subprocess.Popen[bytes] | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def tls_url(self, **query: object) -> str:
        """Its TLS listener, with options of the URL (``cafile``, ``certfile``, ``keyfile``)."""
        return f"amqps://guest:guest@127.0.0.1:{self.tls_port}/?{urlencode(query)}"

    def url_at(self, port: int) -> str:
        """The same server through another port, a proxy's for instance."""
        return f"amqp://guest:guest@127.0.0.1:{port}/"

    def prepare(self) -> None:
        """Write the configuration and the cookie, and start epmd."""
        configuration = _CONFIGURATION.format(port=self.port, tls_port=self.tls_port, folder=self.folder)
        (self.folder / "rabbitmq.conf").write_text(configuration, encoding="utf-8")
        authority = TlsAuthority(self.folder)
        authority.sign("broker")
        authority.sign("client", address=None)
        (self.folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16), encoding="utf-8")
        cookie.chmod(0o400)
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "rabbitmq", "rabbitmq")
        self._epmd = self._spawn(["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)])

    def start(self) -> None:
        """Returns when it speaks AMQP."""
        self._process = self._spawn([str(self.program)])
        deadline = time.monotonic() + _START_SECONDS
        while not self._speaks():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "output").read_text(encoding="utf-8", errors="replace")
                self.stop(signal.SIGKILL)
                raise RuntimeError(f"RabbitMQ did not start:\n{log[-4000:]}")
            time.sleep(0.05)  # refused until it listens; there is nothing to wait on before that

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM: in order; SIGKILL: as in a crash. The whole group: the start script, Erlang and its helpers."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process, how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait(_STOP_SECONDS)
        _signal_group(process, signal.SIGKILL)

    def end(self) -> None:
        """The server, and epmd with it. In order, so that the start script reaps Erlang."""
        self.stop()
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait(_STOP_SECONDS)
            self._epmd = None

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; takes about two seconds."""
        done = subprocess.run(
            [str(self.program.with_name("rabbitmqctl")), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
            cwd=self.folder, env=self._environment(), **_as_rabbitmq(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "vesemir@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.folder, env=self._environment(), start_new_session=True, **_as_rabbitmq(),
            )  # fmt: skip

    def _speaks(self) -> bool:
        """Also whether it listens for TLS, which comes a little later."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                speaks = bool(connection.recv(1))
            socket.create_connection(("127.0.0.1", self.tls_port), timeout=5).close()
        except OSError:
            return False
        return speaks


def _signal_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        return


def _as_rabbitmq() -> dict[str, object]:
    return {"user": "rabbitmq", "group": "rabbitmq", "extra_groups": []} if os.geteuid() == 0 else {}


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _new_server() -> RabbitServer:
    program = next((path for path in _SERVERS if path.exists()), None)
    if program is None or shutil.which("epmd") is None:
        pytest.skip("no RabbitMQ server is installed (script/bootstrap installs it)")
    return RabbitServer(Path(tempfile.mkdtemp(prefix="vesemir-rabbitmq-")), program, *_free_ports(4))


@contextmanager
def running_server() -> Iterator[RabbitServer]:
    server = _new_server()
    try:
        server.prepare()
        server.start()
        yield server
    finally:
        server.end()
        shutil.rmtree(server.folder)


_RUNNING = pytest.StashKey[RabbitServer]()


@pytest.fixture(scope="session")
def rabbit_server(pytestconfig: pytest.Config) -> Iterator[RabbitServer]:
    """Running. Started by the first module that asks for it."""
    running = pytestconfig.stash.get(_RUNNING, None)
    if running is not None:
        yield running
        return
    with running_server() as server:
        pytestconfig.stash[_RUNNING] = server
        yield server
