"""``vesemir lock`` and ``unlock`` on a real record without a broker, and what ``vesemir status`` shows of it."""

import json

import pytest
from tests.integration.postgres_server import database, postgres_server
from tests.integration.test_cli_control_without_broker import SAID, no_broker
from tests.integration.test_cli_record import Run, accept, run, store

from vesemir.adapters.postgres import PostgresStore

__all__ = ["database", "no_broker", "postgres_server", "run", "store"]

LANE = ("shop", "production")


async def test_a_lock_is_recorded_shown_and_taken_back(store: PostgresStore, run: Run) -> None:
    await accept(store, "d1", "1.0.0")
    result = await run("lock", *LANE, "--reason", "the database moves", "--until", "2099-01-01T00:00")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(SAID)
    assert result.stdout == "shop/production: lock accepted, nothing new begins there until 2099-01-01T00:00:00Z.\n"
    overview = (await run("status")).stdout
    assert "its lane is locked" in overview
    assert "Locked, so that nothing new begins there (vesemir unlock):" in overview
    assert "the database moves" in overview
    (shown,) = json.loads((await run("status", "--json")).stdout)["locked_lanes"]
    assert (shown["lane"], shown["until"], shown["identity"]) == ("shop/production", "2099-01-01T00:00:00Z", None)
    assert "@" in shown["requested_by"]
    one = " ".join((await run("status", "d1")).stdout.split())
    assert "has not begun: shop/production is locked by" in one
    assert "until 2099-01-01T00:00:00Z: the database moves." in one
    assert (await store.backlog()).locked_lanes == 1

    result = await run("unlock", *LANE, "--reason", "moved")
    assert result.exit_code == 0
    assert result.stdout == "shop/production: unlock accepted, what waits there may begin.\n"
    assert json.loads((await run("status", "--json")).stdout)["locked_lanes"] == []
    assert (await store.backlog()).locked_lanes == 0
    rows = json.loads((await run("audit", "--kind", "lock", "--json")).stdout)
    assert [(row["command"], row["way"], row["reason"]) for row in rows] == [
        ("unlock", "record", "moved"),
        ("lock", "record", "the database moves"),
    ]


async def test_the_answer_is_the_one_of_a_message(store: PostgresStore, run: Run) -> None:
    del store
    answer = json.loads((await run("lock", *LANE, "--reason", "why not", "--json")).stdout)
    assert answer.pop("instance").startswith("cli/")
    assert answer.pop("occurred_at").endswith("Z")
    assert answer == {
        "event": "control.accepted", "deployment_id": None, "sequence": 0, "application": "shop",
        "environment": "production", "version": None, "command": "lock", "failure": None, "known": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("lock", *LANE), 2, "--reason"),
        (("lock", *LANE, "--reason", " "), 1, "reason must be text of 1 to 1024 characters"),
        (("lock", "No Shop", "production", "--reason", "x"), 1, "application must be 1-63 of a-z0-9_-"),
        (("lock", *LANE, "--reason", "x", "--until", "later"), 2, "--until takes a time"),
        (("lock", *LANE, "--reason", "x", "--until", "2001-01-01"), 2, "must be in the future"),
    ],
)
async def test_what_is_wrong_is_said(
    store: PostgresStore, run: Run, words: tuple[str, ...], status: int, said: str
) -> None:
    result = await run(*words)
    assert result.exit_code == status, result.output
    assert said in " ".join(result.output.split())
    assert await store.locked_lanes(limit=9) == []
