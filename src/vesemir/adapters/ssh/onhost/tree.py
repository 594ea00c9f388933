"""Ends what a step started, and proves it.

A supervisor is a subreaper: whatever a step's processes do, once their parents are gone they are its children.
So ``waitpid`` that finds no child proves that nothing is left, in one system call. Otherwise the family is stopped
(a stopped process cannot fork), killed and reaped, again and again, until that holds. Members that ran under sudo are
another user's: for those that may not be signalled, ``sudo -n kill`` is tried.
"""
# pathlib is slow to import on a target; programs are found on PATH on purpose
# ruff: noqa: S606, S607

import os
import select
import signal
import time

from vesemir.adapters.ssh.onhost.kernel import every_pid, look_at, read_file, start_time, tagged

END_SECONDS = 5.0
"""How long killing is tried before what is left is called not ended (uninterruptible sleep, another user's)."""


class Reaper:
    """Keeps how children ended. ``spared`` are children that are none of a step's: sudo with the nested supervisor."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.spared: set[int] = set()
        self.given_up: set[int] = set()

    def reap(self) -> bool:
        """Collect all that died; True when the kernel says that there is no child left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            self.statuses[pid] = status
            self.spared.discard(pid)
            self.given_up.discard(pid)

    def nothing_left(self) -> bool:
        if self.reap():
            return True
        return bool(self.spared or self.given_up) and not self.reap() and not self.family()

    def family(self, act: int = 0) -> list[int]:
        """Living descendants but the spared and given up; each is sent the signal ``act`` when it is seen."""
        relatives = {os.getpid()}
        found = []
        for pid in every_pid():
            seen = look_at(pid)
            if seen is None or seen[1] not in relatives or pid in self.spared or pid in self.given_up:
                continue
            relatives.add(pid)
            if seen[0] != b"Z":
                found.append(pid)
                if act:
                    send_signal(pid, act)
        return found

    def terminate(self) -> None:
        """Ask politely."""
        self.family(signal.SIGTERM)

    def end_family(self) -> tuple[int, bool]:
        """Stop, kill and reap until nothing is left; how many were killed, and whether nothing is left."""
        limit = time.monotonic() + END_SECONDS
        killed: set[int] = set()
        while not self.nothing_left():
            if time.monotonic() > limit:
                left = set(self.family())
                self.given_up |= left
                return len(killed - left), not left
            stopped = set(self.newest_children())
            while True:
                fresh = set(self.family(signal.SIGSTOP)) - stopped
                if not fresh:
                    break
                stopped |= fresh
                if time.monotonic() > limit:
                    break
            denied = [pid for pid in stopped if not send_signal(pid, signal.SIGKILL)]
            killed |= stopped
            if denied:
                kill_with_sudo(denied, limit)
            select.select(
                [], [], [], 0.002
            )  # the kernel needs a moment to end them; only reached while something lives
        return len(killed), True

    def newest_children(self) -> list[int]:
        """Stop the newest orphans: of a chain where each forks once and exits, a look at /proc sees none."""
        caught = []
        for _ in range(50):
            newest = int((read_file("/proc/loadavg").split() or [b"0"])[-1])
            for pid in range(newest, max(newest - 3, 1), -1):
                seen = look_at(pid)
                if seen and seen[1] == os.getpid() and seen[0] not in b"ZTt" and pid not in self.spared | self.given_up:
                    send_signal(pid, signal.SIGSTOP)
                    caught.append(pid)
        return caught


def send_signal(pid: int, number: int) -> bool:
    """False only when it is not allowed."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def kill_with_sudo(pids: list[int], limit: float) -> None:
    """Another user's processes (a step's own sudo, a nested supervisor that was itself killed)."""
    if os.geteuid() == 0:
        return
    child = os.fork()
    if child == 0:
        try:
            silence = os.open("/dev/null", os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(silence, descriptor)
            os.execvp("sudo", ["sudo", "-n", "--", "kill", "-s", "KILL"] + [str(pid) for pid in pids])
        finally:
            os._exit(127)
    while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < limit:
        select.select([], [], [], 0.01)


def end_tagged(tag: int) -> bool:
    """Kill the orphans of a supervisor that was itself killed, found by its tag; True when none is left."""
    limit = time.monotonic() + END_SECONDS
    while True:
        orphans = tagged(tag)
        if not orphans:
            return True
        if time.monotonic() > limit:
            return False
        for pid in orphans:
            send_signal(pid, signal.SIGSTOP)
        denied = [pid for pid in orphans if not send_signal(pid, signal.SIGKILL)]
        if denied:
            kill_with_sudo(denied, limit)
        select.select([], [], [], 0.005)


def end_supervisor(pid: int, started: int) -> None:
    """Kill another supervisor that does not give way although its epoch is over (it hangs, or is stopped)."""
    if started and start_time(pid) == started:
        send_signal(pid, signal.SIGKILL)
