"""Taking a lab down: every process that it started, and what those started, in whatever state it is.

First each recorded process gets the signal that ends it in good order, and what only ran in an SSH session is killed.
Whatever is left after the grace is killed, then ``/proc`` is read again until nothing of the lab is there any more.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from vesemir.lab import proc
from vesemir.lab.places import LabError
from vesemir.lab.roster import TOKEN, Roster, RosterEntry

GRACE_SECONDS = 10.0
_KILL_SECONDS = 10.0
_OWNER_SECONDS = 40.0
_COLLECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended: recorded processes in good order, and how many had to be killed or belonged to sessions."""

    entries: tuple[RosterEntry, ...]
    others: int
    killed: int


def stop_owner(roster: Roster) -> bool:
    """Ask an ``up`` that still runs to take its own lab down, and wait for it; False if there was none."""
    owner = roster.owner
    if owner is None or owner.pid == os.getpid() or not (roster.of_this_boot and owner.alive):
        return False
    with _watched([owner.pid]) as watched:
        _signal(owner.pid, signal.SIGTERM)
        if not _wait(watched, _OWNER_SECONDS):
            _signal(owner.pid, signal.SIGKILL)
            _wait(watched, _KILL_SECONDS)
    return True


def end(roster: Roster, *, grace: float = GRACE_SECONDS) -> Ended:
    """End everything of ``roster``, with ``grace`` seconds to do so in good order; returns when all of it is dead.

    Raises ``LabError`` if something cannot be killed (it is in uninterruptible sleep).
    """
    if not roster.of_this_boot:
        return Ended((), 0, 0)
    roster.collect()
    entries = tuple(entry for entry in roster.entries if entry.alive)
    signals = {entry.pid: signal.Signals[entry.stop] for entry in entries}
    members = _members(roster, {entry.pid for entry in entries})
    sessions = _session_members(entries)
    with _watched(members) as watched:
        for pid, number in signals.items():
            _signal(pid, number)
        for pid in sessions:
            _signal(pid, signal.SIGKILL)
        for pid in members:
            _signal(pid, signal.SIGCONT)  # what `lab node partition` has frozen hears nothing else
        _wait(watched, grace)
    killed = _kill_rest(roster, members)
    roster.collect()
    _collected(members)
    return Ended(entries, others=len(members) - len(entries), killed=killed)


def _session_members(entries: Iterable[RosterEntry]) -> set[int]:
    """What runs below an sshd: sessions and what they started. It has no good order to end in."""
    servers = {entry.pid for entry in entries if entry.name.endswith("/sshd")}
    return proc.family(servers, proc.everyone()) - servers


def _members(roster: Roster, known: set[int]) -> dict[int, int]:
    """Everything of the lab that runs: id to start time. This process and what called it are not part of it."""
    everyone = proc.everyone()
    mark = f"{TOKEN}={roster.token}".encode()
    marked = {pid for pid in everyone if pid not in known and proc.carries(pid, mark)}
    found = proc.family(known | marked, everyone) - _own_line(everyone)
    return {pid: everyone[pid].started for pid in found if not everyone[pid].dead}


def _own_line(everyone: dict[int, proc.Seen]) -> set[int]:
    line, pid = set(), os.getpid()
    while pid in everyone and pid not in line:
        line.add(pid)
        pid = everyone[pid].parent
    return line


def _kill_rest(roster: Roster, members: dict[int, int]) -> int:
    """Kill what is left until nothing is: ``members`` that live on, and whatever else belongs to the lab."""
    killed = 0
    deadline = time.monotonic() + _KILL_SECONDS
    while True:
        left = {pid for pid, started in members.items() if _same(pid, started)}
        left |= set(_members(roster, left))
        if not left:
            return killed
        if time.monotonic() > deadline:
            ids = ", ".join(str(pid) for pid in sorted(left))
            raise LabError(f"still running though killed: {ids} (uninterruptible sleep?); try `vesemir lab down` again")
        with _watched(left) as watched:
            for pid in left:
                _signal(pid, signal.SIGKILL)
            killed += len(left)
            _wait(watched, 1.0)


def _collected(members: dict[int, int]) -> None:
    """Wait a moment until their parents have collected the dead, so that not even their ids are left.

    Our own children we collect ourselves. For those of others nothing tells of it, and a slow init is no error.
    """
    deadline = time.monotonic() + _COLLECT_SECONDS
    left = set(members)
    while left and time.monotonic() < deadline:
        for pid in left:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        left = {pid for pid in left if (seen := proc.look(pid)) is not None and seen.started == members[pid]}
        if left:
            time.sleep(0.02)


def _same(pid: int, started: int) -> bool:
    seen = proc.look(pid)
    return seen is not None and seen.started == started and not seen.dead


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile, which is what was wanted
        os.kill(pid, number)


@contextmanager
def _watched(pids: Iterable[int]) -> Iterator[set[int]]:
    """Descriptors that become readable when their process has ended (pidfd_open(2))."""
    with ExitStack() as stack:
        descriptors = set()
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            descriptors.add(descriptor)
        yield descriptors


def _wait(watched: set[int], seconds: float) -> bool:
    """Wait until all have ended or the time is up; True if all have."""
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    left = set(watched)
    deadline = time.monotonic() + seconds
    while left:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        for descriptor, _ in poll.poll(remaining * 1000):
            poll.unregister(descriptor)
            left.discard(descriptor)
    return True
