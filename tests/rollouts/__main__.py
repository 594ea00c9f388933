"""``python -m tests.rollouts [broken]``: rollouts under load, each in a lab of its own.

Without a word: a working release at several concurrencies, with one and two HAProxies, which are reloaded meanwhile; a
row for each rollout. ``broken``: a release whose application does not start, stopped and rolled back. Exit status 0
only if no request failed and everything else that was promised held. A rollout one box at a time takes a minute and a
half.
"""

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.picky_release import path_of, picky
from tests.acceptance.running_daemon import running
from tests.rollouts.arena import Cell, Outcome, roll_out
from tests.rollouts.broken import BROKEN, Case, broken_release

COLUMNS = ("HAProxies", "concurrency", "reloads", "requests", "of them slow", "failed", "seconds", "most out at once")


def main() -> int:
    asked = _arguments()
    random.seed(asked.seed)
    cells = list(_cells(asked))
    balancers = 1 if asked.what == "broken" else max(cell.balancers for cell in cells)
    with ExitStack() as stack:
        folder = Path(asked.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="vesemir-rollouts-")))
        place = folder / "lab"
        stack.callback(vesemir, "lab", "down", "--dir", str(place))
        words = ("--boxes", str(asked.boxes), "--balancers", str(balancers))
        vesemir("lab", "up", "--dir", str(place), *words, "--detach")
        lab = Lab(place)
        roots = [str(path_of(lab.artifact(BROKEN)).parent), str(folder)]
        stack.enter_context(running(lab, folder, "rollouts", {"VESEMIR_ARTIFACTS__ROOTS": json.dumps(roots)}))
        print(f"{_machine()}; {asked.boxes} boxes, seed {asked.seed}\n")
        broken = _broken(lab, folder) if asked.what == "broken" else _working(lab, cells, asked.boxes)
    print("\n" + ("\n".join(broken) or "No request failed, everything held."))
    return 1 if broken else 0


def _working(lab: Lab, cells: Sequence[Cell], boxes: int) -> list[str]:
    print(_line(COLUMNS), _line(["---:"] * len(COLUMNS)), sep="\n", flush=True)
    return [text for cell in cells for text in _shown(asyncio.run(roll_out(lab, cell)), boxes)]


def _broken(lab: Lab, folder: Path) -> list[str]:
    broken, picked = lab.artifact(BROKEN), picky(lab.artifact("2.0.0"), folder, lab.names[-1:])
    cases = [
        Case(broken, "rollback", 1),
        Case(broken, "rollback", 3),
        Case(picked, "rollback", 3, changes=True),
        Case(broken, "stop", 1),
    ]
    complaints = []
    for case in cases:
        seen = asyncio.run(broken_release(lab, case))
        print(seen.told(), flush=True)
        complaints += seen.complaints()
    return complaints


def _shown(outcome: Outcome, boxes: int) -> list[str]:
    cell, seen = outcome.cell, outcome.seen
    row = (
        cell.balancers, cell.concurrency, outcome.reloads, seen.total, seen.requests["slow"], seen.failed,
        f"{outcome.seconds:.1f}", outcome.most_out,
    )  # fmt: skip
    print(_line(row), flush=True)
    complaints = outcome.complaints(boxes)
    for text in complaints:
        print(f"  {text}", file=sys.stderr, flush=True)
    return [f"{cell}: {text}" for text in complaints]


def _line(words: "list[str] | tuple[object, ...]") -> str:
    return f"| {' | '.join(map(str, words))} |"


def _cells(asked: argparse.Namespace) -> Iterator[Cell]:
    for _ in range(asked.times):
        for balancers in map(int, asked.balancers.split(",")):
            for text in asked.concurrency.split(","):
                for reloads in map(int, asked.reloads.split(",")):
                    yield Cell(text if text.endswith("%") else int(text), balancers, reloads)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.rollouts", description=__doc__)
    parser.add_argument("what", nargs="?", default="working", choices=["working", "broken"], help="which release")
    parser.add_argument("--boxes", type=int, default=10, help="boxes of the lab (10)")
    parser.add_argument("--concurrency", default="1,3,50%", help="with commas between (1,3,50%%)")
    parser.add_argument("--balancers", default="1,2", help="how many HAProxies, with commas between (1,2)")
    parser.add_argument("--reloads", default="0,2", help="reloads of each HAProxy, with commas between (0,2)")
    parser.add_argument("--times", type=int, default=1, help="how often all of it (1)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of the moments")
    parser.add_argument("--keep", type=Path, help="an empty folder for the lab and the logs, which then stay")
    return parser.parse_args()


def _machine() -> str:
    today = dt.datetime.now(dt.UTC)
    return f"{today:%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
