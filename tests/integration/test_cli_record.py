"""The commands that read the record, against one in PostgreSQL: ``status``, ``history``, ``logs``, ``rollback``."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.store_suite import FORWARD, a_step, a_target, claim
from tests.fakes.events import emit_result
from tests.integration.postgres_server import database, postgres_server
from tests.unit.cli.scripted import Script, ScriptedRequester, event
from typer.testing import CliRunner, Result

from vesemir.adapters.postgres import PostgresStore
from vesemir.cli.program import app
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.traffic import AdminState
from vesemir.domain.traffic_prior import PriorState, PriorTraffic
from vesemir.engine.ports.changes import (
    AddTargets,
    BackInTraffic,
    Change,
    LeftDrained,
    MoveDeployment,
    MoveTarget,
    RecordStep,
    RecordTraffic,
    Start,
    Touch,
)
from vesemir.engine.ports.records import Destination, NewDeployment
from vesemir.engine.ports.store import Claim, ControlCommand
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

FAILURE = Failure(FailureCode.STEP_FAILED, "step switch ended with [red]1")
Run = Callable[..., Awaitable[Result]]
TARGETS = tuple(a_target(f"web{number}", position=number) for number in (1, 2, 3))


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as connected:
        yield connected


@pytest.fixture
def run(database: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in a thread of its own: it has its own event loop."""
    monkeypatch.delenv("VESEMIR_CONFIG", raising=False)
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", database)

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))

    return invoke


def request(name: str, version: str, *, dry_run: bool, **more: Any) -> dict[str, Any]:
    return {
        "schema": "vesemir.deploy/1", "deployment_id": name, "application": "shop", "environment": "production",
        "version": version, "recipe": "release", "parameters": {"artifact": version}, "dry_run": dry_run,
        "targets": {"inventory": {"groups": ["web"]}}, "requested_by": "joe", "rollout": {"concurrency": 2}, **more,
    }  # fmt: skip


async def accept(store: PostgresStore, name: str, version: str, *, dry_run: bool = False, **more: Any) -> None:
    new = NewDeployment(
        deployment_id=name, body_hash=name.encode(), request=request(name, version, dry_run=dry_run, **more),
        application="shop", environment="production", version=version, recipe="release", team="payments",
        requested_by="joe",
    )  # fmt: skip
    await store.accept(new, Destination("answers", name))


async def begin(store: PostgresStore, name: str, version: str, *, dry_run: bool = False, **more: Any) -> Claim:
    await accept(store, name, version, dry_run=dry_run, **more)
    claimed = await claim(store)
    await store.commit(claimed, [Start(TARGETS, resolve_seconds=0.1)])
    return claimed


async def end(store: PostgresStore, claimed: Claim, how: DeploymentState, *before: Change) -> None:
    failure = None if how is DeploymentState.SUCCEEDED else FAILURE
    moved = MoveDeployment(DeploymentState.RUNNING, how, failure=failure)
    await store.commit(claimed, [*before, moved, emit_result(how)])


async def deployed(
    store: PostgresStore, name: str, version: str, how: DeploymentState, *, touched: bool = True, **more: Any
) -> None:
    """``touched``: a step of the recipe began on web1. ``more`` is of the request, and ``dry_run``."""
    claimed = await begin(store, name, version, **more)
    await end(store, claimed, how, *([Touch("web1", FORWARD)] if touched else []))


def failed_target() -> list[Change]:
    return [
        MoveTarget("web1", FORWARD, TargetState.PENDING, TargetState.RUNNING),
        RecordStep(a_step()),
        MoveTarget(
            "web1", FORWARD, TargetState.RUNNING, TargetState.FAILED, finished=True, failure=FAILURE, duration_seconds=2
        ),
    ]


async def test_status_of_one(store: PostgresStore, run: Run) -> None:
    claimed = await begin(store, "d1", "2.0.0")
    await store.commit(claimed, failed_target())
    await store.control(ControlCommand("pause", "d1", "ann", "lunch"))
    parked = next(d for d in await store.lease_deliveries("p", seconds=5, limit=9) if d.reply_to)
    await store.park(parked.destination_id, "p", reason="no queue named answers")

    result = await run("status", "d1")

    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "2.0.0 of shop in production is on its way: 0 of 3 targets have it, 1 failed (web1), 2 to come."
    assert "deployment d1 (recipe release)" in lines
    assert "pause asked for by ann: lunch" in lines
    assert any(line.startswith("run by a/1 (lease until ") for line in lines)
    assert any(line.endswith("failed 2.0 s step.failed") for line in lines)
    assert "web1: step switch ended with [red]1" in lines
    assert any(re.fullmatch(r"answers d1 \d+ no queue named answers", line) for line in lines)
    steps = lines[lines.index("What to do") + 1 :]
    assert steps[:2] == ["what the steps on web1 printed:", "vesemir logs d1 --target web1"]
    assert steps[2].startswith("meaning, how to tell, ")
    assert steps[3:] == ["vesemir explain step.failed"]


async def test_status_of_one_for_programs(store: PostgresStore, run: Run) -> None:
    await deployed(store, "d1", "2.0.0", DeploymentState.SUCCEEDED)
    view = json.loads((await run("status", "d1", "--json")).stdout)
    assert (view["state"], view["version"], view["targets"][0]["name"]) == ("succeeded", "2.0.0", "web1")


async def test_who_asked_is_shown_by_what_was_proved(store: PostgresStore, run: Run) -> None:
    asked = {
        "d1": Asker.by_amqp("shop-bot", claimed="joe"),
        "d2": Asker(Identity("token", "ci"), "joe", way="http"),
        "d3": Asker(claimed="joe"),
    }
    for name, asker in asked.items():
        new = NewDeployment(
            name, b"1", request(name, "2.0.0", dry_run=False), "shop", name, "2.0.0", "release", None, "joe", asker
        )
        await store.accept(new, None)
    await store.control(ControlCommand("pause", "d1", "ann", "lunch", Asker.by_amqp("on-call")))
    shown = {name: " ".join((await run("status", name)).stdout.split()) for name in asked}
    assert "asked for by joe (RabbitMQ user shop-bot) " in shown["d1"]
    assert "pause asked for by ann (amqp:on-call): lunch" in shown["d1"]
    assert "asked for by joe (token:ci) " in shown["d2"]
    assert "asked for by joe accepted" in shown["d3"]
    history = json.loads((await run("history", "--json")).stdout)
    identities = {each["deployment_id"]: each["identity"] for each in history}
    assert identities == {"d1": "amqp:shop-bot", "d2": "token:ci", "d3": None}
    assert json.loads((await run("status", "d1", "--json")).stdout)["pause"]["identity"] == "amqp:on-call"


async def test_status_of_all(store: PostgresStore, run: Run) -> None:
    assert (await run("status")).stdout == "There is no deployment in the record yet.\n"
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d2", "2.0.0", DeploymentState.FAILED)
    await begin(store, "d3", "3.0.0")
    await accept(store, "d4", "4.0.0")

    result = await run("status")
    lines = result.stdout.splitlines()
    assert lines[0] == "2 deployments active or waiting:"
    assert [line.split()[0] for line in lines[2:4]] == ["d3", "d4"]
    assert "The last 2 deployments that ended:" in lines
    assert [line.split()[0] for line in lines[-2:]] == ["d2", "d1"]
    told = json.loads((await run("status", "--json")).stdout)
    assert [each["deployment_id"] for each in told["last"]] == ["d2", "d1"]


async def test_status_of_all_names_the_servers_that_a_failure_left_drained(store: PostgresStore, run: Run) -> None:
    """Until one is seen in traffic: what the alert about them sends people here for."""
    claimed = await begin(store, "d1", "1.0.0")
    await end(store, claimed, DeploymentState.FAILED, *failed_target(), LeftDrained("web1"))

    shown = (await run("status")).stdout.splitlines()
    assert shown[-3] == "Left without traffic by a deployment that failed there:"
    assert shown[-1].split()[:3] == ["web1", "shop/production", "d1"]
    (told,) = json.loads((await run("status", "--json")).stdout)["left_drained"]
    assert (told["lane"], told["target"], told["deployment_id"]) == ("shop/production", "web1", "d1")

    claimed = await begin(store, "d2", "1.0.1")
    await end(store, claimed, DeploymentState.SUCCEEDED, BackInTraffic("web1"))
    assert "Left without traffic" not in (await run("status")).stdout


async def test_status_says_what_is_known_now_of_a_server_that_was_left_drained(store: PostgresStore, run: Run) -> None:
    """Seen so, seen back, or since when it is not known: by the record, which instances keep."""

    async def of(deployment: str) -> tuple[str, dict[str, Any]]:
        shown = " ".join((await run("status", deployment)).stdout.split())
        view = json.loads((await run("status", deployment, "--json")).stdout)
        return shown, view["targets"][0]

    claimed = await begin(store, "d1", "1.0.0", haproxy={"backend": "shop"})
    prior = PriorTraffic("web1", {"lb1": PriorState(AdminState.READY, 100, 100, agent=False, up=True, process_id=1)})
    left = [Touch("web1", FORWARD), RecordTraffic("web1", FORWARD, prior), LeftDrained("web1")]
    last = replace(failed_target()[-1], in_traffic=False)
    await end(store, claimed, DeploymentState.FAILED, *failed_target()[:-1], last, *left)
    shown, told = await of("d1")
    assert "No traffic on web1: left drained by this deployment at 20" in shown
    assert "because it failed there; left so 0.0 s ago." in re.sub(r"(\d+ ms|[01]\.\d s) ago", "0.0 s ago", shown)
    assert (told["in_traffic"], told["left_drained"]["deployment_id"]) == (False, "d1")

    (server,) = await store.left_drained()
    await store.seen_drained(server)
    shown, told = await of("d1")
    assert "(seen by a/1)" in shown
    assert told["left_drained"]["seen_by"] == "a/1"

    later = await begin(store, "d2", "1.0.1", haproxy={"backend": "shop"})
    await end(store, later, DeploymentState.SUCCEEDED)
    shown, told = await of("d2")
    assert "No traffic on web1: left drained by an earlier deployment, d1, at 20" in shown

    await store.seen_in_traffic(server)
    shown, told = await of("d1")
    assert "web1 was left drained by this deployment, and seen back in traffic at 20" in shown
    assert "No traffic" not in shown
    assert (told["in_traffic"], told["left_drained"], bool(told["back_in_traffic_at"])) == (False, None, True)


async def test_an_unknown_deployment_is_told(run: Run) -> None:
    for command in ("status", "logs"):
        result = await run(command, "nobody")
        assert (result.exit_code, result.stdout) == (1, "")
        missing, refused = result.stderr.splitlines()
        assert missing == "vesemir: there is no deployment 'nobody' in the record; `vesemir history` lists them"
        assert refused.endswith("(vesemir explain request.invalid)")


async def test_history(store: PostgresStore, run: Run) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d2", "2.0.0", DeploymentState.FAILED)
    lines = (await run("history")).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["deployment", "d2", "d1"]
    assert lines[1].split()[-1] == "step.failed"
    failed = json.loads((await run("history", "--status", "failed", "--json")).stdout)
    assert [each["deployment_id"] for each in failed] == ["d2"]
    assert (await run("history", "--application", "blog")).stdout == "No such deployment is in the record.\n"
    assert (await run("history", "--status", "nonsense")).exit_code == 2
    for options, found in (
        (("--team", "payments"), 2), (("--team", "others"), 0), (("--since", "1h"), 2), (("--since", "2100-01-01"), 0),
    ):  # fmt: skip
        assert len(json.loads((await run("history", "--json", *options)).stdout)) == found, options
    refused = await run("history", "--since", "yesterday")
    assert (refused.exit_code, "a day (2026-11-01)" in refused.stderr) == (2, True)


async def test_logs(store: PostgresStore, run: Run) -> None:
    claimed = await begin(store, "d1", "2.0.0")
    await store.commit(claimed, [RecordStep(a_step()), RecordStep(a_step("web2", "check"))])
    lines = (await run("logs", "d1")).stdout.splitlines()
    assert lines[0].startswith("web1 switch: succeeded, ")
    assert lines[1] == "  done"
    assert lines[2].startswith("web2 check: succeeded, ")
    assert (await run("logs", "d1", "--target", "web2")).stdout.startswith("web2 check")
    steps = json.loads((await run("logs", "d1", "--json")).stdout)
    assert [step["output"] for step in steps] == ["done\n", "done\n"]
    rest = json.loads((await run("logs", "d1", "--json", "--after", str(steps[0]["step_id"]))).stdout)
    assert [step["target"] for step in rest] == ["web2"]
    assert (await run("logs", "d1", "--target", "web9")).stderr == "vesemir: no step has ended on web9 yet\n"


async def test_logs_follow_until_the_end(store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesemir.cli.logs._POLL_SECONDS", 0.01)
    claimed = await begin(store, "d1", "2.0.0")
    await store.commit(claimed, [RecordStep(a_step())])
    following = asyncio.ensure_future(run("logs", "d1", "--follow", "--json"))
    await store.commit(claimed, [RecordStep(a_step("web2"))])
    await end(store, claimed, DeploymentState.SUCCEEDED, RecordStep(a_step("web3")))
    result = await asyncio.wait_for(following, 20)
    assert result.exit_code == 0
    assert [json.loads(line)["target"] for line in result.stdout.splitlines()] == ["web1", "web2", "web3"]
    assert result.stderr == "vesemir: d1: succeeded\n"


async def test_logs_of_very_many_steps_come_page_by_page(
    store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesemir.cli.logs._PAGE", 3)
    claimed = await begin(store, "d1", "2.0.0")
    await store.commit(claimed, [RecordStep(a_step("web1", f"s{number}")) for number in range(7)])
    steps = json.loads((await run("logs", "d1", "--json")).stdout)
    assert [step["step"] for step in steps] == [f"s{number}" for number in range(7)]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is published is kept, and accepted."""
    script = Script([[event("deployment.accepted", 1, position=0) | {"deployment_id": "back"}]])
    monkeypatch.setattr(ScriptedRequester, "script", script, raising=False)
    monkeypatch.setattr("vesemir.cli.requesting.Requester", ScriptedRequester)
    monkeypatch.setattr("vesemir.cli.requesting.quiet", lambda: None)
    return script.published


async def test_rollback_asks_for_the_previous_good_release(
    store: PostgresStore, run: Run, published: list[bytes]
) -> None:
    """Not the failed one, not the dry run, not what waits, not the same version again."""
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d2", "1.5.0", DeploymentState.FAILED)
    await deployed(store, "d3", "1.7.0", DeploymentState.SUCCEEDED, dry_run=True)
    await deployed(store, "d4", "2.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d5", "2.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d6", "3.0.0", DeploymentState.SUCCEEDED, dry_run=True)
    await accept(store, "d7", "4.0.0")

    result = await run("rollback", "shop", "production", "--id", "back")

    assert result.exit_code == 0, result.stderr
    (body,) = published
    again = json.loads(body)
    assert again.pop("requested_by").count("@") == 1
    expected = request("back", "1.0.0", dry_run=False)
    del expected["requested_by"]
    assert again == expected
    first, second = result.stderr.splitlines()
    assert first.startswith("vesemir: rolling back shop in production from 2.0.0 (succeeded) to 1.0.0, as d1 deployed")
    assert second.startswith("vesemir: something of it has not ended yet")


async def test_rollback_asks_for_what_the_record_has_forgotten(
    store: PostgresStore, run: Run, published: list[bytes], tmp_path: Path
) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED, parameters={"key": "•••", "size": 3})
    await deployed(store, "d2", "2.0.0", DeploymentState.SUCCEEDED)
    refused = await run("rollback", "shop", "production")
    assert refused.exit_code == 1
    assert "key is secret and not in the record: give --set-file key=FILE" in refused.stderr
    (tmp_path / "key").write_text("s3cret\n")
    result = await run("rollback", "shop", "production", "--set-file", f"key={tmp_path / 'key'}", "--id", "back")
    assert result.exit_code == 0, result.stderr
    assert json.loads(published[0])["parameters"] == {"key": "s3cret", "size": 3}


async def test_what_was_cleaned_up_is_told_as_that(store: PostgresStore, run: Run) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    for each in await store.lease_deliveries("p", seconds=5, limit=9):
        await store.park(each.destination_id, "p", reason="gone")
    cleaned = await store.clean_up(older_than_seconds=0, rows=1000)
    assert cleaned is not None
    assert cleaned.deployments == 1
    for command in ("status", "logs"):
        result = await run(command, "d1")
        assert result.exit_code == 1
        assert "d1 ended as succeeded on 20" in result.stderr
        assert "cleaned up since (retention.days)" in result.stderr


async def test_rollback_of_a_failed_release_goes_to_the_last_good_one(
    store: PostgresStore, run: Run, published: list[bytes]
) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d2", "2.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d3", "3.0.0", DeploymentState.FAILED)
    assert (await run("rollback", "shop", "production", "--id", "back")).exit_code == 0
    assert json.loads(published[0])["version"] == "2.0.0"


async def test_rollback_of_what_left_nothing_says_what_is_served(
    store: PostgresStore, run: Run, published: list[bytes]
) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d2", "2.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d3", "3.0.0", DeploymentState.FAILED, touched=False)
    result = await run("rollback", "shop", "production")
    assert (result.exit_code, published) == (1, [])
    assert "3.0.0 (d3) left nothing behind: 2.0.0 is what is served; " in result.stderr
    assert "to go back further, say --to 1.0.0" in result.stderr
    assert (await run("rollback", "shop", "production", "--to", "1.0.0", "--id", "back")).exit_code == 0
    assert json.loads(published[0])["version"] == "1.0.0"


@pytest.mark.usefixtures("published")
async def test_rollback_after_an_automatic_one_that_failed(store: PostgresStore, run: Run) -> None:
    """What was brought back does not count, what was not does."""
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    for name, back in (("d2", TargetState.ROLLED_BACK), ("d3", TargetState.FAILED)):
        claimed = await begin(store, name, f"2.0.{name[1]}")
        changes: list[Change] = [
            Touch("web1", FORWARD),
            MoveDeployment(DeploymentState.RUNNING, DeploymentState.ROLLING_BACK, failure=FAILURE),
            AddTargets((a_target("web1", direction=Direction.BACK),)),
            MoveTarget("web1", Direction.BACK, TargetState.PENDING, TargetState.RUNNING),
            MoveTarget("web1", Direction.BACK, TargetState.RUNNING, back, finished=True),
            MoveDeployment(DeploymentState.ROLLING_BACK, DeploymentState.FAILED),
            emit_result(),
        ]
        await store.commit(claimed, changes)
        result = await run("rollback", "shop", "production", "--id", "back")
        if back is TargetState.ROLLED_BACK:
            assert "2.0.2 (d2) left nothing behind: 1.0.0 is what is served" in result.stderr
        else:
            assert result.exit_code == 0, result.stderr
            assert "from 2.0.3 (failed) to 1.0.0" in result.stderr


async def test_rollback_prints_the_event_for_another_program(
    store: PostgresStore, run: Run, published: list[bytes]
) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    await deployed(store, "d2", "2.0.0", DeploymentState.SUCCEEDED)
    result = await run("rollback", "shop", "production", "--print", "--id", "back", "--set", "artifact=other")
    assert (result.exit_code, published) == (0, [])
    printed = json.loads(result.stdout)
    assert (printed["deployment_id"], printed["version"], printed["dry_run"]) == ("back", "1.0.0", False)
    assert printed["parameters"] == {"artifact": "other"}
    assert (await run("rollback", "shop", "production", "--print", "--follow")).exit_code == 2


async def test_rollback_is_to_the_targets_of_what_it_replaces(
    store: PostgresStore, run: Run, published: list[bytes]
) -> None:
    """The good release was on all; only one host got the new one."""
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    one = request("d2", "2.0.0", dry_run=False) | {"targets": {"hosts": ["web1"]}, "recipe": "package"}
    new = NewDeployment("d2", b"d2", one, "shop", "production", "2.0.0", "package", None, "joe")
    await store.accept(new, None)
    claimed = await claim(store)
    await store.commit(claimed, [Start(TARGETS[:1], resolve_seconds=0.1), Touch("web1", FORWARD)])
    await end(store, claimed, DeploymentState.FAILED)
    result = await run("rollback", "shop", "production", "--id", "back")
    assert result.exit_code == 0, result.stderr
    assert "by recipe release, as then; 2.0.0 came by package" in result.stderr
    made = json.loads(published[0])
    assert (made["version"], made["recipe"], made["targets"]) == ("1.0.0", "release", {"hosts": ["web1"]})


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ([], "nothing was deployed of shop in production yet"),
        ([("d1", "1.0.0", DeploymentState.SUCCEEDED)], "shop in production: no release before 1.0.0 is known"),
        (
            [("d1", "1.0.0", DeploymentState.FAILED), ("d2", "2.0.0", DeploymentState.FAILED)],
            "no release before 2.0.0 is known to have been good",
        ),
    ],
)
async def test_rollback_with_nothing_to_go_back_to(
    store: PostgresStore,
    run: Run,
    published: list[bytes],
    before: list[tuple[str, str, DeploymentState]],
    told: str,
) -> None:
    for name, version, how in before:
        await deployed(store, name, version, how)
    result = await run("rollback", "shop", "production")
    assert result.exit_code == 1
    assert told in result.stderr
    assert published == []


async def test_migrate_says_what_it_did(run: Run) -> None:
    """The fixture's database is migrated already."""
    assert (await run("migrate")).stdout == "The schema is up to date: 0 migrations applied.\n"
    assert json.loads((await run("migrate", "--json")).stdout) == {"applied": []}


async def test_a_database_that_is_away_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", "postgresql://127.0.0.1:1/none")
    for command in (["status"], ["history"], ["logs", "d1"], ["migrate"], ["rollback", "shop", "production"]):
        result = await run(*command)
        assert (result.exit_code, result.stdout) == (1, ""), command
        line, *more = result.stderr.splitlines()
        assert [each for each in more if "there is no settings file" not in each] == [], command
        assert line.startswith("vesemir: PostgreSQL: "), command
        assert "check that it runs" in line
