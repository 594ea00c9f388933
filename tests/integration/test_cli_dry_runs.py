"""A dry run is shown as one wherever deployments are: it never looks like a release that is out."""

import json

import pytest
from tests.integration.postgres_server import database, postgres_server
from tests.integration.test_cli_record import FAILURE, Run, accept, begin, deployed, run, store

from vesemir.adapters.postgres import PostgresStore
from vesemir.domain.events import DeploymentFinishedEvent
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.engine.ports.changes import Emit, MoveDeployment, MoveTarget
from vesemir.engine.ports.store import ControlAnswer, ControlCommand

__all__ = ["database", "postgres_server", "run", "store"]

PLAN = {
    "batches": [["web1"]],
    "targets": [
        {
            "name": "web1",
            "address": "10.0.0.1",
            "source": "inventory",
            "server": "shop/web1",
            "steps": ["drain", "fetch"],
        }
    ],
    "load_balancers": ["lb1"],
}


async def rehearsed(store: PostgresStore, name: str, version: str, how: DeploymentState) -> None:
    claimed = await begin(store, name, version, dry_run=True)
    failure = None if how is DeploymentState.SUCCEEDED else FAILURE
    finished = Emit(DeploymentFinishedEvent(how, failure, targets=(), metrics={}, plan=PLAN))
    targets = (
        []
        if failure is None
        else [
            MoveTarget("web1", Direction.FORWARD, TargetState.PENDING, TargetState.RUNNING),
            MoveTarget(
                "web1", Direction.FORWARD, TargetState.RUNNING, TargetState.FAILED, finished=True, failure=failure
            ),
        ]
    )
    await store.commit(claimed, [*targets, MoveDeployment(DeploymentState.RUNNING, how, failure=failure), finished])


async def test_every_list_marks_it(store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    await deployed(store, "d1", "2.0.0", DeploymentState.SUCCEEDED)
    await rehearsed(store, "d2", "2.1.0", DeploymentState.SUCCEEDED)
    await rehearsed(store, "d3", "2.2.0", DeploymentState.FAILED)
    await begin(store, "d4", "2.3.0", dry_run=True)
    await accept(store, "d5", "2.4.0")

    for width in ("200", "80"):
        monkeypatch.setenv("COLUMNS", width)
        for command in ("history", "status"):
            shown = (await run(command)).stdout
            rows = {line.split()[0]: line for line in shown.splitlines() if line[:1] == "d" and line[1:2].isdigit()}
            for name, words in (
                ("d2", "dry run: would succeed"),
                ("d3", "dry run: would fail"),
                ("d4", "dry run: running"),
            ):
                assert words in rows[name], shown
            assert "dry run" not in rows["d1"]
            assert "dry run" not in rows["d5"]
    for found in (
        json.loads((await run("history", "--json")).stdout),
        [each for part in ("going_on", "last") for each in json.loads((await run("status", "--json")).stdout)[part]],
        [each.as_json() for each in await store.deployments()],
    ):
        assert {each["deployment_id"]: each["dry_run"] for each in found} == {
            "d1": False, "d2": True, "d3": True, "d4": True, "d5": False,
        }  # fmt: skip
    assert json.loads((await run("status", "d2", "--json")).stdout)["dry_run"] is True
    waiting = json.loads((await run("status", "d5", "--json")).stdout)["waits_for"]
    assert [(each["deployment_id"], each["dry_run"]) for each in waiting] == [("d4", True)]
    lines = [" ".join(line.split()) for line in (await run("status", "d2")).stdout.splitlines()]
    assert "state dry run: would succeed" in lines


async def test_it_is_in_no_statistic(store: PostgresStore, run: Run) -> None:
    await deployed(store, "d1", "2.0.0", DeploymentState.SUCCEEDED)
    await rehearsed(store, "d2", "2.1.0", DeploymentState.SUCCEEDED)
    await rehearsed(store, "d3", "2.2.0", DeploymentState.FAILED)
    shown = json.loads((await run("stats", "--json")).stdout)
    now = shown["now"]
    assert (now["deployments"], now["succeeded"], now["failed"], now["dry_runs"]) == (1, 1, 0, 2)
    assert "2.2.0" not in json.dumps(shown)


async def test_its_logs_say_what_it_was(store: PostgresStore, run: Run) -> None:
    await rehearsed(store, "d1", "2.1.0", DeploymentState.SUCCEEDED)
    await rehearsed(store, "d2", "2.2.0", DeploymentState.FAILED)
    good = await run("logs", "d1")
    assert good.exit_code == 0
    assert good.stderr.splitlines() == [
        "vesemir: d1 is a dry run, so no step ran and nothing was printed",
        "vesemir: Nothing stands in the way of 2.1.0 of shop in production (a dry run: nothing was changed).",
    ]
    assert "Steps on every target: drain, fetch" in good.stdout
    bad = await run("logs", "d2", "--follow")
    assert "vesemir: The dry run of 2.2.0 of shop in production failed; nothing was changed." in bad.stderr
    assert f"vesemir: in the way: {FAILURE.message}" in bad.stderr
    assert bad.stderr.splitlines()[-1] == "vesemir: d2: dry run: would fail"
    asked = await run("logs", "d1", "--json")
    assert json.loads(asked.stdout) == []


async def test_one_that_is_cancelled_while_it_waits_is_known_as_one(store: PostgresStore) -> None:
    """It is counted as a dry run, not as a cancelled deployment."""
    await accept(store, "d1", "2.0.0", dry_run=True)
    answer, identity = await store.control(ControlCommand("cancel", "d1", "joe", None))
    assert answer is ControlAnswer.FINISHED
    assert identity is not None
    assert identity.dry_run


async def test_what_is_left_of_one_that_was_cleaned_up(store: PostgresStore, run: Run) -> None:
    await rehearsed(store, "d1", "2.1.0", DeploymentState.SUCCEEDED)
    while due := await store.lease_deliveries("p", seconds=30, limit=10):
        for each in due:
            await store.advance(each.destination_id, "p", 2, release=True)
    await store.clean_up(older_than_seconds=0, rows=1000)
    assert "d1 ended as dry run: would succeed on 20" in (await run("status", "d1")).stderr


async def test_what_is_left_of_one_that_failed_before_it_knew_its_targets(store: PostgresStore, run: Run) -> None:
    """Its result has no plan to be known by."""
    claimed = await begin(store, "d1", "2.1.0", dry_run=True)
    finished = Emit(DeploymentFinishedEvent(DeploymentState.FAILED, FAILURE, targets=(), metrics={}))
    await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, DeploymentState.FAILED, FAILURE), finished])
    assert "d1: dry run: would fail" in (await run("logs", "d1", "--follow")).stderr
    while due := await store.lease_deliveries("p", seconds=30, limit=10):
        for each in due:
            await store.advance(each.destination_id, "p", 2, release=True)
    await store.clean_up(older_than_seconds=0, rows=1000)
    assert "d1 ended as dry run: would fail on 20" in (await run("status", "d1")).stderr
