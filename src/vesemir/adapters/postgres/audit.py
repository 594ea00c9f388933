"""The audit's rows: this process's chain, and reading all of them (``vesemir.domain.audit``)."""

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from asyncpg import Record as Row

from vesemir.adapters.postgres.connections import to_json
from vesemir.adapters.postgres.rows import moment_of
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.audit import AuditEntry, AuditHead, AuditRow, heads_json, row_after
from vesemir.engine.ports.store import StoreBusyError


def utc_now() -> str:
    """By this machine's clock: the row is hashed before the database has seen it."""
    return moment_of(datetime.now(UTC))


class AuditChain:
    """The chain that this process writes. One transaction at a time has its end, from the write until the commit."""

    def __init__(self, instance: str, *, now: Callable[[], str] = utc_now) -> None:
        self.name = f"{instance}/{secrets.token_hex(4)}".replace(" ", "_")
        self._now = now
        self._turn = asyncio.Lock()
        self._last: AuditHead | None = None
        """None: not known, because nothing was written yet or a commit's answer was lost."""

    async def append(
        self,
        connection: Connection,
        entries: Sequence[AuditEntry],
        until_commit: AsyncExitStack,
        *,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Within a transaction, as its last statement. ``until_commit`` must be left after the transaction ends.

        Raises ``StoreBusyError`` if an earlier write, whose answer was lost, was committed after all: try again.
        """
        if not entries:
            return
        await until_commit.enter_async_context(self._turn)
        last, self._last = self._last, None
        if last is None:
            found = await statements().audit_head.row(connection, chain=self.name)
            last = None if found is None else head_of(found)
        first = {"heads": heads_json(await _unnamed(connection))} if last is None else {}
        rows: list[AuditRow] = []
        for entry in entries:
            written = {"at": self._now(), **entry.as_json(), **({} if rows else first), **(more or {})}
            # As the record gives it back: without what PostgreSQL's text cannot hold.
            rows.append(row_after(self.name, last, json.loads(to_json(written))))
            last = rows[-1].head
        added = await statements().append_audit.rows(
            connection,
            chain=self.name,
            numbers=[row.number for row in rows],
            previous=[row.previous for row in rows],
            hashes=[row.hash for row in rows],
            entries=[dict(row.entry) for row in rows],
        )
        if len(added) != len(rows):
            raise StoreBusyError("an earlier row of the audit was written late; it is tried again")
        until_commit.push(self._committed(rows[-1].head))

    def forget(self) -> None:
        """Read the chain's end again before the next row."""
        self._last = None

    def _committed(self, head: AuditHead) -> Callable[..., bool]:
        def leave(kind: type[BaseException] | None, *_: object) -> bool:
            if kind is None:
                self._last = head
            return False

        return leave


async def _unnamed(connection: Connection) -> list[AuditHead]:
    """The last rows of all chains, but those that another chain's first row has named already."""
    named = {(row["chain"], row["number"]) for row in await statements().audit_named.rows(connection)}
    return [head for head in await heads(connection) if (head.chain, head.number) not in named]


async def heads(connection: Connection) -> list[AuditHead]:
    return [head_of(row) for row in await statements().audit_heads.rows(connection)]


def head_of(row: Row) -> AuditHead:
    return AuditHead(row["chain"], row["number"], row["hash"])


def audit_row_of(row: Row) -> AuditRow:
    return AuditRow(row["chain"], row["number"], row["previous"], row["hash"], row["entry"])
