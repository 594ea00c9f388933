"""The servers of a DSN with several hosts: tried in turn, each with its share of the time limit, until one is writable.

asyncpg has one limit for all hosts together, so a silent first one leaves nothing for the second; and one that is
starting up ends its search. So each host is tried by itself here. A process that knows no timeline yet asks all of them
and takes the one that is furthest.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlunsplit

import asyncpg

from vesemir.adapters.postgres.errors import is_away
from vesemir.adapters.postgres.poolers import Pooler, beginning, refuses_login
from vesemir.adapters.postgres.timelines import OldPrimaryError, Timeline, Timelines, timeline_of
from vesemir.adapters.secret_file import SecretFile
from vesemir.adapters.tls_advice import missing_files, tls_advice
from vesemir.adapters.url_parts import url_parts
from vesemir.engine.ports.store import StoreAwayError

WRITABLE = "read-write"
"""``target_session_attrs`` where several hosts are named and the DSN has none: the record is written."""

_TLS_FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})


def each_server(dsn: str) -> tuple[str, ...]:
    """A DSN for each host of ``postgresql://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME`` or of ``?host=HOST,HOST``."""
    parts = url_parts(dsn)
    login, at, listed = parts.netloc.rpartition("@")
    if "," in listed:
        alone = (urlunsplit(parts._replace(netloc=f"{login}{at}{host}")) for host in listed.split(","))
        return tuple(map(_writable, alone))
    query = dict(parse_qsl(parts.query))
    hosts = query.get("host", "").split(",")
    if len(hosts) == 1:
        return (dsn,)
    each = _ports(query.get("port", ""), len(hosts))
    words = (query | {"host": host} | ({"port": port} if port else {}) for host, port in zip(hosts, each, strict=True))
    return tuple(_writable(urlunsplit(parts._replace(query=urlencode(word)))) for word in words)


def _ports(listed: str, hosts: int) -> list[str]:
    ports = listed.split(",")
    return ports * hosts if len(ports) == 1 else (ports + [""] * hosts)[:hosts]


def _writable(dsn: str) -> str:
    query = url_parts(dsn).query
    if "target_session_attrs=" in query:
        return dsn
    return f"{dsn}{'&' if query else '?'}target_session_attrs={WRITABLE}"


def name_of(dsn: str) -> str:
    """The host of one server's DSN, without user and password."""
    parts = url_parts(dsn)
    return parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "the server")


class Servers:
    """``connect`` is ``asyncpg.connect`` for one of them that may be written to."""

    def __init__(self, dsn: str, timelines: Timelines, *, secret: SecretFile | None = None) -> None:
        """``secret`` is the setting's file, which may have another password, or other servers, by and by."""
        self._secret = secret or SecretFile.fixed("postgres.dsn", dsn)
        self._servers = each_server(dsn)
        self._timelines = timelines
        self._turn = 0
        self._server: Timeline | None = None
        self.pooler = Pooler()

    def beginning(self, settings: Mapping[str, str]) -> str:
        """What begins a transaction: with these settings and on the server of the last ``connect``, if a pooler could
        forget the one or change the other."""
        return beginning(settings, self._server) if self.pooler.is_there else "BEGIN"

    async def connect(self, *_: Any, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 - as the pool calls it
        """Within ``timeout`` seconds. Raises ``StoreAwayError``, or what asyncpg does where there is one server.

        Where a login is refused, its file is read again, and all of it tried once more if it has changed.
        """
        timeout: float = options.pop("timeout")
        used = self._use(self._secret.current)
        try:
            return await self._any(timeout, options)
        except Exception as error:
            refused = refuses_login(error) or refuses_login(error.__cause__)
            renewed = await self._secret.renewed(used) if refused else None
            if renewed is None:
                raise
        self._use(renewed)
        return await self._any(timeout, options)

    def _use(self, dsn: str) -> str:
        servers = each_server(dsn)
        if servers != self._servers:
            self._servers, self._turn = servers, 0
        return dsn

    async def _any(self, timeout: float, options: dict[str, Any]) -> asyncpg.Connection:
        if len(self._servers) > 1 and not self._timelines.knows_any:
            await self._ask_all(timeout, options)
        clock = asyncio.get_running_loop().time
        until, errors = clock() + timeout, []
        for left in range(len(self._servers), 0, -1):
            server = self._servers[self._turn]
            try:
                return await self._connect(server, timeout=max(until - clock(), 0.01) / left, options=options)
            except Exception as error:
                if len(self._servers) == 1:
                    raise
                errors.append((name_of(server), error))
                self._turn = (self._turn + 1) % len(self._servers)
        refusals = [error for _, error in errors if isinstance(error, OldPrimaryError)]
        said = "; ".join(f"{name}: {str(error) or 'no answer in time'}" for name, error in errors)
        raise (OldPrimaryError if refusals else StoreAwayError)(
            f"PostgreSQL: no server of postgres.dsn can be written to ({said}); check that one is the primary"
        ) from next((error for _, error in errors if refuses_login(error)), errors[-1][1])

    async def _connect(self, server: str, *, timeout: float, options: dict[str, Any]) -> asyncpg.Connection:
        async with asyncio.timeout(timeout):
            connection = await self._connected(server, timeout=timeout, **options)
            try:
                found = await timeline_of(connection)
                if found is not None:
                    await self._timelines.admit(found, server=name_of(server))
                self._server = found
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _ask_all(self, timeout: float, options: dict[str, Any]) -> None:
        """Learn the highest timeline of those that answer, so that an old primary is not taken for the new one."""

        async def asked(server: str) -> tuple[Timeline, str] | None:
            try:
                async with asyncio.timeout(timeout / 2):
                    connection = await self._connected(server, timeout=timeout / 2, **options)
                    try:
                        found = await timeline_of(connection)
                    finally:
                        connection.terminate()
            except Exception as error:
                if not is_away(error):
                    raise
                return None
            return None if found is None else (found, name_of(server))

        found = [each for each in await asyncio.gather(*map(asked, self._servers)) if each is not None]
        for timeline, server in sorted(found, key=lambda each: -each[0].number):
            try:
                await self._timelines.admit(timeline, server=server)
            except OldPrimaryError:
                continue

    async def _connected(self, *arguments: Any, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 - as asyncpg's
        """Whatever keeps asyncpg from connecting means that the database is away.

        Without a descriptor left it does not only raise ``OSError``: the user's name cannot be looked up
        (``KeyError``), a module cannot be loaded (``ImportError``). None of that may end a task that asks the record.
        """
        if arguments and (missing := missing_files(url_parts(arguments[0]).query, _TLS_FILES, setting="postgres.dsn")):
            raise StoreAwayError(f"PostgreSQL: {missing}")
        try:
            return await self.pooler.connected(*arguments, **options)
        except Exception as error:
            if advice := tls_advice(error, setting="postgres.dsn", ca="sslrootcert", certificate="sslcert and sslkey"):
                raise StoreAwayError(f"PostgreSQL: {advice}") from error
            if is_away(error):
                raise
            raise StoreAwayError(f"PostgreSQL: connecting failed ({type(error).__name__}: {error})") from error
