"""The lab's own server processes, stopped and started again as they were: an outage of a real server."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.installed_lab import Lab
from tests.acceptance.patience import until

SECONDS = 60
MARK = "VESEMIR_LAB_TOKEN"


@contextmanager
def stopped(lab: Lab, name: str) -> Iterator[None]:
    """Not running within the block; started again after it with the same words, environment, folder and account.

    The new process has the lab's mark in its environment, so ``vesemir lab down`` finds it.
    """
    listed = json.loads((lab.folder / "processes.json").read_text())
    entry = next(each for each in listed["entries"] if each["name"] == name)
    pid, files = entry["pid"], Path(f"/proc/{entry['pid']}")
    words = _split(files / "cmdline")
    environment = dict(word.partition("=")[::2] for word in _split(files / "environ"))
    if words[0].startswith("sshd: "):  # it writes what it does over its words and its environment
        words = words[0].removeprefix("sshd: ").partition(" [")[0].split()
        environment = {"PATH": os.environ["PATH"], MARK: listed["token"]}
    folder = (files / "cwd").readlink()
    ids = {
        line.split(":")[0]: [int(number) for number in line.split()[1:]]
        for line in (files / "status").read_text().splitlines()
        if line.startswith(("Uid:", "Gid:", "Groups:"))
    }
    os.kill(pid, signal.Signals[entry["stop"]])
    until(lambda: _dead(pid), what=f"{name} has stopped", seconds=SECONDS)
    try:
        yield
    finally:
        root = os.geteuid() == 0
        _started.append(
            subprocess.Popen(
                words, executable=words[0], env=environment, cwd=folder, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                user=ids["Uid"][1] if root else None, group=ids["Gid"][1] if root else None,
                extra_groups=ids["Groups"] if root else None,
            )
        )  # fmt: skip
        entry["pid"] = _started[-1].pid
        entry["started"] = int(Path(f"/proc/{entry['pid']}/stat").read_text().rpartition(")")[2].split()[19])
        _rewrite(lab.folder / "processes.json", name, entry)


_started: list["subprocess.Popen[bytes]"] = []
"""Kept, so that nobody wonders at a process that is still running; the lab ends them."""


def _split(file: Path) -> list[str]:
    return [os.fsdecode(word) for word in file.read_bytes().split(b"\0")[:-1]]


def _dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _rewrite(file: Path, name: str, entry: dict[str, object]) -> None:
    """The lab's list tells of the new process, so that the next outage of it finds it."""
    listed = json.loads(file.read_text())
    listed["entries"] = [entry if each["name"] == name else each for each in listed["entries"]]
    file.write_text(json.dumps(listed))
