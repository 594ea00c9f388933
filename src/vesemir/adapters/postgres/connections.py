"""The pool, and the one way to use it: every wait has a limit, a doubtful connection is thrown away, not repaired.

asyncpg has no limits by default, and a connection whose peer is silent wedges its next user. So each connect,
acquire and statement is bounded; a transaction that ends in doubt (no answer, cancelled) terminates its connection, and
every other idle connection is then replaced before it is used again. The server ends what we abandon: it keeps a row
locked for a silent client no longer than ``_IDLE_IN_TRANSACTION_SECONDS``, or a takeover would wait for a dead peer.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar

import asyncpg

from vesemir.adapters.postgres.errors import is_away, translated
from vesemir.adapters.postgres.poolers import PoolMode, is_shared, server_process
from vesemir.adapters.postgres.servers import Servers
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.adapters.postgres.timelines import Timelines
from vesemir.adapters.secret_file import SecretFile
from vesemir.engine.ports.store import StoreAwayError, WrongRecordError
from vesemir.settings import PostgresSettings

T = TypeVar("T")

_IDLE_IN_TRANSACTION_SECONDS = 5
_CLOSE_SECONDS = 3.0
_LOCK_TRIES = 3
"""Of a probe, 0.9 s each: longer than a migration waits for a table while others wait behind it."""
_LOOKS = 3
RETRY_SECONDS = 20.0
"""How long a write whose outcome is unknown is tried again: a restart of PostgreSQL takes less, and it is well below
what is left of a lease when its owner stops trusting it."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


def to_json(value: object) -> str:
    """Compact. What PostgreSQL cannot hold (NUL, half a surrogate pair) is replaced: no text may block a result."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\\u0000" in text:
        text = json.dumps(_without_nul(value), ensure_ascii=False, separators=(",", ":"))
    return clean_text(text)


def clean_text(text: str) -> str:
    """Without NUL and half surrogate pairs, which PostgreSQL's text cannot hold."""
    text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(item) for item in value]
    return value


async def prepare(connection: asyncpg.Connection) -> None:
    """asyncpg gives JSON as text unless it is told otherwise."""
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=to_json, decoder=json.loads)


async def check_namespace(connection: asyncpg.Connection, *, namespace: str) -> None:
    """For each new connection: nothing is ever asked of another installation's record. Raises ``WrongRecordError``."""
    found = await statements().namespace_of_installation.value(connection)
    if found is None:
        await statements().found_installation.run(connection, namespace=namespace)
        found = await statements().namespace_of_installation.value(connection)
    if found != namespace:
        raise WrongRecordError(
            f"the database of postgres.dsn belongs to the installation with amqp.namespace {found!r}, and this one has "
            f"{namespace!r}: give each installation a database of its own"
        )


async def _keep(connection: asyncpg.Connection) -> None:
    """Nothing to reset when a connection goes back: we leave no session state, and asyncpg's reset is a round trip."""


class Database:
    """Owns the pool. Made by ``opened``; connects at first use, so it may be opened while the server is away."""

    def __init__(
        self, pool: asyncpg.Pool, servers: Servers, settings: PostgresSettings, *, retry_seconds: float
    ) -> None:
        self._pool = pool
        self._servers = servers
        self._settings = settings
        self._retry_seconds = retry_seconds

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        settings: PostgresSettings,
        *,
        retry_seconds: float = RETRY_SECONDS,
        size: int | None = None,
        namespace: str | None = None,
        timelines: Timelines | None = None,
        dsn: SecretFile | None = None,
    ) -> AsyncIterator[Self]:
        """``size``: connections at most (default: the setting). With a ``namespace`` the record must be that one's.

        ``timelines`` are what the whole process knows; when one sees a promotion, all replace their connections.
        ``dsn`` is the setting's file, read again when it changes.
        """
        known = timelines or Timelines(settings.timeline_file)
        servers = Servers(settings.dsn.get_secret_value(), known, secret=dsn)

        async def begin(connection: asyncpg.Connection) -> None:
            await prepare(connection)
            if namespace is not None:
                await check_namespace(connection, namespace=namespace)

        pool = asyncpg.create_pool(
            settings.dsn.get_secret_value(),
            min_size=0,
            max_size=size or settings.pool_size,
            connect=servers.connect,
            init=begin,
            reset=_keep,
            timeout=settings.connect_timeout_seconds,
            command_timeout=settings.command_timeout_seconds,
            server_settings=_server_settings(settings),
        )
        with translated():
            await pool
        known.on_promotion.append(pool.expire_connections)
        try:
            yield cls(pool, servers, settings, retry_seconds=retry_seconds)
        finally:
            known.on_promotion.remove(pool.expire_connections)
            await _close(pool)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One statement, or several that need no transaction and may have one. Raises ``StoreAwayError``."""
        async with self._acquired() as connection:
            if not self._servers.pooler.is_there:
                yield connection
                return
            async with self._begun(connection):
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """All or nothing. ``StoreAwayError`` at the end of it means: it may be committed or not."""
        async with self._acquired() as connection, self._begun(connection):
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Several statements that read, and all see the same; through a pooler each sees what was committed before it,
        since a transaction there begins with a statement of its own."""
        async with self.transaction() as connection:
            if not self._servers.pooler.is_there:
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @asynccontextmanager
    async def _begun(self, connection: Connection) -> AsyncIterator[None]:
        await connection.execute(self._servers.beginning(_server_settings(self._settings)))
        try:
            yield
        except BaseException as error:
            if not (is_away(error) or isinstance(error, asyncio.CancelledError)):
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        limit = self._settings.connect_timeout_seconds + self._settings.command_timeout_seconds
        with translated():
            async with self._pool.acquire(timeout=limit) as connection:
                try:
                    yield connection
                except BaseException as error:
                    if is_away(error) or isinstance(error, asyncio.CancelledError):
                        with suppress(asyncpg.InterfaceError):  # the pool has it back: the server has ended it
                            connection.terminate()
                    if is_away(error):
                        await self._pool.expire_connections()
                    raise

    async def retried(self, work: Callable[[int], Awaitable[T]]) -> T:
        """``work(attempt)``, counted from 0, until the database answers, for a bounded time.

        After the first attempt it must look whether an earlier one was committed.
        """
        clock = asyncio.get_running_loop().time
        give_up = clock() + self._retry_seconds
        pause = _FIRST_PAUSE_SECONDS
        attempt = 0
        while True:
            try:
                return await work(attempt)
            except WrongRecordError:
                raise  # no waiting makes it this installation's record
            except StoreAwayError:
                if clock() + pause >= give_up:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter, not a secret)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            attempt += 1

    async def ping(self) -> None:
        """Write and commit. Raises ``StoreAwayError`` unless that is possible and the database is migrated."""
        probe = statements().write_probe
        for _ in range(_LOCK_TRIES - 1):
            # Once more when a table was locked: a migration locks it for a moment.
            async with self.connection() as connection:
                with suppress(asyncpg.LockNotAvailableError):
                    await probe.run(connection)
                    return
        async with self.connection() as connection:
            await probe.run(connection)

    async def ping_pages(self) -> None:
        """Write new pages too. Raises as ``ping`` does."""
        async with self.connection() as connection:
            await statements().write_probe_pages.run(connection)

    async def ping_reading(self) -> None:
        """Raises ``StoreAwayError`` unless deployments can be read."""
        async with self.connection() as connection:
            await statements().read_probe.run(connection)

    async def pool_mode(self, connection: asyncpg.Connection) -> PoolMode | None:
        """How a pooler works that is between here and the server; None without one. ``connection`` is its caller's own.

        Raises ``StoreAwayError``. Where a busy pooler hides it for ``_LOOKS`` times, it is taken for one of sessions.
        """
        if not self._servers.pooler.is_there:
            return None
        for _ in range(_LOOKS):
            with translated():
                process = await server_process(connection)
            async with self.transaction() as another:
                if await is_shared(connection, another, process=process):
                    return PoolMode.TRANSACTION
        return PoolMode.SESSION

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection outside the pool, for LISTEN. Raises ``StoreAwayError`` when it cannot be had."""
        with translated():
            connection = await self._servers.connect(
                timeout=self._settings.connect_timeout_seconds,
                command_timeout=self._settings.command_timeout_seconds,
                server_settings={"application_name": "vesemir hints"},
            )
        try:
            yield connection
        finally:
            connection.terminate()


def _server_settings(settings: PostgresSettings) -> dict[str, str]:
    milliseconds = 1000
    return {
        "application_name": "vesemir",
        # Compiling a plan takes longer than any statement of ours.
        "jit": "off",
        # Statistics sort a line per deployment: in memory.
        "work_mem": "16MB",
        # Below asyncpg's own limit: the server says what it waited for, and the connection stays sound.
        "statement_timeout": str(int(0.9 * settings.command_timeout_seconds * milliseconds)),
        "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_SECONDS * milliseconds),
    }


async def _close(pool: asyncpg.Pool) -> None:
    """``Pool.close`` waits for connections in use, for ever: not here."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await pool.close()
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pool.terminate()
