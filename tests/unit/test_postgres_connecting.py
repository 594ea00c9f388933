"""Whatever keeps asyncpg from connecting is "the database is away": a task that asks the record goes on."""

import errno
import os

import asyncpg
import pytest

from vesemir.adapters.postgres.connections import Database
from vesemir.engine.ports.store import StoreAwayError
from vesemir.settings import PostgresSettings


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        KeyError("getpwuid(): uid not found: 0"),  # getpass.getuser() without a descriptor for /etc/passwd
        ImportError("cannot load"),
        RuntimeError("can't start new thread"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_connecting_is_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fails(*_arguments: object, **_options: object) -> None:
        raise error

    async with Database.opened(PostgresSettings()) as database:
        monkeypatch.setattr(asyncpg, "connect", fails)
        with pytest.raises(StoreAwayError):
            await database.ping()
        with pytest.raises(StoreAwayError):
            async with database.own_connection():
                pass


async def test_an_error_of_a_statement_stays_the_bug_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Database.opened(PostgresSettings()) as database:
        monkeypatch.setattr(database, "_pool", _Pool())
        with pytest.raises(KeyError):
            async with database.connection():
                raise KeyError("a bug")


class _Pool:
    """A pool whose connections are always there."""

    def acquire(self, **_: object) -> "_Pool":
        return self

    async def __aenter__(self) -> object:
        return object()

    async def __aexit__(self, *_: object) -> None:
        return None

    async def close(self) -> None:
        return None

    def terminate(self) -> None:
        return None
