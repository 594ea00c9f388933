"""Other tools at the same work, each installed by hash in an environment of its own, and how each is called."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.farm import Farm

HERE = Path(__file__).parent
INSTALL_SECONDS = 300

SSH = (
    "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR",
    "-o", "KexAlgorithms=curve25519-sha256", "-o", "ConnectTimeout=60", "-o", "ConnectionAttempts=3",
)  # fmt: skip
"""For those that start OpenSSH: its default key exchange (sntrup761) would cost them several times as much CPU."""


@dataclass(frozen=True, slots=True)
class Job:
    """``steps`` times ``true`` on the first ``count`` hosts of the farm; files go into ``folder``."""

    farm: Farm
    count: int
    steps: int
    folder: Path

    @property
    def hosts(self) -> Sequence[str]:
        return self.farm.addresses[: self.count]

    def hosts_file(self) -> str:
        file = self.folder / f"hosts-{self.count}"
        file.write_text("\n".join(self.hosts))
        return str(file)

    @property
    def ssh_options(self) -> list[str]:
        files = ["-F", "none", "-p", str(self.farm.port), "-i", str(self.farm.client_key)]
        return [*files, "-o", f"UserKnownHostsFile={self.farm.known_hosts}", *SSH]


@dataclass(frozen=True, slots=True)
class Peer:
    """``words(job, bin)`` is the command line; ``package`` the lock file of its environment beside this one."""

    name: str
    package: str
    words: Callable[[Job, Path], Sequence[str]]
    environment: Callable[[Job], Mapping[str, str]] = lambda _: {}

    def installed(self, folder: Path) -> Path:
        """The environment's ``bin``, made if it is not there yet."""
        place, lock = folder / self.package, HERE / f"{self.package}.txt"
        stamp = place / "installed"
        if not stamp.exists() or stamp.read_text() != lock.read_text():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True, timeout=INSTALL_SECONDS)
            words = [str(place / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "--require-hashes"]
            done = subprocess.run(
                [*words, "-r", str(lock)], check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
            if done.returncode != 0:
                raise RuntimeError(f"{self.package} cannot be installed:\n{done.stderr[-2000:]}")
            stamp.write_text(lock.read_text())
        return place / "bin"


def _parallel_ssh(job: Job, bin_folder: Path) -> Sequence[str]:
    script = str(HERE / "run_parallel_ssh.py")
    return [
        str(bin_folder / "python"),
        script,
        job.hosts_file(),
        str(job.farm.port),
        str(job.farm.client_key),
        str(job.steps),
    ]


def _fabric(job: Job, bin_folder: Path) -> Sequence[str]:
    own = [job.hosts_file(), str(job.farm.port), str(job.farm.client_key), str(job.steps), str(job.farm.known_hosts)]
    return [str(bin_folder / "python"), str(HERE / "run_fabric.py"), *own]


def _clush(job: Job, bin_folder: Path) -> Sequence[str]:
    """The steps in one remote shell: the least that it can do."""
    options = " ".join(job.ssh_options)
    words = [str(bin_folder / "clush"), "-q", "-S", "-f", str(job.count), "-l", "root", "-o", options]
    return [*words, "--hostfile", job.hosts_file(), "; ".join(["true"] * job.steps)]


def _pyinfra(job: Job, bin_folder: Path) -> Sequence[str]:
    """An operation for each step, its fact-gathering as it comes."""
    data = {
        "ssh_port": job.farm.port, "ssh_user": "root", "ssh_key": str(job.farm.client_key), "ssh_allow_agent": False,
        "ssh_look_for_keys": False, "ssh_strict_host_key_checking": "yes",
        "ssh_known_hosts_file": str(job.farm.known_hosts),
    }  # fmt: skip
    inventory, deploy = job.folder / f"inventory_{job.count}.py", job.folder / f"deploy_{job.steps}.py"
    inventory.write_text(f"hosts = ({list(job.hosts)!r}, {data!r})\n")
    steps = [f'server.shell(name="step{number}", commands=["true"])' for number in range(job.steps)]
    deploy.write_text("from pyinfra.operations import server\n" + "\n".join(steps) + "\n")
    return [str(bin_folder / "pyinfra"), "-y", "--parallel", str(job.count), str(inventory), str(deploy)]


def _ansible(module: str) -> Callable[[Job, Path], Sequence[str]]:
    def words(job: Job, bin_folder: Path) -> Sequence[str]:
        inventory, playbook = job.folder / f"inventory-{job.count}.ini", job.folder / f"{module}-{job.steps}.json"
        inventory.write_text("\n".join(job.hosts))
        tasks = [{"name": f"step{number}", module: "true"} for number in range(job.steps)]
        play = [{"hosts": "all", "gather_facts": False, "strategy": "linear", "tasks": tasks}]
        playbook.write_text(json.dumps(play))
        return [str(bin_folder / "ansible-playbook"), "-f", str(job.count), "-i", str(inventory), str(playbook)]

    return words


def _ansible_environment(job: Job) -> Mapping[str, str]:
    """As a careful user has it: pipelining, one connection per host kept open, host keys checked."""
    options = " ".join([*job.ssh_options[2:], "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"])
    return {
        "ANSIBLE_SSH_ARGS": options,
        "ANSIBLE_REMOTE_USER": "root",
        "ANSIBLE_REMOTE_PORT": str(job.farm.port),
        "ANSIBLE_PRIVATE_KEY_FILE": str(job.farm.client_key),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_LOCAL_TEMP": str(job.folder / "ansible-local"),
        "ANSIBLE_HOME": str(job.folder / "ansible-home"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(job.folder / "cp"),
        "ANSIBLE_NOCOLOR": "1",
    }


PEERS = (
    Peer("parallel-ssh", "parallel-ssh", _parallel_ssh),
    Peer("clush", "clustershell", _clush),
    Peer("fabric", "fabric", _fabric),
    Peer("pyinfra", "pyinfra", _pyinfra),
    Peer("ansible command", "ansible-core", _ansible("command"), _ansible_environment),
    Peer("ansible raw", "ansible-core", _ansible("raw"), _ansible_environment),
)
