"""The root trees of machines: overlay mounts below the lab's folder, and taking every one of them away again.

The base is shared and only read; what a machine changes lies beside its tree, in the lab's folder. The mounts are the
machine's own and visible to all, so that tests may look into a tree while its machine runs.
"""

import re
import subprocess
from pathlib import Path

from vesemir.lab.places import LabError

_ESCAPED = re.compile(r"\\(\d{3})")


def mount_tree(base: Path, tree: Path) -> None:
    """Mount ``tree``, its changes beside it in ``changes``. Raises ``LabError`` where the kernel refuses."""
    for name in ("changes", "work"):
        (tree.parent / name).mkdir(parents=True)
    tree.mkdir()
    # Relative names, for the kernel reads commas and colons in paths in its own way.
    options = f"lowerdir={base},upperdir=changes,workdir=work"
    words = ["mount", "-t", "overlay", "-o", options, "vesemir-lab", tree.name]
    tried = subprocess.run(words, cwd=tree.parent, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise LabError(
            f"cannot mount {tree}: {tried.stderr.strip()}. A folder on an overlay itself (a container's) cannot hold "
            "machines: choose a --dir on a disk or in memory (/dev/shm)"
        )


def unmount_below(folder: Path) -> None:
    """Whatever is mounted below ``folder``, the innermost first; one that is still in use goes when it is not any more.

    Raises ``LabError`` when something stays.
    """
    for place in reversed(_mounted(folder)):
        if subprocess.run(["umount", "--", place], capture_output=True, check=False).returncode != 0:
            subprocess.run(["umount", "--lazy", "--", place], capture_output=True, check=False)
    if left := _mounted(folder):
        raise LabError(f"still mounted: {', '.join(map(str, left))}; try `vesemir lab down` again")


def _mounted(folder: Path) -> list[Path]:
    """In the order in which they were mounted (proc(5), mountinfo: the fifth field, odd characters in octal)."""
    real = folder.resolve()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = (Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split(" ", 5)[4])) for line in lines)
    return [place for place in places if place.is_relative_to(real)]
