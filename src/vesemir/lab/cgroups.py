"""A control group for each machine.

systemd in a container takes the group that it is started in as its root, so two machines started in one group would
share their units' groups.

They lie at the top of each hierarchy in which systemd keeps its units: the only one of version 2, and ``name=systemd``
of version 1 (systemd.io/CGROUP_DELEGATION has the three ways in which hosts mount them).
"""

from contextlib import suppress
from pathlib import Path

from vesemir.lab.places import LabError

_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


def make_groups(token: str, name: str) -> list[Path]:
    """The groups of machine ``name`` in the lab that ``token`` names."""
    made = [top / _folder(token) / name for top in _hierarchies()]
    try:
        for group in made:
            group.mkdir(parents=True)
    except OSError as error:
        raise LabError(f"cannot make the control group {error.filename}: {error.strerror}") from error
    return made


def in_groups(groups: list[Path], words: list[str]) -> list[str]:
    """``words`` as a program that first enters ``groups``."""
    return ["/bin/sh", "-c", _JOIN, "sh", *map(str, groups), "--", *words]


def remove_groups(token: str) -> None:
    """All of a lab's; they are empty when its processes have ended."""
    for top in _hierarchies():
        folder = top / _folder(token)
        inner = [path for path in folder.rglob("*") if path.is_dir()] if folder.exists() else []
        for group in (*sorted(inner, reverse=True), folder):
            with suppress(OSError):  # gone already, or a process in uninterruptible sleep: the next `down` gets it
                group.rmdir()


def has_hierarchies() -> bool:
    return bool(_hierarchies())


def _folder(token: str) -> str:
    return f"vesemir-lab-{token[:12]}"


def _hierarchies() -> list[Path]:
    """Where those of systemd are mounted (proc(5), mountinfo: after the dash come type, source and options)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where, _, what = line.partition(" - ")
        kind, _, options = what.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(where.split(" ")[4]))
    return found
