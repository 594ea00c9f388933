"""The one place where PostgreSQL's and asyncpg's errors become Vesemir's.

What means "the database does not answer, or cannot write now" is ``StoreAwayError``: the caller tries again later.
What is left (a constraint, a syntax error) is a bug and keeps its own type.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from vesemir.adapters.postgres.poolers import pooler_advice
from vesemir.engine.ports.store import StoreAwayError, StoreBusyError

_LOCKED = "somebody else holds a lock on what is to be written: pg_blocking_pids() of pg_stat_activity says who"

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, "check user, password and pg_hba.conf against postgres.dsn"),
    (asyncpg.InvalidCatalogNameError, "create the database that postgres.dsn names, then run `vesemir migrate`"),
    (asyncpg.UndefinedTableError, "run `vesemir migrate`"),
    (asyncpg.UndefinedColumnError, "run `vesemir migrate`"),
    (asyncpg.InsufficientPrivilegeError, "let the user of postgres.dsn own the schema, or grant it its tables"),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "the database refuses writes: a standby (name the primary in postgres.dsn), or default_transaction_read_only",
    ),
    (asyncpg.LockNotAvailableError, _LOCKED),
    (asyncpg.QueryCanceledError, _LOCKED),
    (asyncpg.TooManyConnectionsError, "raise max_connections or lower postgres.pool_size"),
    (asyncpg.DiskFullError, "the database server's disk is full: free space there"),
)

_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InternalServerError,
    asyncpg.PostgresSystemError,
    *(kind for kind, _ in _ADVICE),
)


_BUSY = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.TransactionRollbackError)


def is_away(error: BaseException) -> bool:
    """Whether the database is away, as opposed to a bug of ours."""
    return isinstance(error, (StoreAwayError, *_AWAY))


@contextmanager
def translated() -> Iterator[None]:
    """Errors that mean "away" leave as ``StoreAwayError`` with the reason and what to do about it."""
    try:
        yield
    except StoreAwayError:
        raise
    except Exception as error:
        if not is_away(error):
            raise
        kind = StoreBusyError if isinstance(error, _BUSY) else StoreAwayError
        raise kind(_message(error)) from error


def _message(error: Exception) -> str:
    if isinstance(error, asyncpg.InternalClientError):
        # asyncpg's own words, of a connection that the server has ended meanwhile, name states of its protocol.
        return "PostgreSQL: the server ended the connection; check that it runs and is reachable"
    reason = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), None)
    advice = advice or pooler_advice(reason) or "check that it runs, and postgres.dsn"
    return f"PostgreSQL: {reason}; {advice}"
