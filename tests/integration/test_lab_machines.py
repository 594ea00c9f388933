"""Machines of the lab: they boot a systemd, a release restarts a real unit with one sudo rule, and nothing is left.

Vesemir's own unit on machines is test_install_document.py's matter.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vesemir.lab.base_tree import base_tree
from vesemir.lab.cgroups import has_hierarchies
from vesemir.lab.network import LabPorts
from vesemir.lab.programs import find_programs
from vesemir.lab.roster import Roster

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(600),  # the first one on a machine builds the root tree
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot machines: mounts and control groups"),
    pytest.mark.skipif(not has_hierarchies(), reason="no control groups are mounted here, and systemd wants them"),
]


class Machines:
    """A lab of machines in a folder, and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._token = ""

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """``vesemir lab WORDS``."""
        return subprocess.Popen(
            [sys.executable, "-m", "vesemir.cli.lab", words[0], "--dir", str(self.folder), *words[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *words: str, status: int = 0) -> str:
        with self.start(*words) as child:
            printed, _ = child.communicate(timeout=500)
        assert child.returncode == status, printed
        return str(printed).strip()

    def on(self, name: str, *words: str, status: int = 0) -> str:
        return self.run("exec", name, *words, status=status)

    @property
    def lab(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "lab.json").read_text())
        return found

    def left(self) -> list[str]:
        """What is still there: mounts, control groups, processes. It must be asked once while the lab is up."""
        mark = str(self.folder)
        if (roster := Roster.read(self.folder / "processes.json")) is not None:
            self._token = roster.token[:12]
        assert self._token
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {mark}/" in line]
        groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/vesemir-lab-{self._token}")]
        told = [str(path) for path in Path("/run/systemd/nspawn").glob(f"*/lab-{self._token[:6]}-*")]
        return mounts + groups + told + _processes(mark)


def _processes(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if mark in words:
                found.append(words)
    return found


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    found = Machines(tmp_path_factory.mktemp("machines") / "lab")
    try:
        found.run("up", "--systemd", "--boxes", "1", "--bare", "1", "--detach")
        assert found.left()
        yield found
    finally:
        found.run("down")
        assert found.left() == []


def test_a_machine_has_a_systemd_a_root_tree_and_an_address_of_its_own(machines: Machines) -> None:
    (web,), (bare,) = machines.lab["boxes"], machines.lab["bare"]
    until(lambda: machines.on("web1", "sh", "-c", "systemctl is-system-running || true") == "running")
    assert machines.on("web1", "cat", "/proc/1/comm") == "systemd"
    assert machines.on("web1", "hostname") == "web1"
    assert web["user"] == "deploy"
    assert Path(web["app_root"], "current").readlink() == Path("releases/1.0.0")
    (Path(bare["root"]) / "srv" / "seen").write_text("from outside")
    assert machines.on("bare1", "cat", "/srv/seen") == "from outside"
    assert machines.on("bare1", "sh", "-c", "systemctl is-active shop || true") == "inactive"  # 3, or 4 in newer ones
    listening = machines.on("web1", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    assert f":{web['port']:04X} 00000000:0000 0A" in listening
    assert f"00000000:{web['port']:04X} 00000000:0000 0A" not in listening, "sshd must listen at its own address only"


def test_another_lab_is_not_made_of_one_that_is_up(machines: Machines) -> None:
    assert "up already, with 1 boxes" in machines.run("up", "--systemd", "--boxes", "1", "--bare", "1", "--detach")
    assert "is up without so many bare machines: take it down first" in machines.run(
        "up", "--systemd", "--bare", "2", "--detach", status=1
    )


def test_a_release_restarts_a_real_unit_and_needs_root_for_that_command_alone(machines: Machines) -> None:
    before = machines.on("web1", "systemctl", "show", "--value", "-p", "MainPID", "shop")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VESEMIR_")},
        **machines.lab["env"],
        "VESEMIR_HTTP__PORT": str(LabPorts().free(["127.0.0.1"])),
    }
    vesemir = (sys.executable, "-c", "from vesemir.cli import main; main()")
    event = machines.folder / "event.json"
    event.write_text(machines.run("event", "--version", "2.0.0"))
    with subprocess.Popen([*vesemir, "run"], env=environment, stdout=subprocess.DEVNULL) as daemon:
        try:
            words = [*vesemir, "deploy", "--file", str(event), "--follow", "--json"]
            done: list[subprocess.CompletedProcess[str]] = []

            def deployed() -> bool:  # the queue is there when the daemon has declared it
                done[:] = [subprocess.run(words, env=environment, capture_output=True, text=True, check=False)]
                return "there is no queue" not in done[0].stderr

            until(deployed)
        finally:
            daemon.terminate()
            daemon.wait(60)
    assert json.loads(done[0].stdout)["status"] == "succeeded", done[0]
    assert machines.on("web1", "systemctl", "show", "--value", "-p", "MainPID", "shop") != before
    assert Path(machines.lab["boxes"][0]["app_root"], "current").readlink() == Path("releases/2.0.0")
    as_deploy = ("runuser", "-u", "deploy", "--", "sudo", "-n")
    assert machines.on("web1", *as_deploy, "systemctl", "restart", "shop") == ""
    for refused in (("id",), ("systemctl", "stop", "shop"), ("systemctl", "restart", "ssh"), ("sh",)):
        assert "password is required" in machines.on("web1", *as_deploy, *refused, status=1)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_up_that_is_ended_in_the_middle_leaves_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    """Ctrl-C takes it down again by itself; after a kill, `down` does."""
    one = Machines(tmp_path / "lab")
    with one.start("up", "--systemd", "--boxes", "1", "--detach") as child:
        until(lambda: any("systemd-nspawn" in words for words in _processes(str(one.folder))), seconds=300)
        assert one.left()
        child.send_signal(sent)
        child.communicate(timeout=120)
    if sent == signal.SIGKILL:
        one.run("down")
    assert one.left() == []
    assert not (one.folder / "lab.json").exists()


def test_an_up_that_is_ended_while_it_builds_the_root_tree_leaves_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one = Machines(tmp_path / "lab")
    with one.start("up", "--systemd", "--boxes", "1", "--detach") as child:
        until(lambda: list((tmp_path / "cache").glob("vesemir-lab/*.building-*")), seconds=120)
        assert one.left()
        child.send_signal(signal.SIGINT)
        printed, _ = child.communicate(timeout=120)
    assert one.left() == [], printed
    assert [path.suffix for path in (tmp_path / "cache" / "vesemir-lab").iterdir()] == [".lock"]


async def test_the_root_tree_is_built_once(tmp_path: Path) -> None:
    """What is in the cache is taken as it is: nothing is asked of anybody, so it serves without a network."""
    roster = Roster.new(tmp_path / "processes.json", token="0" * 32)
    trees = {await base_tree(find_programs(machines=True), roster, log=tmp_path / "log") for _ in range(2)}
    assert len(trees) == 1
    assert (trees.pop() / "usr" / "sbin" / "sshd").exists()
    assert roster.entries == []
