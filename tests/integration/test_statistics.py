"""``vesemir stats``: what is counted, on which day, against what; and that it outlives the deployments themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tests.contract.store_suite import FORWARD, a_deployment, a_target, accepted_and_claimed, finish, started
from tests.fakes.events import emit_result
from tests.integration.postgres_server import database, postgres_server
from typer.testing import CliRunner, Result

from vesemir.adapters.postgres import PostgresStore
from vesemir.cli.program import app
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.statistics import Question, Statistics, StatisticsGrouping
from vesemir.domain.step import Direction
from vesemir.engine.ports.changes import AddTargets, MoveDeployment, MoveTarget
from vesemir.engine.ports.store import ControlCommand
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as connected:
        yield connected


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connected = await asyncpg.connect(database, timeout=10)
    yield connected
    await connected.close(timeout=10)


@pytest.fixture
def run(database: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("VESEMIR_CONFIG", raising=False)
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", database)

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["stats", *arguments])

    return invoke


async def ended(connection: asyncpg.Connection, name: str, finished_at: str, **other: Any) -> None:
    """A line as the product leaves it; ``finished_at`` is SQL."""
    row = {
        "deployment_id": name, "application": "shop", "environment": "production", "team": "payments",
        "recipe": "release", "selectors": ["tag:web"], "dry_run": False, "status": "succeeded", "failure_code": None,
        "queued_seconds": 1.0, "duration_seconds": 60.0, "targets_total": 4, "targets_failed": 0,
    } | other  # fmt: skip
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(
        f"INSERT INTO outcome ({', '.join(row)}, finished_at) VALUES ({places}, {finished_at})",  # noqa: S608
        *row.values(),
    )


async def by(store: PostgresStore, grouping: StatisticsGrouping, **question: Any) -> dict[str, tuple[int, int]]:
    """Deployments and defects by name."""
    found = await store.statistics(Question(by=(grouping,), **question))
    return {group.name: (group.now.deployments, group.now.defects) for group in found.groups[grouping]}


async def test_a_result_leaves_its_line_in_the_same_transaction(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    """The code is that of the first target that failed: rollout.too_many_failures says only that some did."""
    claimed = await started(store, a_target("web1"), a_target("web2", position=1))
    unreachable = Failure(FailureCode.SSH_UNREACHABLE, "web2 is away")
    too_many = Failure(FailureCode.ROLLOUT_TOO_MANY_FAILURES, "1 of 2")
    await store.commit(
        claimed,
        [
            MoveTarget("web2", FORWARD, TargetState.PENDING, TargetState.RUNNING),
            MoveTarget(
                "web2", FORWARD, TargetState.RUNNING, TargetState.UNREACHABLE, finished=True, failure=unreachable
            ),
            MoveDeployment(DeploymentState.RUNNING, DeploymentState.FAILED, failure=too_many),
            emit_result(targets_total=2, targets_unreachable=1),
        ],
    )
    line = dict(await connection.fetchrow("SELECT * FROM outcome") or {})
    assert (line["deployment_id"], line["status"], line["failure_code"]) == ("d1", "failed", "ssh.unreachable")
    assert (line["targets_total"], line["targets_failed"], line["team"]) == (2, 1, "payments")
    assert line["finished_at"] == await connection.fetchval("SELECT finished_at FROM deployment")


async def test_what_succeeded_is_counted_by_whether_it_serves(store: PostgresStore, run: Run) -> None:
    """Not what was not asked, nor what was brought back; and without a dry run."""
    names = [f"web{number}" for number in range(1, 6)]
    targets = [a_target(name, position=position) for position, name in enumerate(names)]
    claimed = await started(store, *targets)
    seen = zip(names, (True, True, False, None, True), strict=True)
    moves = [
        change
        for name, in_traffic in seen
        for change in (
            MoveTarget(name, FORWARD, TargetState.PENDING, TargetState.RUNNING),
            MoveTarget(name, FORWARD, TargetState.RUNNING, TargetState.SUCCEEDED, finished=True, in_traffic=in_traffic),
        )
    ]
    back = replace(a_target("web5", direction=Direction.BACK), state=TargetState.ROLLED_BACK, finished=True)
    ended = MoveDeployment(DeploymentState.RUNNING, DeploymentState.SUCCEEDED)
    await store.commit(claimed, [*moves, AddTargets((back,)), ended, emit_result(targets_total=5)])
    now = (await store.statistics(Question())).now
    assert (now.targets_serving, now.targets_unserved) == (2, 1)
    assert "targets serving 66.7 % 2 of 3 that have the release" in " ".join((await run("--all")).stdout.split())
    counted = json.loads((await run("--json")).stdout)["now"]
    assert (counted["targets_serving"], counted["targets_unserved"], counted["target_serving_rate"]) == (2, 1, 0.66667)


async def test_one_cancelled_while_it_waited_has_its_line_too(store: PostgresStore) -> None:
    await store.accept(a_deployment(), None)
    await store.control(ControlCommand("cancel", "d1", "ann", "not today"))
    now = (await store.statistics(Question())).now
    assert (now.cancelled, now.deployments, now.defect_rate) == (1, 1, None)


async def test_selectors_are_those_of_the_request(store: PostgresStore, connection: asyncpg.Connection) -> None:
    claimed = await accepted_and_claimed(store)
    chef = '{"targets": {"chef": {"tags": ["web", "eu"], "roles": ["front"]}}, "dry_run": true}'
    await connection.execute("UPDATE deployment SET request = $1::jsonb", chef)
    await finish(store, claimed)
    line = dict(await connection.fetchrow("SELECT * FROM outcome") or {})
    assert (line["selectors"], line["dry_run"]) == (["tag:web", "tag:eu", "role:front"], True)


async def test_figures_outlive_the_clean_up(store: PostgresStore, connection: asyncpg.Connection) -> None:
    await finish(store, await started(store))
    before = (await store.statistics(Question())).now
    assert before.succeeded == 1
    await connection.execute("DELETE FROM deployment")
    assert (await store.statistics(Question())).now == before


async def test_the_time_before_is_as_long_and_ends_where_the_time_begins(
    store: PostgresStore, connection: asyncpg.Connection
) -> None:
    """Two days: from yesterday's midnight to now, against as much before that."""
    midnight = "date_trunc('day', clock_timestamp(), 'UTC') - interval '1 day'"
    await ended(connection, "first-moment", midnight)
    await ended(connection, "last-moment-before", f"{midnight} - interval '1 microsecond'", status="failed")
    await ended(
        connection, "before-before", f"{midnight} - (clock_timestamp() - ({midnight})) - interval '1 s'"
    )  # fmt: skip
    found = await store.statistics(Question(days=2))
    assert (found.now.deployments, found.now.defects) == (1, 0)
    assert found.previous is not None
    assert (found.previous.deployments, found.previous.defects) == (1, 1)
    assert [(day.rated, day.defects) for day in found.days] == [(1, 0), (0, 0)]


async def test_named_days_are_utc_days_and_both_included(store: PostgresStore, connection: asyncpg.Connection) -> None:
    for name, moment in {
        "before": "2026-09-30T23:59:59.999999Z", "first": "2026-10-01T00:00:00Z",
        "last": "2026-10-31T23:59:59.999999Z", "after": "2026-11-01T00:00:00Z",
    }.items():  # fmt: skip
        await ended(connection, name, f"'{moment}'")
    found = await store.statistics(Question(first_day="2026-10-01", last_day="2026-10-31"))
    assert (found.since, found.until) == ("2026-10-01T00:00:00.000000Z", "2026-11-01T00:00:00.000000Z")
    assert (found.now.deployments, found.previous and found.previous.deployments) == (2, 1)
    assert len(found.days) == 31
    assert (found.days[0].rated, found.days[1].rated, found.days[-1].rated) == (1, 0, 1)
    assert await by(store, StatisticsGrouping.MONTH, all_days=True) == {
        "2026-09": (1, 0),
        "2026-10": (2, 0),
        "2026-11": (1, 0),
    }


async def some_lines(connection: asyncpg.Connection) -> None:
    now = "clock_timestamp()"
    await ended(connection, "a", now, duration_seconds=10.0)
    await ended(connection, "b", now, duration_seconds=30.0, selectors=["tag:web", "tag:eu"], team=None)
    await ended(connection, "c", now, status="failed", failure_code="step.failed", targets_failed=1)
    await ended(connection, "d", now, status="rolled_back", failure_code="step.failed", application="blog")
    await ended(connection, "e", now, status="timed_out", failure_code="deployment.timed_out", selectors=[])
    await ended(connection, "f", now, status="cancelled", failure_code="deployment.cancelled", environment="staging")
    await ended(connection, "g", now, dry_run=True, status="failed", failure_code="ssh.unreachable")


async def test_groups_and_filters(store: PostgresStore, connection: asyncpg.Connection) -> None:
    await some_lines(connection)
    assert await by(store, StatisticsGrouping.APPLICATION) == {"shop": (5, 2), "blog": (1, 1)}
    assert await by(store, StatisticsGrouping.ENVIRONMENT) == {"production": (5, 3), "staging": (1, 0)}
    assert await by(store, StatisticsGrouping.TEAM) == {"payments": (5, 3), "": (1, 0)}
    assert await by(store, StatisticsGrouping.SELECTOR) == {"tag:web": (5, 2), "tag:eu": (1, 0), "": (1, 1)}
    assert await by(store, StatisticsGrouping.FAILURE) == {
        "step.failed": (2, 2), "deployment.timed_out": (1, 1), "deployment.cancelled": (1, 0),
    }  # fmt: skip
    assert await by(store, StatisticsGrouping.APPLICATION, environment="staging") == {"shop": (1, 0)}
    assert await by(store, StatisticsGrouping.APPLICATION, selector="tag:eu") == {"shop": (1, 0)}
    assert await by(store, StatisticsGrouping.APPLICATION, team="payments", application="blog") == {"blog": (1, 1)}
    assert await by(store, StatisticsGrouping.APPLICATION, recipe="other") == {}


async def test_times_are_of_those_that_succeeded(store: PostgresStore, connection: asyncpg.Connection) -> None:
    await some_lines(connection)
    found: Statistics = await store.statistics(Question())
    assert (found.now.duration_p50, found.now.duration_p95) == (10.0, 30.0)
    assert (found.now.targets, found.now.targets_failed, found.now.dry_runs) == (24, 1, 1)


async def test_for_people(run: Run, connection: asyncpg.Connection) -> None:
    assert (await run()).stdout.splitlines()[1] == "No deployment ended in that time."
    await some_lines(connection)
    await ended(connection, "old", "clock_timestamp() - interval '29 days'", status="failed")
    lines = [" ".join(line.split()) for line in (await run()).stdout.splitlines()]
    assert "defect rate 66.7 % - - 2 failed, 1 timed out, 1 rolled back" in lines
    assert "step.failed 2 50.0 % 33.3 % -" in lines
    assert "shop 6 3 60.0 % - 10 s 30 s 24 1" in lines
    assert any(line.startswith(("defect rate █", "defect rate ▁")) for line in lines)
    everything = (await run("--all", "--by", "status")).stdout
    assert "before" not in everything.splitlines()[2]
    assert "rolled_back" in everything


async def test_days_to_come_are_empty(run: Run) -> None:
    told = json.loads((await run("--json", "--since", "2999-01-01")).stdout)
    assert (told["since"], told["until"]) == ("2999-01-01T00:00:00.000000Z",) * 2
    assert told["now"]["deployments"] == 0


async def test_for_programs(run: Run, connection: asyncpg.Connection) -> None:
    await some_lines(connection)
    told = json.loads((await run("--json", "--by", "application", "--by", "day", "--days", "2")).stdout)
    assert told["now"]["defect_rate"] == 0.6
    assert (told["now"]["deployments"], told["now"]["dry_runs"]) == (6, 1)
    assert [(group["name"], group["now"]["defects"]) for group in told["groups"]["application"]] == [
        ("shop", 2), ("blog", 1),
    ]  # fmt: skip
    assert "previous" not in told["groups"]["day"][0]
    assert len(told["days"]) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--since", "yesterday"], "--since yesterday: write a day as 2026-11-25"),
        (["--until", "2026-02-30"], "--until 2026-02-30: write a day as 2026-11-25"),
        (["--since", "0001-01-01"], "--since 0001-01-01: no deployment is as old as that"),
        (["--since", "2026-02-02", "--until", "2026-02-01"], "--since 2026-02-02 is after --until 2026-02-01"),
        (["--all", "--since", "2026-02-02"], "--all is every day: leave --since and --until out"),
    ],
)
async def test_wrong_usage_is_told(run: Run, options: list[str], told: str) -> None:
    result = await run(*options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
