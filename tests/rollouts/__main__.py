"""``python -m tests.rollouts``: rollouts under load, at several concurrencies, with one and two HAProxies, reloaded.

Brings up a lab of its own, prints a row for each rollout, and exits with 0 only if no request failed and everything
else that was promised held. About a minute and a half for a rollout one box at a time.
"""

import argparse
import asyncio
import datetime as dt
import os
import platform
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.running_daemon import running
from tests.rollouts.arena import Cell, Outcome, roll_out

COLUMNS = ("HAProxies", "concurrency", "reloads", "requests", "of them slow", "failed", "seconds", "most out at once")


def main() -> int:
    asked = _arguments()
    random.seed(asked.seed)
    cells = list(_cells(asked))
    with ExitStack() as stack:
        folder = Path(asked.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="vesemir-rollouts-")))
        place = folder / "lab"
        stack.callback(vesemir, "lab", "down", "--dir", str(place))
        most = max(cell.balancers for cell in cells)
        words = ("--boxes", str(asked.boxes), "--balancers", str(most))
        vesemir("lab", "up", "--dir", str(place), *words, "--detach")
        lab = Lab(place)
        stack.enter_context(running(lab, folder, "rollouts", {}))
        print(f"{_machine()}; {asked.boxes} boxes, seed {asked.seed}\n")
        print(_line(COLUMNS), _line(["---:"] * len(COLUMNS)), sep="\n", flush=True)
        broken = [text for cell in cells for text in _shown(asyncio.run(roll_out(lab, cell)), asked.boxes)]
    print("\n" + ("\n".join(broken) or f"{len(cells)} rollouts: no request failed, everything held."))
    return 1 if broken else 0


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
