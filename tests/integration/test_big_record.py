"""However many deployments are recorded: ``history``, ``stats`` and ``status`` go by indexes.

``python -m tests.bigrecord`` measures the same questions over 100,000.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.bigrecord.filling import fill
from tests.bigrecord.questions import QUESTIONS, READS_ALL, scans, statements_of, without_index
from tests.integration.postgres_server import PostgresServer, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.settings import PostgresSettings

__all__ = ["postgres_server"]

DEPLOYMENTS = 6_000


@pytest.fixture
async def big(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The DSN of a database with a year of deployments."""
    name = await postgres_server.make_database("template_vesemir")
    await fill(postgres_server.dsn(name), DEPLOYMENTS, a_day=DEPLOYMENTS // 333)
    yield postgres_server.dsn(name)
    await postgres_server.drop_database(name)


async def test_no_question_reads_a_big_table_from_one_end_to_the_other(big: str) -> None:
    """By the plans for these very values; nothing is forbidden to the planner."""
    connection = await asyncpg.connect(big, timeout=30)
    read_whole, statements = {}, {}
    async with PostgresStore.connected(PostgresSettings(dsn=big), instance="test") as store:
        for words, ask in QUESTIONS.items():
            asked = await statements_of(store, ask)
            statements[words] = len(asked)
            found = [each for statement in asked for each in await scans(connection, statement)]
            if tables := without_index(found):
                read_whole[words] = tables
    await connection.close(timeout=10)
    assert min(statements.values()) >= 1, "each question was seen as it was asked"
    assert set(read_whole) <= READS_ALL, read_whole
    assert set(read_whole.get("stats --all --by month", ())) <= {"outcome"}
