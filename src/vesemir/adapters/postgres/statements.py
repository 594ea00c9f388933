"""The named statements of ``sql/queries``, read once by aiosql.

aiosql reads the files and numbers the parameters; the statements are run here and not by its asyncpg adapter, because
that one looks through ``dir(connection)`` before every statement, which costs more than many statements themselves.
"""

from functools import cache
from typing import Any

import aiosql
import asyncpg
from aiosql.adapters.asyncpg import AsyncPGAdapter

from vesemir.shipped import sql_folder

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class Statement:
    """One statement and the order of its parameters; ``values`` must name exactly these."""

    __slots__ = ("_parameters", "_sql", "name")

    def __init__(self, name: str, sql: str, parameters: tuple[str, ...]) -> None:
        self.name = name
        self._sql = sql
        self._parameters = parameters

    async def rows(self, connection: Connection, **values: object) -> list[asyncpg.Record]:
        return await connection.fetch(self._sql, *self._arguments(values))

    async def row(self, connection: Connection, **values: object) -> asyncpg.Record | None:
        """The first row."""
        return await connection.fetchrow(self._sql, *self._arguments(values))

    async def value(self, connection: Connection, **values: object) -> Any:  # noqa: ANN401 (the column knows)
        """The first column of the first row, or None."""
        return await connection.fetchval(self._sql, *self._arguments(values))

    async def run(self, connection: Connection, **values: object) -> None:
        await connection.execute(self._sql, *self._arguments(values))

    def _arguments(self, values: dict[str, object]) -> list[object]:
        if len(values) != len(self._parameters):
            raise TypeError(f"{self.name} takes {', '.join(self._parameters)}; got {', '.join(values)}")
        return [values[name] for name in self._parameters]


class Statements:
    """``statements().renew`` is the statement named ``renew``."""

    def __init__(self, by_name: dict[str, Statement]) -> None:
        self._by_name = by_name

    def __getattr__(self, name: str) -> Statement:
        try:
            return self._by_name[name]
        except KeyError:
            raise AttributeError(f"sql/queries has no statement named {name}") from None

    def __dir__(self) -> list[str]:
        return sorted(self._by_name)


@cache
def statements() -> Statements:
    """Reads the files at the first call."""
    adapter = AsyncPGAdapter()  # type: ignore[no-untyped-call]
    found = aiosql.from_path(sql_folder() / "queries", lambda: adapter, mandatory_parameters=False)
    names = {name for name in found.available_queries if not name.endswith("_cursor")}
    return Statements(
        {name: Statement(name, getattr(found, name).sql, tuple(adapter.var_sorted[name])) for name in names}
    )
