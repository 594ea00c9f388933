"""A pooler (PgBouncer) between Vesemir and PostgreSQL: how it is noticed, and what is done otherwise behind it.

In transaction mode it may give each transaction of a client another connection to the server, and that of another
server after a failover. So behind any pooler nothing is left to the session: no prepared statement has a name, settings
go with each transaction and not with the connection, every statement is in a transaction, and each of those begins with
a look at which server it is on. LISTEN is the one thing that needs a session, and is only done where there is one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import asyncpg

from vesemir.adapters.postgres.statements import Connection
from vesemir.adapters.postgres.timelines import DIGITS, Timeline
from vesemir.engine.ports.store import StoreAwayError

_PID = "SELECT pg_backend_pid()"
_APPLICATION = "application_name"
"""The only one of our settings that PgBouncer takes from clients; its ``track_extra_parameters`` is for few others."""
_ANSWER_SHARE = 0.8
"""Of the time to connect, for the first answer: the rest is for saying that there was none."""

_ADVICE = {
    "statement pooling mode": "set pool_mode = transaction or session for this database in PgBouncer",
    "query_wait_timeout": "raise PgBouncer's default_pool_size, or see whether the server behind it answers",
    "max_client_conn": "raise PgBouncer's max_client_conn",
    "no such database": "name it in the section [databases] of PgBouncer",
    "authentication failed": "check user, password and PgBouncer's auth_file or auth_query against postgres.dsn",
    "startup parameter": "take it out of postgres.dsn, or name it in PgBouncer's ignore_startup_parameters",
    "server behind the pooler": "it is asked again which one it is",
}


class PoolMode(StrEnum):
    """When a pooler takes the connection to the server back from a client."""

    SESSION = "session"
    TRANSACTION = "transaction"


def pooler_advice(reason: str) -> str | None:
    """What to do about these words of a pooler; None if they are not a pooler's."""
    return next((advice for words, advice in _ADVICE.items() if words in reason), None)


def refuses_login(error: BaseException | None) -> bool:
    """Whether user or password are not right; PgBouncer gives no code of its own for that."""
    if isinstance(error, asyncpg.ProtocolViolationError):
        return "authentication failed" in str(error)
    return isinstance(error, asyncpg.InvalidAuthorizationSpecificationError)


async def server_process(connection: Connection, *, timeout: float | None = None) -> int:
    """The process of the server that this connection has now. Asked without a prepared statement of any name."""
    answer = bytearray()

    async def take(block: bytes) -> None:
        answer.extend(block)

    await connection.copy_from_query(_PID, output=take, timeout=timeout)
    return int(answer)


class Pooler:
    """Whether there is one; each ``Servers`` asks. Once noticed it is believed in: what is done then works without."""

    def __init__(self) -> None:
        self.is_there = False

    async def connected(self, dsn: str, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ANN401
        """``asyncpg.connect``, and once more for a pooler where one is noticed now.

        Raises what that does, and ``StoreAwayError`` if it connects and then answers nothing.
        """
        if not self.is_there:
            try:
                connection, self.is_there = await _asked(dsn, timeout, options)
            except asyncpg.PostgresError as error:
                if not _tells_of_pooler(error):
                    raise
                self.is_there = True
            else:
                if not self.is_there:
                    return connection
                connection.terminate()
        connection, _ = await _asked(dsn, timeout, _without_session(options))
        return connection


async def _asked(dsn: str, timeout: float, options: Mapping[str, Any]) -> tuple[asyncpg.Connection, bool]:
    """Connected, and whether through a pooler: a server tells its process when it connects, a pooler any number."""
    connection: asyncpg.Connection = await asyncpg.connect(dsn, timeout=timeout, **options)
    try:
        process = await server_process(connection, timeout=_ANSWER_SHARE * timeout)
    except TimeoutError as error:
        connection.terminate()
        raise StoreAwayError(
            "PostgreSQL: no answer in time, though it connects; check that it is not stopped, and behind PgBouncer "
            "that the server is there and default_pool_size is not used up (docs/operations.md)"
        ) from error
    except BaseException:
        connection.terminate()
        raise
    return connection, process != connection.get_server_pid()


def _tells_of_pooler(error: asyncpg.PostgresError) -> bool:
    """Settings are refused, or a named statement was prepared on one connection to the server and asked for on another.

    The latter is asyncpg's question whether the server may be written to.
    """
    if isinstance(error, asyncpg.ProtocolViolationError):
        return "startup parameter" in str(error)
    return isinstance(error, asyncpg.DuplicatePreparedStatementError | asyncpg.InvalidSQLStatementNameError)


def _without_session(options: Mapping[str, Any]) -> dict[str, Any]:
    settings = options.get("server_settings") or {}
    kept = {name: value for name, value in settings.items() if name == _APPLICATION}
    return {**options, "server_settings": kept, "statement_cache_size": 0}


def beginning(settings: Mapping[str, str], server: Timeline | None) -> str:
    """What begins a transaction behind a pooler, in one round trip.

    Raises ``asyncpg.ConnectionFailureError`` there if it is not ``server`` any more; without one nothing is compared.
    """
    values = (f"SET LOCAL {name} = '{value}'" for name, value in settings.items() if name != _APPLICATION)
    looks = () if server is None else (_LOOK.format(system=int(server.system), digits=DIGITS, number=server.number),)
    return "; ".join(("BEGIN", *values, *looks))


# A standby tells no timeline that it writes to, and refuses every write by itself.
_LOOK = """DO $look$ BEGIN
    IF pg_is_in_recovery() THEN RETURN; END IF;
    IF (SELECT system_identifier FROM pg_control_system()) <> {system}
       OR left(pg_walfile_name(pg_current_wal_lsn()), {digits}) <> '{number:08X}' THEN
        RAISE 'the server behind the pooler is another one than before' USING ERRCODE = 'connection_failure';
    END IF;
END $look$"""


async def is_shared(connection: Connection, in_transaction: Connection, *, process: int) -> bool:
    """Whether the server's connection that was ``process`` for ``connection`` is somebody else's between transactions.

    ``in_transaction`` is in one. A pooler that is busy may hide it, so that False is a good guess only.
    """
    return (
        await server_process(in_transaction) == process  # it was given what the first one had
        or await server_process(connection) != process  # which is in a transaction now, so another one was to be had
    )
