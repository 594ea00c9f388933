"""``vesemir audit``, ``audit verify`` and ``audit prune`` on a real record."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from tests.integration.postgres_server import database, postgres_server
from typer.testing import CliRunner

from vesemir.adapters.postgres import PostgresStore
from vesemir.cli.program import app
from vesemir.domain.audit import AuditEntry
from vesemir.domain.identity import Asker, Identity
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

ANNA = Asker(Identity("amqp", "anna"), claimed="boss")


@pytest.fixture
async def record(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """With two refusals in its audit."""
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", database)
    (tmp_path / "vesemir.toml").write_text("")
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "vesemir.toml"))
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        await store.audit(AuditEntry("refusal", "request.forbidden", ANNA, deployment_id="d1", application="shop"))
        await store.audit(AuditEntry("control", "accepted", ANNA, deployment_id="d2", command="cancel"))
    return database


async def said(*arguments: str, status: int = 0) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["audit", *arguments])
    assert result.exit_code == status, result.output
    return result.output


async def test_rows_are_shown_and_found(record: str) -> None:
    del record
    assert [row["outcome"] for row in json.loads(await said("--json"))] == ["accepted", "request.forbidden"]
    (row,) = json.loads(await said("--deployment", "d1", "--identity", "amqp:anna", "--since", "1h", "--json"))
    assert (row["kind"], row["claimed"], row["number"]) == ("refusal", "boss", 1)
    assert json.loads(await said("--application", "blog", "--json")) == []
    assert "request.forbidden" in await said("--kind", "refusal")


async def test_a_cut_tail_is_found_with_what_was_noted(record: str, tmp_path: Path) -> None:
    noted = tmp_path / "heads.json"
    noted.write_text(await said("verify", "--json"))
    assert "as they were written" in await said("verify", "--head", str(noted))
    connection = await asyncpg.connect(record)
    await connection.execute("DELETE FROM audit WHERE number = 2")
    await connection.close()
    await said("verify")
    found = json.loads(await said("verify", "--head", str(noted), "--json", status=1))
    assert [problem["number"] for problem in found["problems"]] == [2]


async def test_pruning_takes_nothing_that_is_not_old(record: str) -> None:
    del record
    assert json.loads(await said("prune", "--older-than", "1", "--json")) == {"rows": 0}
