"""Results as a table for people, JSON for programs, and a chart for docs/performance.md."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.model import GoalResult

COLOURS = {True: "green", False: "red"}


def show(console: Console, result: GoalResult) -> None:
    """One goal: what was measured, then each check."""
    columns = list(dict.fromkeys(column for line in result.lines for column in line.figures))
    table = Table(title=f"goal {result.number}: {result.title}", title_justify="left", title_style="bold")
    table.add_column("median (spread)")
    for column in columns:
        table.add_column(column, justify="right")
    for line in result.lines:
        table.add_row(line.name, *(str(line.figures[column]) if column in line.figures else "" for column in columns))
    console.print(table)
    for check in result.checks:
        console.print(f"  [{COLOURS[check.met]}]{'met' if check.met else 'NOT MET'}[/]  {check.what}: {check}")
    for note in result.notes:
        console.print(f"  {note}")
    console.print()


def summary(console: Console, results: Sequence[GoalResult]) -> None:
    table = Table(title="the goals", title_justify="left", title_style="bold")
    for column in ("#", "goal", "verdict", "checks", "seconds"):
        table.add_column(column)
    for result in results:
        bad = [f"{check.what}: {check}" for check in result.checks if not check.met]
        verdict = f"[{COLOURS[result.met]}]{'met' if result.met else 'not met'}[/]"
        table.add_row(str(result.number), result.title, verdict, "\n".join(bad) or "all", f"{result.seconds:.0f}")
    console.print(table)


def described() -> dict[str, Any]:
    """The machine, and the versions of what ran."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()
    packages = ("asyncssh", "aio-pika", "asyncpg", "uvloop", "cryptography", "pydantic")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "processor": _processor(),
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write_json(file: Path, results: Sequence[GoalResult]) -> None:
    goals = [
        {
            **asdict(result),
            "met": result.met,
            "checks": [{**asdict(check), "met": check.met} for check in result.checks],
        }
        for result in results
    ]
    file.write_text(json.dumps({**described(), "goals": goals}, indent=1) + "\n")
