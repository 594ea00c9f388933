"""Into a machine as its root, past sshd: what its administrator does at the console."""

import os
from collections.abc import Sequence
from pathlib import Path

from vesemir.lab import proc
from vesemir.lab.machines import BOOTED
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH
from vesemir.lab.roster import Roster

_ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def entering(processes: Path, name: str, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Program and environment that run ``words`` on machine ``name`` of the lab whose processes are in that file.

    nsenter(1) into all namespaces of the machine's first process. Raises ``LabError`` when there is no such machine.
    """
    roster = Roster.read(processes)
    entries = [] if roster is None or not roster.of_this_boot else [each for each in roster.entries if each.alive]
    machines = {each.name.removesuffix(BOOTED): each.pid for each in entries if each.name.endswith(BOOTED)}
    if name not in machines:
        known = ", ".join(machines) or "none: it was not started with --systemd, or is not up"
        raise LabError(f"the lab has no machine {name!r}; it has {known}")
    first = next((seen.pid for seen in proc.everyone().values() if seen.parent == machines[name]), None)
    if first is None:
        raise LabError(f"the machine {name} is booting; try again in a moment")
    return ["nsenter", "--target", str(first), "--all", "--root", "--wdns=/", "--", *words], dict(_ENVIRONMENT)


def enter(processes: Path, name: str, words: Sequence[str]) -> int:
    """Run ``words`` there with this process's own input and output; its exit status."""
    program, environment = entering(processes, name, words)
    return os.waitstatus_to_exitcode(
        os.waitpid(os.posix_spawnp(program[0], program, {**environment, "TERM": os.environ.get("TERM", "dumb")}), 0)[1]
    )
