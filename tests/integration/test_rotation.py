"""A rotated password: the next connection uses the file's, at once where the old one is refused."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.postgres_server import PostgresServer, database, postgres_server
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.unit.engine.world import Lines

from vesemir.adapters.amqp import AmqpBroker
from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.secret_file import SecretFile
from vesemir.engine.ports.broker import OutgoingMessage, PublishOutcome
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.health import HealthRegistry, PartState
from vesemir.settings import AmqpSettings, PostgresSettings

__all__ = ["database", "postgres_server", "rabbit_server"]


END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'"


class Refusals(HealthRegistry):
    """``first`` is done when a part is reported as down."""

    def __init__(self) -> None:
        super().__init__()
        self.first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def report(self, name: str, state: PartState, detail: str = "") -> None:
        super().report(name, state, detail)
        if state is PartState.DOWN and not self.first.done():
            self.first.set_result(detail)


@pytest.fixture
async def role(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """One that logs in with a password only."""
    name = f"rotated_{uuid.uuid4().hex[:8]}"
    rules = postgres_server.folder / "contents" / "pg_hba.conf"
    before = await asyncio.to_thread(rules.read_text)
    await asyncio.to_thread(rules.write_text, f"host all {name} 127.0.0.1/32 scram-sha-256\n{before}")
    await postgres_server.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD 'first'")
    await postgres_server.execute("SELECT pg_reload_conf()")
    yield name
    await asyncio.to_thread(rules.write_text, before)
    await postgres_server.execute("SELECT pg_reload_conf()")
    await postgres_server.execute(f"DROP ROLE {name}")


async def test_a_database_password_is_read_again_when_it_is_refused(
    postgres_server: PostgresServer, database: str, role: str, tmp_path: Path
) -> None:
    """The pool and the connection for hints; before, each was refused until a restart."""

    def dsn(password: str) -> str:
        return database.replace("vesemir@", f"{role}:{password}@")

    file = tmp_path / "dsn"
    log = Lines()
    secret = SecretFile("postgres.dsn", dsn("first"), file, log=log)
    async with Database.opened(PostgresSettings(dsn=dsn("first")), dsn=secret, retry_seconds=0) as opened:
        await opened.ping()
        await postgres_server.execute(f"ALTER ROLE {role} PASSWORD 'second'")
        await opened.ping()  # what is open stays
        await postgres_server.execute(END_ALL.format(role))
        with pytest.raises(StoreAwayError):
            await opened.ping()  # the one that was ended
        with pytest.raises(StoreAwayError, match="check user, password"):
            await opened.ping()
        await asyncio.to_thread(file.write_text, dsn("second"))
        await opened.ping()
        async with opened.own_connection() as connection:
            assert await connection.fetchval("SELECT current_user") == role
    assert log.of("info") == [f"postgres.dsn was read again from {file}"]


async def test_a_broker_user_is_read_again_when_it_is_refused(rabbit_server: RabbitServer, tmp_path: Path) -> None:
    """Another user even, as Vault makes them: events then carry its name, or the broker would refuse them."""
    user, password, log = f"u{uuid.uuid4().hex[:8]}", secrets.token_hex(8), Lines()
    health = Refusals()
    settings = AmqpSettings(url=rabbit_server.url.replace("guest:guest", f"{user}:{password}"), namespace=user)
    file = tmp_path / "url"
    url = SecretFile("amqp.url", settings.url.get_secret_value(), file, log=log)
    broker = AmqpBroker(settings, health=health, instance="a/1", log=log, url=url)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(broker.run())
        assert "refused the login" in await health.first
        await asyncio.to_thread(file.write_text, rabbit_server.url)
        message = OutgoingMessage("", f"{user}.rejected", b"{}", "id-1", "deployment.finished", "c-1", mandatory=True)
        assert await broker.publish(message) is PublishOutcome.CONFIRMED
        broker.close()
        await task
