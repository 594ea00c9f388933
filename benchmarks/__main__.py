"""Vesemir's goals (docs/performance.md), measured side by side with its peers in one run.

python -m benchmarks                      all ten goals, three rounds each: less than 20 minutes
python -m benchmarks --goal 3 --goal 7    some of them
python -m benchmarks --chart FILE.svg --json FILE.json
"""

import argparse
import asyncio
import dataclasses
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.bench import Bench
from benchmarks.chart import draw
from benchmarks.goals import GOALS
from benchmarks.model import GoalResult


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--goal", type=int, action="append", choices=sorted(GOALS), metavar="N", help="only this goal; may be repeated"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="how often each comparison is made (default 3)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the comparisons as SVG")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(".bench"),
        metavar="DIR",
        help="where peers are installed and kept (default .bench)",
    )
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    return given


async def main(given: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        print("python -m benchmarks needs root: its sshd logs root in without PAM", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    results: list[GoalResult] = []
    with tempfile.TemporaryDirectory(prefix="vesemir-bench-") as scratch:
        async with Bench.up(Path(scratch), peers=given.dir.resolve(), rounds=given.rounds) as bench:
            for number in given.goal or GOALS:
                print(f"goal {number} …", file=sys.stderr, flush=True)
                started = time.monotonic()
                result = dataclasses.replace(await GOALS[number](bench), seconds=time.monotonic() - started)
                results.append(result)
                report.show(console, result)
    report.summary(console, results)
    if given.json is not None:
        report.write_json(given.json, results)
    if given.chart is not None:
        given.chart.write_text(draw(results))
    return 0 if all(result.met for result in results) else 1


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # what was started is ended, as after Ctrl-C
    try:
        sys.exit(asyncio.run(main(arguments())))
    except KeyboardInterrupt:
        print("interrupted; everything that was started has ended", file=sys.stderr)
        sys.exit(130)
