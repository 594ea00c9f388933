"""What people ask of the record, and what PostgreSQL does for the answer: its statements, their time, their plans."""

import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from vesemir.adapters.postgres import PostgresStore, Reader
from vesemir.adapters.postgres.statements import Connection, Statement
from vesemir.domain.statistics import Question, StatisticsGrouping

Ask = Callable[[Reader], Awaitable[object]]

BIG = frozenset({"deployment", "target", "step", "event", "destination", "known_request", "outcome"})
"""Tables that grow with every deployment: none of them is read from one end to the other."""
_DEFAULT = (StatisticsGrouping.FAILURE, StatisticsGrouping.APPLICATION)


async def _overview(reader: Reader) -> None:
    await reader.going_on(limit=1000)
    await reader.last_ended(limit=10)


QUESTIONS: dict[str, Ask] = {
    "history": lambda reader: reader.deployments(limit=20),
    "history --limit 500": lambda reader: reader.deployments(limit=500),
    "history --application app30": lambda reader: reader.deployments(limit=20, application="app30"),
    "history --status timed_out": lambda reader: reader.deployments(limit=20, state="timed_out"),
    "history --status pending": lambda reader: reader.deployments(limit=20, state="pending"),
    "history --application app00 --environment production --status failed": lambda reader: reader.deployments(
        limit=20, application="app00", environment="production", state="failed"
    ),
    "history --team team3": lambda reader: reader.deployments(limit=20, team="team3"),
    "stats": lambda reader: reader.statistics(Question(by=_DEFAULT)),
    "stats --application app07": lambda reader: reader.statistics(Question(by=_DEFAULT, application="app07")),
    "stats --days 7 --by team --by selector": lambda reader: reader.statistics(
        Question(days=7, by=(StatisticsGrouping.TEAM, StatisticsGrouping.SELECTOR))
    ),
    "stats --all --by month": lambda reader: reader.statistics(Question(all_days=True, by=(StatisticsGrouping.MONTH,))),
    "status": _overview,
    "status dep-00003000": lambda reader: reader.deployment_view("dep-00003000"),
    "status open-15": lambda reader: reader.deployment_view("open-15"),
}
"""By the words of the command that asks it."""
READS_ALL = frozenset({"stats --all --by month"})
"""What counts over every outcome that there is reads every one: the one scan that no index saves."""


@dataclass(frozen=True)
class Asked:
    """One statement as it was sent."""

    name: str
    sql: str
    arguments: Sequence[object]


@contextmanager
def recorded() -> Iterator[list[Asked]]:
    """Every statement that is run meanwhile."""
    asked: list[Asked] = []
    arguments_of = Statement._arguments

    def remember(self: Statement, values: dict[str, object]) -> list[object]:
        arguments = arguments_of(self, values)
        asked.append(Asked(self.name, self._sql, arguments))
        return arguments

    Statement._arguments = remember  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        Statement._arguments = arguments_of  # type: ignore[method-assign]


async def statements_of(store: PostgresStore, ask: Ask) -> list[Asked]:
    with recorded() as asked:
        await ask(store)
    return asked


async def seconds_of(store: PostgresStore, ask: Ask, *, times: int) -> tuple[float, float]:
    """(best, median), on a connection that is open already. The best is what it takes where nobody else works."""
    taken = []
    await ask(store)
    for _ in range(times):
        begun = time.perf_counter()
        await ask(store)
        taken.append(time.perf_counter() - begun)
    return min(taken), statistics.median(taken)


async def scans(connection: Connection | asyncpg.Connection, asked: Asked) -> list[tuple[str, str]]:
    """(kind of scan, table or index) of each in the plan that PostgreSQL makes for these very values."""
    (row,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) {asked.sql}", *asked.arguments)
    (plan,) = json.loads(row[0])
    return list(_scans(plan["Plan"]))


def _scans(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    named = "Relation Name" in node or "Index Name" in node
    if "Scan" in node["Node Type"] and named and node["Node Type"] != "Bitmap Heap Scan":
        yield node["Node Type"], node.get("Index Name") or node["Relation Name"]
    for inner in node.get("Plans", ()):
        yield from _scans(inner)


def without_index(found: Sequence[tuple[str, str]]) -> list[str]:
    """Big tables that are read from one end to the other."""
    return [table for kind, table in found if kind == "Seq Scan" and table in BIG]
