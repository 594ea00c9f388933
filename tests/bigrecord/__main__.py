"""``python -m tests.bigrecord [--deployments N]``: fills a private PostgreSQL, asks, and prints what it took.

The whole command is the installed ``vesemir``, interpreter start and all, its output to a pipe.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
from tests.bigrecord.filling import fill
from tests.bigrecord.questions import QUESTIONS, READS_ALL, scans, seconds_of, statements_of, without_index
from tests.integration.postgres_server import new_server

from vesemir.adapters.postgres import PostgresStore, migrate
from vesemir.settings import PostgresSettings

COMMAND = str(Path(sys.executable).with_name("vesemir"))
GOAL = 0.3
TIMES = 7
COMMANDS = 4


def whole_command(dsn: str, words: str) -> tuple[float, float]:
    """The best (wall, CPU) seconds of some."""
    walls, cpus = [], []
    for _ in range(COMMANDS):
        before, begun = _children(), time.perf_counter()
        subprocess.run(
            [COMMAND, *words.split()], env={"PATH": "/usr/bin:/bin", "VESEMIR_POSTGRES__DSN": dsn}, check=True,
            stdout=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        walls.append(time.perf_counter() - begun)
        cpus.append(_children() - before)
    return min(walls), min(cpus)


def _children() -> float:
    import resource  # noqa: PLC0415

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def measure(dsn: str) -> int:
    """Prints a line per question; how many missed the goal or read a big table without an index."""
    missed = 0
    connection = await asyncpg.connect(dsn, timeout=30)
    print(f"{'best of some':<68} {'queries':>9} {'median':>9} {'command':>9} {'its CPU':>9}  indexes")
    async with PostgresStore.connected(PostgresSettings(dsn=dsn), instance="bench") as store:
        for words, ask in QUESTIONS.items():
            best, median = await seconds_of(store, ask, times=TIMES)
            found = [each for asked in await statements_of(store, ask) for each in await scans(connection, asked)]
            wall, cpu = await asyncio.to_thread(whole_command, dsn, words)
            bad = without_index(found) if words not in READS_ALL else []
            missed += best > GOAL or bool(bad)
            indexes = dict.fromkeys(name for kind, name in found if kind != "Seq Scan")
            told = f"NONE FOR {', '.join(bad)}" if bad else ", ".join(indexes) or "reads every outcome, as asked"
            times = f"{best * 1000:6.1f} ms {median * 1000:6.1f} ms {wall * 1000:6.0f} ms {cpu * 1000:6.0f} ms"
            print(f"vesemir {words:<60} {times}  {told}", flush=True)
    await connection.close(timeout=10)
    return missed


async def filled_and_measured(dsn: str, deployments: int) -> int:
    await migrate(dsn)
    begun = time.perf_counter()
    await fill(dsn, deployments)
    print(f"{deployments:,} deployments recorded in {time.perf_counter() - begun:.0f} s:")
    connection = await asyncpg.connect(dsn, timeout=30)
    for table in ("deployment", "target", "step", "event", "outcome"):
        rows = await connection.fetchval("SELECT reltuples::bigint FROM pg_class WHERE relname = $1", table)
        size = await connection.fetchval("SELECT pg_size_pretty(pg_total_relation_size($1::text::regclass))", table)
        print(f"  {table:<10} {rows:>9,} rows {size:>8} with its indexes")
    await connection.close(timeout=10)
    nothing, cpu = whole_command(dsn, "--version")
    print(f"`vesemir --version`, which asks nobody: {nothing * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU\n")
    return await measure(dsn)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bigrecord", description=__doc__)
    parser.add_argument("--deployments", type=int, default=100_000)
    asked = parser.parse_args()
    server = new_server()
    try:
        server.initialise()
        server.start()
        asyncio.run(server.execute("CREATE DATABASE big"))
        missed = asyncio.run(filled_and_measured(server.dsn("big"), asked.deployments))
    finally:
        server.stop()
        shutil.rmtree(server.folder)
    goal = f"every query under {GOAL * 1000:.0f} ms and by an index"
    print(f"\n{goal}: {'yes' if not missed else f'NO, {missed} of {len(QUESTIONS)} missed it'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
