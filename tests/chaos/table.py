"""The table of a run: printed, kept as JSON so that runs can be put together, and written into docs/reliability.md."""

import datetime as dt
import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.chaos.verdict import Score

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
COLUMNS = (
    "fault", "", "tries", "survived", "events lost", "results lost", "doubled under another id",
    "finished targets run again", "in-flight redos", "overlaps", "recovery p50", "recovery p95",
)  # fmt: skip


def row(score: Score) -> list[str]:
    def seconds(share: float) -> str:
        found = score.recovery(share)
        return "" if found is None else f"{found:.1f} s"

    counts = (
        score.tries, score.survived, score.events_lost, score.results_lost, score.doubled,
        score.run_again, score.redos, score.overlaps,
    )  # fmt: skip
    return [score.fault, score.title, *map(str, counts), seconds(0.5), seconds(0.95)]


def markdown(scores: Iterable[Score]) -> str:
    lines = [COLUMNS, ["---"] * 2 + ["---:"] * (len(COLUMNS) - 2), *map(row, scores)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    now = dt.datetime.now(dt.UTC)
    return f"{now:%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def merged(file: Path | None, scores: Sequence[Score], order: Sequence[str]) -> list[Score]:
    """With the rows that an earlier run kept in ``file``; a fault that was run again has its new row."""
    known: dict[str, Score] = {}
    if file is not None and file.exists():
        known = {each["fault"]: Score(**each) for each in json.loads(file.read_text())}
    known |= {score.fault: score for score in scores}
    found = [known[number] for number in order if number in known]
    if file is not None:
        file.write_text(json.dumps([asdict(score) for score in found], indent=1) + "\n")
    return found


def write(section: str, text: str) -> None:
    """Between ``<!-- chaos:SECTION -->`` and ``<!-- /chaos:SECTION -->`` of the document."""
    whole = DOCUMENT.read_text()
    pattern = re.compile(rf"(<!-- chaos:{section} -->\n).*?(<!-- /chaos:{section} -->)", re.DOTALL)
    if not pattern.search(whole):
        raise ValueError(f"{DOCUMENT} has no section {section}")
    DOCUMENT.write_text(pattern.sub(lambda found: f"{found[1]}{text.rstrip()}\n{found[2]}", whole))
