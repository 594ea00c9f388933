"""Many hosts on one machine: OpenSSH servers on loopback addresses, each address a host with a pinned key."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processes import tree_cpu

PER_SERVER = 16
"""Addresses that one sshd listens on (MAX_LISTEN_SOCKS in OpenSSH)."""
START_SECONDS = 60.0
QUIET_SECONDS = 20.0

_CONFIG = """\
{addresses}
Port {port}
HostKey {folder}/host_key
PidFile {folder}/sshd-{number}.pid
AuthorizedKeysFile {folder}/client_key.pub
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 2000
MaxSessions 100
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
Subsystem sftp internal-sftp
# No login files: they are the user's, and would be measured instead of the programs.
SetEnv HOME={folder}/home
"""


class Farm:
    """``names[i]`` is the host at ``addresses[i]``; all have one port and the login user of whoever runs this."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.port = _free_port()
        self.names = [f"host{number:04d}" for number in range(count)]
        self.addresses = [f"127.77.{number // 250}.{number % 250 + 1}" for number in range(count)]
        self.client_key = folder / "client_key"
        self.known_hosts = folder / "known_hosts"
        self._servers: list[subprocess.Popen[bytes]] = []

    @classmethod
    @contextmanager
    def up(cls, folder: Path, count: int) -> Iterator["Farm"]:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "home").mkdir(parents=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        farm = cls(folder, count)
        try:
            farm._start()
            yield farm
        finally:
            farm._stop()

    def cpu(self) -> float:
        """Seconds that the servers and all their sessions took until now."""
        return tree_cpu(server.pid for server in self._servers)

    def wait_quiet(self) -> None:
        """Until no session is left, so that all of their CPU is counted."""
        deadline = time.monotonic() + QUIET_SECONDS
        while self._sessions() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _sessions(self) -> bool:
        return any(
            Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().strip() for server in self._servers
        )

    def _start(self) -> None:
        for name in ("host_key", "client_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        self.known_hosts.write_text("".join(f"[{address}]:{self.port} {key}\n" for address in self.addresses))
        log = (self.folder / "sshd.log").open("wb")
        for number in range(0, len(self.addresses), PER_SERVER):
            addresses = "\n".join(
                f"ListenAddress {address}" for address in self.addresses[number : number + PER_SERVER]
            )
            config = self.folder / f"sshd-{number}.conf"
            config.write_text(_CONFIG.format(addresses=addresses, port=self.port, folder=self.folder, number=number))
            words = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
            self._servers.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        for address in self.addresses[::PER_SERVER]:
            _wait_for(address, self.port)

    def _stop(self) -> None:
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        for server in self._servers:
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError), socket.create_connection((address, port), 1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no sshd on {address}:{port}")
        time.sleep(0.05)
