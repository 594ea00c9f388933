"""What really happened on the boxes: a script that writes it down itself, and the reading of what it wrote.

The daemon's own word is not asked here. Each run of the script on a box has a nonce of its own; it appends a line when
it starts, ten times a second while it runs, and when it ends, to one file for each lane on that box. A line of a run
that is not the latest one is an overlap.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vesemir.adapters.ssh.naming import file_name

_SCRIPT = """\
id=${1%% *} lane=${1#* }
epoch=$(cat "$BOX_ROOT/var/lib/vesemir/lanes/$lane.epoch")
nonce=$$-$(date +%s%N)
say() { printf '%s %s %s script %s %s %s\\n' "$1" "$id" "$BOX_NAME" "$epoch" "$nonce" "$(date +%s.%N)" \
>>"$BOX_ROOT/oracle.$lane"; }
say start
"""
_TICK = "say tick; sleep 0.1\n"


def script(seconds: float, *, during: str = "") -> str:
    """What a step does: say so for so many seconds. ``during`` is done once, at the beginning."""
    loop = f"i=0; while [ $i -lt {round(seconds * 10)} ]; do {_TICK.strip()}; i=$((i + 1)); done\n"
    return f"{_SCRIPT}{during}\n{loop}say end\n"


def argument(deployment_id: str, lane: str) -> str:
    return f"{deployment_id} {file_name(lane)}"


@dataclass(slots=True)
class Run:
    """One run of the script on one box; times are this machine's clock."""

    deployment_id: str
    box: str
    epoch: int
    nonce: str
    started: float
    last: float
    ended: bool = False
    overlapped: bool = False


@dataclass(slots=True)
class Boxes:
    """Everything that the boxes say of one lane."""

    runs: list[Run] = field(default_factory=list)

    def of(self, deployment_id: str, box: str | None = None) -> list[Run]:
        return [run for run in self.runs if run.deployment_id == deployment_id and box in {None, run.box}]

    @property
    def overlaps(self) -> int:
        return sum(run.overlapped for run in self.runs)


def read(boxes: Iterable[Path], lane: str) -> Boxes:
    """``boxes`` are their roots."""
    found = Boxes()
    for root in boxes:
        try:
            text = (root / f"oracle.{file_name(lane)}").read_text()
        except FileNotFoundError:
            continue
        runs: dict[str, Run] = {}
        latest = ""
        for line in text.splitlines():
            what, deployment_id, box, _, epoch, nonce, at = line.split()
            if nonce not in runs:
                runs[nonce] = Run(deployment_id, box, int(epoch), nonce, float(at), float(at))
                latest = nonce
            run = runs[nonce]
            run.last = float(at)
            run.ended = run.ended or what == "end"
            run.overlapped = run.overlapped or nonce != latest
        found.runs += runs.values()
    return found
