"""CPU, memory and wall time of processes, by proc(5): what a program took with all that it started."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of wall and CPU, the peak of the whole tree's memory in MB, and the exit status."""

    wall: float
    cpu: float
    peak_mb: float
    status: int
    output: str = ""


def parents() -> dict[int, list[int]]:
    """Every process's children."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                found.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                    int(entry.name)
                )
    return found


def tree(*pids: int) -> list[int]:
    """These processes and all under them."""
    below, found, waiting = parents(), list(pids), list(pids)
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def cpu_of(pid: int, *, reaped: bool = True) -> float:
    """Seconds of CPU, with those of the children that it has waited for; 0 when it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, words[11 : 15 if reaped else 13])) / TICKS


def tree_cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU of these processes, all that lives under them, and all that they have waited for."""
    return sum(cpu_of(pid) for pid in tree(*pids))


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """``VmRSS`` is what it is now, ``VmHWM`` its peak; 0 when it is gone."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
    return 0.0


def run_measured(words: Sequence[str], *, environment: Mapping[str, str], seconds: float) -> Usage:
    """Run a program to its end. CPU is the kernel's own sum over it and everything that it waited for.

    Raises ``TimeoutError`` after ``seconds``; the program is killed then.
    """
    started = time.monotonic()
    with subprocess.Popen(
        words, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:  # fmt: skip
        peak = _Peak(child.pid)
        said = _Reader(child)
        try:
            usage, status = _waited(child.pid, started + seconds)
        finally:
            wall = time.monotonic() - started
            peak.stop()
        child.returncode = os.waitstatus_to_exitcode(status)
        return Usage(wall, usage.ru_utime + usage.ru_stime, peak.mb, child.returncode, said.text())


def _waited(pid: int, deadline: float) -> tuple[resource.struct_rusage, int]:
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return usage, status
        if time.monotonic() > deadline:
            os.killpg(pid, 9)
            os.wait4(pid, 0)
            raise TimeoutError(f"process {pid} took too long")
        time.sleep(0.005)


class _Reader(threading.Thread):
    """Keeps the end of what a program prints."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        super().__init__(daemon=True)
        self._child = child
        self._said = b""
        self.start()

    def run(self) -> None:
        assert self._child.stdout is not None
        while piece := os.read(self._child.stdout.fileno(), 65536):
            self._said = (self._said + piece)[-20000:]

    def text(self) -> str:
        self.join(5)
        return self._said.decode("utf-8", "replace")


class _Peak(threading.Thread):
    """The largest sum of resident memory over a tree, as sampled."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.mb = max(self.mb, sum(memory_mb(pid) for pid in tree(self._pid)))

    def stop(self) -> None:
        self._ended.set()
        self.join()
