"""Every command of docs/install.md, run in its order on machines that boot a real systemd; at the end a deployment.

What stands in for the reader: the lab's cluster of brokers and its two databases, its bare machines, and ``scp`` as a
copy into their trees.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.integration.reload_trial import Machine, reload_trial

from vesemir.lab.cgroups import has_hierarchies

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "install.md"
BLOCK = re.compile(r"^<!-- run: ([^\n]*) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LAB = (sys.executable, "-m", "vesemir.cli.lab")
BROKERS = {"broker1": "192.0.2.5", "broker2": "192.0.2.6", "broker3": "192.0.2.7"}
DATABASES = {"database1": "192.0.2.8", "database2": "192.0.2.9"}
MACHINES = {"vesemir1": "192.0.2.21", "vesemir2": "192.0.2.22", "balancer": "192.0.2.20", "target1": "192.0.2.31"}
SCP = """#!/bin/sh
# scp -q[r] FILE... root@ADDRESS: into the machine's tree, with this site's addresses in what is text; or one file
# from there.
set -eu
shift
case $1 in root@*)
    from=${1#root@}
    cp -- "$(cat "@MACHINES@/${from%%:*}")${from#*:}" "$2"
    exit
esac
for to; do :; done
to=${to#root@}
root=$(cat "@MACHINES@/${to%:}")/root
while [ $# -gt 1 ]; do
    cp -r -- "$1" "$root/"
    shift
done
find "$root" -name '*.toml' -o -name '*.cfg' | while read -r file; do sed -i -f "@REPLACED@" "$file"; done
"""
RABBITMQCTL = """#!/bin/sh
exec runuser -u rabbitmq -- env @ENVIRONMENT@ /usr/lib/rabbitmq/bin/rabbitmqctl --node @NODE@ "$@"
"""
SYSTEMCTL = """#!/bin/sh
# systemctl restart rabbitmq-server: the lab's node.
set -eu
[ "$*" = "restart rabbitmq-server" ]
@LAB@ node stop --dir @FOLDER@ @NODE@
@LAB@ node start --dir @FOLDER@ @NODE@
"""


@dataclass(frozen=True)
class Block:
    """Commands, where they are run, and the line of the document."""

    places: tuple[str, ...]
    text: str
    line: int


def blocks() -> list[Block]:
    document = DOCUMENT.read_text(encoding="utf-8")
    return [
        Block(tuple(found[1].split()), found[2], document.count("\n", 0, found.start()) + 3)
        for found in BLOCK.finditer(document)
    ]


def test_no_command_of_the_document_is_left_out() -> None:
    """Every fenced block says where it is run."""
    fences = re.findall(r"^```sh$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(blocks()) == len(fences) > 10
    known = {"workstation", *BROKERS, *DATABASES, *MACHINES}
    assert {place for block in blocks() for place in block.places} == known


def whole(old: str) -> str:
    """A pattern, for sed too: what was replaced by something longer (port 22 by 22517) is not found in it again."""
    return re.escape(old) + (r"\b" if old[-1].isalnum() else "")


def test_what_was_replaced_is_not_replaced_again() -> None:
    script = f"s|{whole('port = 22')}|port = 22517|"
    for text in ("port = 22\n", "port = 22517\n"):
        assert re.sub(whole("port = 22"), "port = 22517", text) == "port = 22517\n"
        said = subprocess.run(["sed", script], input=text, capture_output=True, text=True, check=True).stdout
        assert said == "port = 22517\n"


def environment_with(wanted: str, folder: Path) -> list[str]:
    """The environment of the process that has this variable in it, and names files of this folder: there may be
    another lab."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            given = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if wanted in given and any(str(folder.resolve()) in each for each in given):
            return given
    raise AssertionError(f"nothing runs with {wanted}")


def free_ports(address: str, number: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind((address, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class Reader:
    """Who follows the document: has the lab's machines, and their addresses instead of the document's."""

    folder: Path
    lab: Mapping[str, Any]
    site: Path
    version: str
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bin = self.folder / "bin"
        self._machines = dict(zip(MACHINES, self.lab["bare"], strict=True))
        self._brokers = dict(zip(BROKERS, self.lab["rabbitmq_nodes"], strict=True))
        self._databases = dict(zip(DATABASES, self.lab["postgres_nodes"], strict=True))
        self._tls_ports = dict(zip(BROKERS, free_ports(self._brokers["broker1"]["address"], len(BROKERS)), strict=True))
        self._replaced = self._replacements()
        self._bin.mkdir()
        (self.folder / "machines").mkdir()
        for machine in self._machines.values():
            (self.folder / "machines" / machine["address"]).write_text(machine["root"])
        for name, address in (BROKERS | DATABASES).items():  # no machines: a home for what is copied there
            self._home(name).mkdir(parents=True)
            (self.folder / "machines" / address).write_text(str(self._home(name).parent))
        script = "".join(f"s|{whole(old)}|{new}|g\n" for old, new in self._replaced.items())
        (self.folder / "replaced.sed").write_text(script)
        scp = SCP.replace("@MACHINES@", str(self.folder / "machines"))
        self._tool("scp", scp.replace("@REPLACED@", str(self.folder / "replaced.sed")))
        self._own = {name: self._of_broker(name) for name in BROKERS}
        for name, node in self._databases.items():
            self._own[name] = {"/etc/postgresql/": f"{node['data']}/"}

    def _replacements(self) -> dict[str, str]:
        """The longer ones first. Machines of a lab share one network: nobody may listen at all addresses."""
        machines = {name: machine["address"] for name, machine in self._machines.items()}
        port = str(self._machines["target1"]["port"])
        brokers, databases = self._brokers.items(), self._databases.items()
        return {
            **{f"{BROKERS[name]}:5671": f"{node['address']}:{self._tls_ports[name]}" for name, node in brokers},
            **{f"{DATABASES[name]}:5432": f"{node['address']}:{node['port']}" for name, node in databases},
            **{f"{name} {BROKERS[name]}": f"{name} {node['address']}" for name, node in brokers},
            **{f"{name} {DATABASES[name]}": f"{name} {node['address']}" for name, node in databases},
            "-p 22 ": f"-p {port} ",
            "port = 22": f"port = {port}",
            "bind :8080": f"bind {machines['balancer']}:8080",
            **{MACHINES[name]: address for name, address in machines.items()},
            "vesemir-0.1.0": f"vesemir-{self.version}",
        }

    def _home(self, place: str) -> Path:
        return self.folder / "servers" / place / "root"

    def _tool(self, name: str, text: str) -> None:
        file = self._bin / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def _of_broker(self, place: str) -> dict[str, str]:
        """Its tools; what is replaced for it alone. As the lab's node was started: its cookie, its name, its epmd."""
        name = self._brokers[place]["name"]
        given = environment_with(f"RABBITMQ_NODENAME={name}@localhost", self.folder / "lab")
        kept = " ".join(shlex.quote(each) for each in given if each.startswith(("HOME=", "ERL_EPMD", "RABBITMQ_CONF")))
        told = RABBITMQCTL.replace("@ENVIRONMENT@", kept).replace("@NODE@", f"{name}@localhost")
        self._tool(f"{place}/rabbitmqctl", told)
        restart = SYSTEMCTL.replace("@LAB@", shlex.join(LAB)).replace("@FOLDER@", str(self.folder / "lab"))
        self._tool(f"{place}/systemctl", restart.replace("@NODE@", name))
        (settings,) = (each.partition("=")[2] for each in given if each.startswith("RABBITMQ_CONFIG_FILES="))
        listener = f"{self._brokers[place]['address']}:{self._tls_ports[place]}"
        # Nodes of a lab share one network: none may listen at all addresses.
        return {
            "/etc/rabbitmq/": f"{Path(settings).parent}/",
            "listeners.ssl.default = 5671": f"listeners.ssl.1 = {listener}",
        }

    def machine(self, name: str) -> Machine:
        found = self._machines[name]
        authority = self.site / "ca.pem"
        return Machine(self.folder / "lab", found["name"], found["address"], Path(found["root"]), authority)

    def run(self, block: Block) -> None:
        """In every place that the block names; each command must succeed."""
        for place in block.places:
            text = block.text
            for old, new in (self._own.get(place, {}) | self._replaced).items():
                text = re.sub(whole(old), new, text)
            words = (
                [*LAB, "exec", "--dir", str(self.folder / "lab"), self._machines[place]["name"], "sh", "-euc"]
                if place in MACHINES
                else ["sh", "-euc"]
            )
            folder = self._home(place) if place in self._own else self.site
            script = f"cd /root\n{text}" if place in MACHINES else text
            done = subprocess.run(
                [*words, script], cwd=folder, env=self._environment(place), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False, timeout=170,
            )  # fmt: skip
            said = f"install.md:{block.line} on {place}:\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, f"{said}{self._journal(place)}"
            self.said.append(done.stdout)

    def _journal(self, place: str) -> str:
        """What the services of a machine said last."""
        if place not in MACHINES:
            return ""
        words = [*LAB, "exec", "--dir", str(self.folder / "lab"), self._machines[place]["name"]]
        told = ["journalctl", "--no-pager", "--lines=30", "--unit=vesemir", "--unit=init.scope"]
        return subprocess.run([*words, *told], capture_output=True, text=True, check=False, timeout=60).stdout

    def _environment(self, place: str) -> dict[str, str]:
        tools = f"{self._bin / place}:{self._bin}"
        own = {"PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        if place == "workstation":
            own["PYTHONPATH"] = str(REPOSITORY)  # the checkout
        if node := self._databases.get(place):
            login = urlsplit(self.lab["amqp_url"])  # the lab has one user and one password
            own |= {
                "PGHOST": node["address"],
                "PGPORT": str(node["port"]),
                "PGUSER": login.username or "",
                "PGPASSWORD": login.password or "",
            }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VESEMIR_")}
        return {**kept, **own}


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("install")
    for each in (folder, folder.parent):
        each.chmod(0o755)  # the lab's servers are other users
    site = folder / "workstation"
    site.mkdir()
    version = re.search(r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    words = ["--systemd", "--ha", "--boxes", "1", "--bare", str(len(MACHINES)), "--detach"]
    try:
        up = subprocess.run(
            [*LAB, "up", "--dir", str(folder / "lab"), *words], capture_output=True, text=True, check=False, timeout=900
        )
        assert up.returncode == 0, up.stderr
        lab = json.loads((folder / "lab" / "lab.json").read_text())
        yield Reader(folder, lab, site, version[1])
    finally:
        subprocess.run([*LAB, "down", "--dir", str(folder / "lab")], capture_output=True, check=False, timeout=170)
        shutil.rmtree(site, ignore_errors=True)


@pytest.mark.lab
@pytest.mark.timeout(900)  # the first one on a machine builds the machines' root tree
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot machines: mounts and control groups")
@pytest.mark.skipif(not has_hierarchies(), reason="no control groups are mounted here, and systemd wants them")
def test_every_command_of_the_document(reader: Reader) -> None:
    """From bare machines to a deployment by one of two instances behind one name."""
    for block in blocks():
        reader.run(block)
    told = "\n".join(reader.said)
    assert "1 of hello in test is on 1 target" in told
    assert "3 of 3 nodes answer: " in told  # `vesemir check` names every broker, reached with TLS
    reload_trial(*(reader.machine(name) for name in ("vesemir1", "vesemir2", "target1")))
