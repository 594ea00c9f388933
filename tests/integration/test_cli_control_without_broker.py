"""``cancel``, ``pause`` and ``resume`` without a broker: through the record, as if an instance had read them."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.postgres_server import database, postgres_server
from tests.integration.test_cli_record import Run, accept, begin, deployed, run, store
from tests.unit.cli.scripted import Script, ScriptedRequester

from vesemir.adapters.postgres import PostgresStore
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.records import Wishes
from vesemir.engine.ports.store import ControlAnswer, ControlCommand

__all__ = ["database", "postgres_server", "run", "store"]

NOWHERE = "amqp://guest:guest@127.0.0.1:1/"
SAID = "vesemir: the broker does not answer: written to the record directly (connecting to "


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_AMQP__URL", NOWHERE)


def lost_connection(monkeypatch: pytest.MonkeyPatch, *answers: Mapping[str, Any] | BaseException) -> None:
    """The broker takes the message, and then this happens."""
    monkeypatch.setattr(ScriptedRequester, "script", Script([answers]), raising=False)  # type: ignore[list-item]
    monkeypatch.setattr("vesemir.cli.control_order.Requester", ScriptedRequester)


async def wishes(store: PostgresStore) -> Wishes:
    record = await store.load("d1")
    assert record is not None
    return record.wishes


async def test_each_is_recorded_as_an_instance_records_it(store: PostgresStore, run: Run) -> None:
    await begin(store, "d1", "1.0.0")
    began = time.monotonic()
    for command in ("pause", "resume", "cancel"):
        result = await run(command, "d1", "--reason", f"{command}, please")
        assert result.exit_code == 0, result.output
        assert result.stderr.startswith(SAID), result.stderr
        assert result.stdout.startswith(f"d1: {command} accepted, ")
    assert time.monotonic() - began < 10, "it took 11 s to say that the broker is away"

    found = await wishes(store)
    assert (found.pause, found.approvals) == (None, 1)
    for wish, reason in ((found.resume, "resume, please"), (found.cancel, "cancel, please")):
        assert wish is not None
        assert wish.reason == reason
        assert "@" in (wish.requested_by or "")
    assert (await store.wishes("a/1"))["d1"] == found, "its owner needs no broker to hear of it"


async def test_who_may_write_the_record_is_not_judged_and_is_nobody(
    store: PostgresStore, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[[control]]\nname = 'a'\nidentities = ['on-call']\n")
    monkeypatch.setenv("VESEMIR_POLICY__FILE", str(policy))
    await begin(store, "d1", "1.0.0")
    assert (await run("cancel", "d1")).exit_code == 0
    wish = (await wishes(store)).cancel
    assert wish is not None
    assert wish.identity is None


async def test_the_answer_is_the_one_of_a_message(store: PostgresStore, run: Run) -> None:
    await begin(store, "d1", "1.0.0")
    answer = json.loads((await run("cancel", "d1", "--json")).stdout)
    assert answer.pop("instance").startswith("cli/")
    assert answer.pop("occurred_at").endswith("Z")
    assert answer == {
        "event": "control.accepted", "deployment_id": "d1", "sequence": 0, "application": "shop",
        "environment": "production", "version": "1.0.0", "command": "cancel", "failure": None,
        "known": True,
    }  # fmt: skip


async def test_a_cancel_of_what_has_not_come_is_kept_and_says_so(store: PostgresStore, run: Run) -> None:
    result = await run("cancel", "d1")
    assert result.exit_code == 0
    assert "no deployment of this id is known yet: the cancel is kept for a day" in result.stdout
    await accept(store, "d1", "1.0.0")
    view = await store.deployment_view("d1")
    assert view is not None
    assert view.state is DeploymentState.CANCELLED


async def test_what_waits_is_cancelled_at_once_and_its_requester_hears_of_it_once(
    store: PostgresStore, run: Run
) -> None:
    await accept(store, "d1", "1.0.0")
    assert (await run("cancel", "d1")).exit_code == 0
    again = await run("cancel", "d1")
    assert again.exit_code == 0, "a command is idempotent"
    view = await store.deployment_view("d1")
    assert view is not None
    assert view.state is DeploymentState.CANCELLED
    assert view.failure is not None
    assert "cancelled by " in view.failure.message
    names = [event.name for event in await store.events_after("d1", 0, limit=9)]
    assert names == ["deployment.accepted", "deployment.finished"]
    (accepted_again, _) = await store.control(ControlCommand("cancel", "d1", "joe", None))
    assert accepted_again is ControlAnswer.ACCEPTED, "the message that the broker had all the time changes nothing"
    assert len(await store.events_after("d1", 0, limit=9)) == 2


@pytest.mark.parametrize(
    ("command", "name", "code"),
    [("resume", "nobody", "control.unknown_deployment"), ("pause", "d1", "control.not_running")],
)
async def test_what_an_instance_would_refuse_is_refused(
    store: PostgresStore, run: Run, command: str, name: str, code: str
) -> None:
    await deployed(store, "d1", "1.0.0", DeploymentState.SUCCEEDED)
    result = await run(command, name)
    assert result.exit_code == 1
    assert f"vesemir: refused [{code}]: " in result.stderr
    assert "written" not in result.stderr


async def test_a_message_that_no_instance_would_read_is_refused(run: Run) -> None:
    result = await run("cancel", "d1", "--reason", "x" * 2000)
    assert (result.exit_code, "refused [request.invalid]: reason" in result.stderr) == (1, True), result.stderr


async def test_nothing_is_doubled_that_the_broker_may_have(
    store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume that comes twice would open two gates, and a pause would pause again what was resumed since."""
    await begin(store, "d1", "1.0.0")
    for command in ("pause", "resume"):
        lost_connection(monkeypatch, {"event": "something else"}, BrokerAwayError("the connection was lost"))
        result = await run(command, "d1")
        assert result.exit_code == 1
        assert f"the broker may have the {command}, and an instance then carries it out: look at `vesemir" in (
            result.stderr
        )
    assert await wishes(store) == Wishes()


async def test_a_cancel_is_written_too_when_no_instance_can_be_reached_by_the_broker(
    store: PostgresStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker answers us and no instance: one is cut off from it, or none runs. A second cancel changes nothing."""
    await begin(store, "d1", "1.0.0")
    lost_connection(monkeypatch)
    result = await run("cancel", "d1", "--timeout", "0.1")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("vesemir: no answer came by the broker: written to the record directly (no answer")
    first = (await wishes(store)).cancel
    assert first is not None
    await store.control(ControlCommand("cancel", "d1", "joe", "late"))
    assert (await wishes(store)).cancel == first


async def test_with_neither_broker_nor_record_both_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", "postgresql://vesemir@127.0.0.1:1/vesemir")
    monkeypatch.setattr("vesemir.cli.control_order.RETRY_SECONDS", 0.0)
    result = await run("cancel", "d1")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("vesemir: connecting to amqp://")
    assert "; and the record cannot be written directly: PostgreSQL: " in line
