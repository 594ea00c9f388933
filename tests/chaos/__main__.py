"""``python -m tests.chaos [COMMAND] [--tries N]``: all faults (the default), or one of issue 3's Must show commands."""

import argparse
import asyncio
import logging
import shlex
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos import table
from tests.chaos.catalogue import FAULTS, Fault
from tests.chaos.servers import lab_up
from tests.chaos.shows import dead, kill20, output
from tests.chaos.soak import soak
from tests.chaos.tallying import Told, run_faults
from tests.chaos.verdict import Score

SHOWS: dict[str, Callable[[Path, int], Awaitable[tuple[str, bool]]]] = {
    "kill20": kill20,
    "dead": dead,
    "output": output,
    "soak": soak,
}
USUAL = {"kill20": 50, "dead": 3, "output": 1, "soak": 500}
"""How many times, or deployments, without ``--tries``."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("command", nargs="?", default="faults", choices=["faults", *SHOWS])
    parser.add_argument("--tries", type=int, help="how often each fault is tried (1), or what the command repeats")
    parser.add_argument("--faults", default="", help="only these numbers, with commas between")
    parser.add_argument("--side-by-side", type=int, default=3, help="faults that are tried at the same time (3)")
    parser.add_argument("--keep", type=Path, help="folder for the lab and the logs, which then stay")
    parser.add_argument("--results", type=Path, help="JSON file in which rows of several runs are put together")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    return parser.parse_args()


async def _faults(arguments: argparse.Namespace, folder: Path) -> bool:
    wanted = set(arguments.faults.split(",")) if arguments.faults else {fault.number for fault in FAULTS}
    chosen = [fault for fault in FAULTS if fault.number in wanted]
    if not chosen:
        raise SystemExit(f"no such fault; there is: {', '.join(fault.number for fault in FAULTS)}")

    order = [fault.number for fault in FAULTS]

    def tell(score: Score) -> None:
        table.merged(arguments.results, [score], order)
        mark = "BROKEN" if score.broken else "ok"
        print(f"{mark:6} {' | '.join(table.row(score))} ({score.seconds:.0f} s)", flush=True)

    scores = await _scores(arguments, folder, chosen, tell)
    rows = table.merged(arguments.results, scores, order)
    text = table.markdown(rows)
    print(text)
    for score in scores:
        for trouble in score.troubles:
            print(f"fault {score.fault}: {trouble}")
    if arguments.write:
        table.write("faults", f"{text}\n\n{_how()}")
    return any(score.broken for score in scores)


async def _scores(arguments: argparse.Namespace, folder: Path, chosen: list[Fault], tell: Told) -> list[Score]:
    """In one lab; those of a cluster in another; and those of its databases in a new one for each try."""
    tries, side_by_side, scores = arguments.tries or 1, arguments.side_by_side, list[Score]()
    if usual := [fault for fault in chosen if not fault.ha]:
        async with lab_up(folder / "lab", boxes=6) as lab:
            scores += await run_faults(lab, usual, tries=tries, side_by_side=side_by_side, tell=tell)
    if brokers := [fault for fault in chosen if fault.ha == "brokers"]:
        async with lab_up(folder / "ha", boxes=6, ha=True) as lab:
            scores += await run_faults(lab, brokers, tries=tries, side_by_side=1, tell=tell)
    for fault in (fault for fault in chosen if fault.ha == "databases"):
        whole = Score(fault.number, fault.title)
        for number in range(tries):
            async with lab_up(folder / f"ha{fault.number}-{number}", boxes=6, ha=True) as lab:
                whole.add((await run_faults(lab, [fault], tries=1, side_by_side=1, tell=lambda _: None))[0])
        tell(whole)
        scores.append(whole)
    return scores


def _how() -> str:
    return f"`python -m tests.chaos {shlex.join(sys.argv[1:])}`, {table.machine()}"


async def _show(arguments: argparse.Namespace, folder: Path) -> bool:
    name = arguments.command
    text, broken = await SHOWS[name](folder, arguments.tries or USUAL[name])
    print(text)
    if arguments.write:
        table.write(name, f"{text}\n\n{_how()}")
    return broken


def main() -> int:
    arguments = _arguments()
    for library in ("aio_pika", "aiormq"):  # its own requester is meant to lose its connection
        logging.getLogger(library).setLevel(logging.CRITICAL)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        broken = asyncio.run((_faults if arguments.command == "faults" else _show)(arguments, folder))
    print(f"{'BROKEN' if broken else 'ok'} after {time.monotonic() - begun:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
