"""What ``/proc`` tells of running programs: their start times, their families, their environment.

A process id alone names nothing for long: it is used again. With the start time (field 22 of proc(5)'s ``stat``, in
clock ticks since boot) and the boot id it names one process for ever.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Seen:
    """One process as ``/proc`` shows it; ``started`` is in clock ticks since boot."""

    pid: int
    parent: int
    started: int
    state: str

    @property
    def dead(self) -> bool:
        """A zombie runs no more and only waits to be collected by its parent."""
        return self.state in {"Z", "X"}


def boot_id() -> str:
    """Changes with every boot (random(4))."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def look(pid: int) -> Seen | None:
    """The process, or None if there is none. The name in ``stat`` may hold spaces and brackets, so it is cut off."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Seen(pid=pid, state=fields[0], parent=int(fields[1]), started=int(fields[19]))


def everyone() -> dict[int, Seen]:
    """Every process of the machine, by its id."""
    found = (look(int(name)) for name in os.listdir(PROC) if name.isdigit())  # noqa: PTH208 -- names only, and quick
    return {seen.pid: seen for seen in found if seen is not None}


def family(roots: Iterable[int], among: dict[int, Seen]) -> set[int]:
    """The processes ``roots`` and everything below them."""
    children: dict[int, list[int]] = {}
    for seen in among.values():
        children.setdefault(seen.parent, []).append(seen.pid)
    members: set[int] = set()
    waiting = [pid for pid in roots if pid in among]
    while waiting:
        pid = waiting.pop()
        if pid not in members:
            members.add(pid)
            waiting.extend(children.get(pid, ()))
    return members


def environment(pid: int) -> dict[str, str]:
    """With which the process was started; empty where one may not look."""
    try:
        text = (PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def carries(pid: int, text: bytes) -> bool:
    """Whether the process was started with ``text`` in its environment; False where one may not look."""
    try:
        return text in (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
