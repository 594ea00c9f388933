"""``python -m tests.fuzz [--seconds N] [--only NAME,...] [--number N]``: each area for so long, with new examples.

Prints for each how many examples ran in how many seconds, and what was found, made small. The exit status is 1 if
something was. ``--number`` is where the random numbers begin; the same number gives the same examples.
"""

import argparse
import random
import sys
import time
import traceback

from tests.fuzz.areas import AREAS
from tests.fuzz.examine import Area, examine

ROUND = 500
"""Examples of one run of Hypothesis: it looks for variety within one."""
WIDEST = 600
"""Characters of a line of what was found: examples may be long."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for each area (600)")
    parser.add_argument("--only", default="", help=f"only these, with commas between: {', '.join(AREAS)}")
    parser.add_argument("--number", type=int, help="where the random numbers begin")
    return parser.parse_args()


def _fuzz(area: Area, *, seconds: float, number: int) -> bool:
    """Until the time is over or something was found; False if it was."""
    began, examples, found = time.monotonic(), 0, ""
    while not found and time.monotonic() - began < seconds:
        try:
            examples += examine(area, examples=ROUND, number=number)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            found = "".join(traceback.format_exception(error))
        else:
            number += 1
    print(
        f"{'FOUND' if found else 'ok':6} {area.name:12} {examples:>8} examples in {time.monotonic() - began:.0f} s: "
        f"{area.claim}" + (f" (--only {area.name} --number {number})" if found else ""),
        flush=True,
    )
    for line in found.splitlines():
        print(f"    {line[:WIDEST]}", flush=True)
    return not found


def main() -> None:
    arguments = _arguments()
    names = arguments.only.split(",") if arguments.only else list(AREAS)
    if unknown := [name for name in names if name not in AREAS]:
        raise SystemExit(f"no such area: {', '.join(unknown)}; there is: {', '.join(AREAS)}")
    number = random.SystemRandom().randrange(2**32) if arguments.number is None else arguments.number
    results = [_fuzz(AREAS[name], seconds=arguments.seconds, number=number) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
