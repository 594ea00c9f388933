"""Real sshd processes on loopback, each with a host key and a folder of its own, as root or as another user."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vesemir.domain.target import Target
from vesemir.settings import SshSettings

DEPLOY = "deploy"
DEPLOY_ID = 54321
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
PYTHON = next((name for name in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(name).exists()), "python3")
"""By its path: a version manager's shell function would take longer than all the rest."""
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


@dataclass(frozen=True)
class Account:
    """An ordinary user with a login shell and a home of its own, in a server's namespace only; ``mount`` is mounted
    there (a type and options of mount(8))."""

    name: str
    shell: str = "/bin/bash"
    mount: str = ""


@dataclass
class Sshd:
    """A server; ``state`` is the folder that the supervisor keeps on it."""

    folder: Path
    port: int
    user: str
    process: "subprocess.Popen[bytes]"
    client_key: Path
    known_hosts: Path
    state: Path
    variables: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    @property
    def target(self) -> Target:
        variables = {"vesemir_state_dir": str(self.state), **self.variables}
        return Target(name="box", address=self.address, port=self.port, user=self.user, variables=variables)

    def settings(self, **changes: object) -> SshSettings:
        return SshSettings.model_validate(
            {
                "user": self.user,
                "client_key": self.client_key,
                "known_hosts": self.known_hosts,
                "python": PYTHON,
                **changes,
            }
        )

    def account(self, account: Account) -> Target:
        """Its state is where the settings say, in its home."""
        return Target(name=account.name, address="127.0.0.1", port=self.port, user=account.name)

    def home(self, account: Account) -> Path:
        return self.folder / "homes" / account.name

    def log(self) -> str:
        return (self.folder / "sshd.log").read_text()


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_private_namespace(folder: Path, home: Path, sudoers: str, accounts: Sequence[Account] = ()) -> list[str]:
    """A command prefix: a mount namespace whose ``/etc`` knows ``deploy``. The machine's own files are not touched."""
    users, mounted = [(DEPLOY, home, "/bin/bash")], []
    for account in accounts:
        own = folder / "homes" / account.name
        own.mkdir(parents=True)
        os.chown(own, DEPLOY_ID, DEPLOY_ID)
        users.append((account.name, own, account.shell))
        if account.mount:
            mounted.append(f"mount {account.mount} {own}")
    lines = [f"{name}:x:{DEPLOY_ID}:{DEPLOY_ID}::{own}:{shell}\n" for name, own, shell in users]
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + "".join(lines))
    shadow = [f"{name}:*:19000:0:99999:7:::\n" for name, _, _ in users]
    (folder / "shadow").write_text(Path("/etc/shadow").read_text() + "".join(shadow))
    (folder / "shadow").chmod(0o600)
    (folder / "sudoers").write_text("Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n" + sudoers)
    (folder / "sudoers").chmod(0o440)
    mounts = [f"mount --bind {folder}/{name} /etc/{name}" for name in ("passwd", "shadow", "sudoers")]
    script = " && ".join([*mounts, *mounted, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


@contextlib.contextmanager
def sshd_running(
    folder: Path,
    *,
    user: str = "",
    first: str = "",
    extra: str = "",
    sudoers: str = "",
    sftp: str = "",
    accounts: Sequence[Account] = (),
    address: str = "127.0.0.1",
    port: int = 0,
    host_key_of: Path | None = None,
) -> Iterator[Sshd]:
    """Start one; at the end it and its sessions are gone. ``sftp`` is its subsystem, if not the machine's own. Of its
    configuration ``first`` comes first, which decides, and ``extra`` last. ``host_key_of`` is another one's folder.

    Who logs in is the one who runs the tests, or ``DEPLOY``, an ordinary user that exists in this server's namespace
    only (root can make one). ``login`` is that user's home.
    """
    user = user or getpass.getuser()
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    state, home = folder / "state", folder / "login"
    state.mkdir(mode=0o700)
    home.mkdir(mode=0o755)
    prefix = []
    if user == DEPLOY:
        prefix = in_private_namespace(folder, home, sudoers, accounts)
        for owned in (state, home):
            os.chown(owned, DEPLOY_ID, DEPLOY_ID)
    host_key = host_key_of / "host_key" if host_key_of else make_key(folder / "host_key")
    client_key = make_key(folder / "client_key")
    shutil.copy(f"{client_key}.pub", folder / "authorized_keys")
    (folder / "authorized_keys").chmod(0o644)
    port = port or free_port()
    sftp = sftp or next((name for name in SFTP_SERVERS if Path(name).exists()), "internal-sftp")
    (folder / "sshd_config").write_text(
        f"{first}\nListenAddress {address}\nPort {port}\nHostKey {host_key}\nPidFile {folder}/sshd.pid\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"PermitRootLogin yes\nSubsystem sftp {sftp}\nMaxStartups 100:30:200\nLogLevel INFO\n{_patience()}{extra}\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([*prefix, SSHD, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")])
    try:
        wait_for_port(port, process, folder / "sshd.log", address=address)
        public = Path(f"{host_key}.pub").read_text().split()
        known = folder / "known_hosts"
        known.write_text(f"[{address}]:{port} {public[0]} {public[1]}\n")
        yield Sshd(folder, port, user, process, client_key, known, state, address=address)
    finally:
        end_with_sessions(process)


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path, *, address: str = "127.0.0.1") -> None:
    limit = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1) as plug:
            if plug.recv(4) == b"SSH-":
                return
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"sshd did not start: {log.read_text() if log.exists() else 'no log'}")
        time.sleep(0.02)


def end_with_sessions(process: "subprocess.Popen[bytes]") -> None:
    """The listener, then the sessions that it forked."""
    children = [pid for pid, parent in parents().items() if parent == process.pid]
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def parents() -> dict[int, int]:
    """Pid to parent's pid, of all processes that are not zombies."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                if words[0] != "Z":
                    found[int(entry.name)] = int(words[1])
    return found


def below(pid: int) -> list[int]:
    """All descendants: OpenSSH 10 has several processes for one connection."""
    family, known = [pid], parents()
    for each in family:
        family += [child for child, parent in known.items() if parent == each]
    return family[1:]


def alive_with(mark: str) -> list[int]:
    """Processes with this text in their command line (tests put a random word there)."""
    found = []
    for pid in parents():
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _patience() -> str:
    """OpenSSH 9.8 and later shut out for a while whoever fails to log in (``PerSourcePenalties``): tests do that."""
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", said)
    knows = found is not None and (int(found[1]), int(found[2])) >= (9, 8)
    return "PerSourcePenalties no\n" if knows else ""
