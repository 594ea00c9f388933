"""A lab comes up and goes down: in the foreground, killed in the middle, and as an ordinary user."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import vesemir

pytestmark = pytest.mark.lab

SOURCE = Path(vesemir.__file__).parent.parent


@dataclass
class Lab:
    """Runs ``vesemir lab`` for one folder, as this user or as another."""

    folder: Path
    command: tuple[str, ...] = (sys.executable, "-m", "vesemir.cli.lab")
    options: dict[str, object] = field(default_factory=dict)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [*self.command, *words, "--dir", str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self.options,
        )

    def run(self, *words: str, timeout: float = 120) -> str:
        """Returns what it printed; this ends only when nobody holds its output any more."""
        with self.start(*words) as child:
            printed, _ = child.communicate(timeout=timeout)
        assert child.returncode == 0, printed
        return str(printed)

    def left(self) -> list[str]:
        """Command lines of living processes that run in the folder or name it, or were in the roster."""
        mark, found = str(self.folder), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                cwd = str((entry / "cwd").readlink())
            except OSError:
                continue
            if words and (mark in words or cwd.startswith(mark)):
                found.append(words)
        return found

    def pids(self) -> list[int]:
        stored = json.loads((self.folder / "processes.json").read_text())
        return [entry["pid"] for entry in stored["entries"]]

    def alive(self, pids: list[int]) -> list[int]:
        return [pid for pid in pids if (stat := _stat(pid)) and ") Z " not in stat]


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "a folder" / "lab")
    yield made
    made.run("down")


def test_down_without_a_lab_says_so(lab: Lab) -> None:
    assert "No lab is up" in lab.run("down")
    assert not lab.folder.exists()


def test_ctrl_c_takes_a_lab_in_the_foreground_down(lab: Lab) -> None:
    with lab.start("up", "--boxes", "1") as child:
        until((lab.folder / "lab.json").exists)
        pids = lab.pids()
        child.send_signal(signal.SIGINT)
        printed, _ = child.communicate(timeout=60)
    assert child.returncode == 0, printed
    assert "Ended epmd" in printed
    assert lab.alive(pids) == []
    assert lab.left() == []


def test_down_ends_a_lab_that_another_terminal_has_in_the_foreground(lab: Lab) -> None:
    with lab.start("up", "--boxes", "1") as child:
        until((lab.folder / "lab.json").exists)
        pids = lab.pids()
        assert "rabbitmq" in lab.run("down")
        child.communicate(timeout=60)
    assert child.returncode == 0
    assert lab.alive(pids) == []
    assert lab.left() == []


@pytest.mark.parametrize("begun", ["initdb", "rabbitmq", "haproxy"])
def test_down_after_up_was_killed_in_the_middle(lab: Lab, begun: str) -> None:
    def has_begun() -> bool:
        file = lab.folder / "processes.json"
        return file.exists() and f'"{begun}"' in file.read_text()

    with lab.start("up", "--boxes", "2", "--detach") as child:
        until(has_begun)
        child.kill()
        child.wait(10)
        pids = lab.pids()
        assert lab.alive(pids)
        assert "Ended" in lab.run("down")
    assert lab.alive(pids) == []
    assert lab.left() == []
    assert not (lab.folder / "processes.json").exists()


def test_up_clears_away_what_a_killed_one_left(lab: Lab) -> None:
    with lab.start("up", "--boxes", "1", "--detach") as child:
        until(lambda: (lab.folder / "processes.json").exists() and len(lab.pids()) > 2)
        child.kill()
        child.wait(10)
    before = lab.pids()
    lab.run("up", "--boxes", "1", "--detach")
    assert lab.alive(before) == []
    assert lab.alive(lab.pids()) == lab.pids()


def test_a_server_that_died_is_named_by_the_next_up(lab: Lab) -> None:
    lab.run("up", "--boxes", "1", "--detach")
    stored = json.loads((lab.folder / "processes.json").read_text())
    (haproxy,) = [entry["pid"] for entry in stored["entries"] if entry["name"] == "haproxy"]
    os.kill(haproxy, signal.SIGKILL)
    until(lambda: lab.alive([haproxy]) == [])
    with lab.start("up", "--detach") as child:
        printed, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "up but for haproxy" in printed


def _ordinary() -> pwd.struct_passwd | None:
    """Somebody with a shell; an account of a server will do, since nothing of its own is touched."""
    for entry in pwd.getpwall():
        if entry.pw_uid != 0 and Path(entry.pw_shell).name in {"bash", "dash", "sh", "zsh"}:
            return entry
    return None


def _interpreter(user: pwd.struct_passwd) -> str | None:
    """This interpreter may lie in root's home; then Debian's of the same version is as good."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}"):
        tried = subprocess.run(
            ["/bin/sh", "-c", '"$1" -c "import asyncio" 2>/dev/null', "sh", candidate],
            cwd="/", user=user.pw_uid, group=user.pw_gid, extra_groups=[], timeout=30, check=False,
        )  # fmt: skip
        if tried.returncode == 0:
            return candidate
    return None


@pytest.fixture
def ordinary() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("already an ordinary user: every other test here shows the same")
    user = _ordinary()
    interpreter = None if user is None else _interpreter(user)
    if user is None or interpreter is None or not os.access(SOURCE, os.R_OK):
        pytest.skip("no ordinary user with a shell and an interpreter here")
    home = Path(tempfile.mkdtemp(prefix="lab-user-", dir="/tmp"))
    os.chown(home, user.pw_uid, user.pw_gid)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{SOURCE}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = {"env": environment, "cwd": home, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    made = Lab(home / ".lab", command=(interpreter, "-m", "vesemir.cli.lab"), options=options)
    yield made
    made.run("down")
    shutil.rmtree(home)


def test_an_ordinary_user_has_the_same_lab(ordinary: Lab) -> None:
    printed = ordinary.run("up", "--boxes", "2", "--detach")
    assert "Releases" in printed
    found = json.loads((ordinary.folder / "lab.json").read_text())
    with urllib.request.urlopen(found["http_url"], timeout=10) as answer:  # noqa: S310 -- the lab's own address
        assert json.load(answer)["version"] == "1.0.0"
    box = found["boxes"][0]
    assert box["user"] != "root"
    said = subprocess.run(
        ["ssh", "-F", "none", "-i", found["client_key"], "-o", f"UserKnownHostsFile={found['known_hosts']}",
         "-o", "StrictHostKeyChecking=yes", "-p", str(box["port"]), f"{box['user']}@{box['address']}", "id -un"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == box["user"]
    pids = ordinary.pids()
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in pids}
    assert owners == {ordinary.options["user"]}
    ordinary.run("down")
    assert ordinary.alive(pids) == []
    assert ordinary.left() == []
