"""A record that was restored from a backup: higher epochs, and older events are refused until it is said otherwise."""

import asyncio
import time
from dataclasses import replace

import asyncpg
import pytest
from tests.contract.store_suite import QUEUE, a_deployment, accepted_and_claimed, claim, event_names
from tests.integration.postgres_server import database, postgres_server
from typer.testing import CliRunner

from vesemir.adapters.postgres import PostgresStore
from vesemir.adapters.postgres.restored import EPOCHS, restored_since
from vesemir.cli.program import app
from vesemir.engine.ports.store import AcceptKind
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]


async def run(*words: str, database: str) -> str:
    """``vesemir migrate``, in a thread: it has a loop of its own."""
    environment = {"VESEMIR_POSTGRES__DSN": database}
    done = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", *words], env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


async def test_epochs_go_on_above_those_that_hosts_have_seen(database: str) -> None:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        before = await accepted_and_claimed(store)
        assert "epochs go on after" in await run("--restored", database=database)
        fresh = replace(a_deployment("d2", application="other"), sent_at=time.time() + 3600)
        assert await store.accept(fresh, QUEUE) is AcceptKind.ACCEPTED
        after = await claim(store)
        assert after.epoch >= before.epoch + EPOCHS


async def test_what_may_have_run_is_refused_until_repeats_are_accepted(database: str) -> None:
    """An event of before, one that does not say when, and one of after; a known id is a repeat as ever."""
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as store:
        await store.accept(a_deployment("known"), QUEUE)
        await run("--restored", database=database)
        old = replace(a_deployment("d1"), sent_at=time.time() - 3600)
        silent = a_deployment("d2")
        fresh = replace(a_deployment("d3"), sent_at=time.time() + 3600)
        kinds = [await store.accept(each, QUEUE) for each in (a_deployment("known"), old, silent, fresh)]
        unknown = AcceptKind.BEFORE_RESTORE
        assert kinds == [AcceptKind.REPEATED, unknown, unknown, AcceptKind.ACCEPTED]
        assert await store.known("d1") is None
        assert await restored_since(database) is not None

        assert "taken again" in await run("--accept-repeats", database=database)
        assert [await store.accept(each, QUEUE) for each in (old, silent)] == [AcceptKind.ACCEPTED] * 2
        assert await event_names(store) == ["deployment.accepted"]
        assert await restored_since(database) is None
        assert "no restore" in await run("--accept-repeats", database=database)


async def test_a_second_restore_raises_them_again(database: str) -> None:
    for _ in range(2):
        await run("--restored", database=database)
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT last_value FROM vesemir_epoch") >= 2 * EPOCHS
        assert await connection.fetchval("SELECT count(*) FROM restored") == 2
    finally:
        await connection.close()


def test_both_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", "postgresql://nowhere.invalid/x")
    done = CliRunner().invoke(app, ["migrate", "--restored", "--accept-repeats"])
    assert done.exit_code == 2
