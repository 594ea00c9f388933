"""Runs side by side, as the Markdown table of docs/performance.md: ``python -m benchmarks.table RUN.json ...``."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Run = Mapping[str, Any]


def rows(runs: Sequence[Run]) -> Iterator[list[str]]:
    """A row for each check that all runs made: goal, what, limit, the figure of each run, the verdict or verdicts."""
    made = [
        {(goal["number"], check["what"]): check for goal in run["goals"] for check in goal["checks"]} for run in runs
    ]
    for number, what in made[0]:
        checks = [each[number, what] for each in made if (number, what) in each]
        if len(checks) < len(runs):
            continue
        first = checks[0]
        limit = f"{'≥' if first['at_least'] else '≤'} {first['limit']:g} {first['unit']}".rstrip()
        verdicts = sorted({"met" if check["met"] else "**not met**" for check in checks})
        yield [str(number), what, limit, *(f"{check['figure']:.3g}" for check in checks), " / ".join(verdicts)]


def table(runs: Sequence[Run]) -> str:
    head = ["#", "what", "goal", *(f"run {number}" for number in range(1, len(runs) + 1)), "verdict"]
    lines = [head, ["---"] * len(head), *rows(runs)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    print(table([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
