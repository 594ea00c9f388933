"""``vesemir policy test`` with a real record: what has succeeded elsewhere, what waits, what a command is about."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.store_suite import a_deployment, claim, finish
from tests.integration.postgres_server import database, postgres_server
from typer.testing import CliRunner

from vesemir.adapters.postgres import PostgresStore
from vesemir.cli.program import app
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

RULES = """
[[promote]]
name = "staged"
environments = ["production"]
require_success_in = "staging"

[[limit]]
name = "fair"
max_waiting = 1

[[control]]
name = "own"
identities = ["bot"]
not_requester = true
"""
EVENT = {
    "schema": "vesemir.deploy/1",
    "deployment_id": "d-new",
    "application": "shop",
    "environment": "production",
    "version": "1.4.2",
    "recipe": "release",
    "targets": {"hosts": ["web1"]},
}


@pytest.fixture
def told(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Asks ``policy test`` as the RabbitMQ user bot: the exit status and the answer."""
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", database)
    monkeypatch.setenv("VESEMIR_POLICY__FILE", str(tmp_path / "policy.toml"))
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "vesemir.toml"))
    (tmp_path / "vesemir.toml").write_text("")
    (tmp_path / "policy.toml").write_text(RULES)

    async def test(message: object) -> tuple[int, dict[str, Any]]:
        arguments = ["policy", "test", "-", "--identity", "bot", "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=json.dumps(message))
        return result.exit_code, json.loads(result.stdout)

    return test


async def test_the_record_says_what_only_it_knows(told: Any, database: str) -> None:
    status, answer = await told(EVENT)
    assert (status, answer["code"], answer["rules"]) == (1, "promotion.missing", ["promote staged"])
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        await store.accept(replace(a_deployment("staged"), environment="staging"), None)
        await finish(store, await claim(store))
        status, answer = await told(EVENT)
        assert (status, answer["code"], answer["unknown"]) == (0, None, [])
        assert [each["holds"] for each in answer["held"]] == [True, True]
        await store.accept(a_deployment("waits"), None)
    status, answer = await told(EVENT)
    assert (status, answer["code"], answer["rules"]) == (1, "request.too_many_waiting", ["limit fair"])
    assert answer["held"][1]["says"] == "lets 1 of amqp:bot wait, and 1 do"
    resume = {"schema": "vesemir.control/1", "command": "resume", "deployment_id": "waits"}
    status, answer = await told(resume)
    assert (status, answer["allowed"], answer["rules"]) == (0, True, ["control own"])
