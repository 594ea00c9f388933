"""The whole audit, read in pages: of millions of rows one page is held at a time."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from vesemir.adapters.postgres.audit import audit_row_of
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.audit import AuditHead, AuditProblem, AuditRow, OldRows, Verification

PAGE_ROWS = 1000
"""About 2 MiB."""

SHOWN_PROBLEMS = 1000
"""More say nothing new: in an audit that was written anew every row is one."""


@dataclass(frozen=True, slots=True)
class VerifiedAudit:
    """``problems``: at most ``SHOWN_PROBLEMS`` of ``found``. ``heads``: the last row of each chain."""

    rows: int
    heads: tuple[AuditHead, ...]
    problems: tuple[AuditProblem, ...]
    found: int


async def all_rows(connection: Connection) -> AsyncIterator[AuditRow]:
    """Chain by chain, in the order of their numbers."""
    chain, number = "", 0
    while rows := await statements().audit_page.rows(connection, chain=chain, number=number, limit=PAGE_ROWS):
        for row in rows:
            yield audit_row_of(row)
        chain, number = rows[-1]["chain"], rows[-1]["number"]


async def verified(
    connection: Connection, known: Iterable[AuditHead] = (), *, old: OldRows | None = None
) -> VerifiedAudit:
    """Within a transaction that sees the same all the time. ``old`` is shown each row as well."""
    naming = [audit_row_of(row) for row in await statements().audit_naming.rows(connection)]
    verification, found = Verification(naming, known), 0
    problems: list[AuditProblem] = []
    async for row in all_rows(connection):
        wrong = verification.take(row)
        if old is not None:
            old.take(row)
        found += len(wrong)
        problems += wrong[: SHOWN_PROBLEMS - len(problems)]
    missing = verification.missing()
    problems += missing[: SHOWN_PROBLEMS - len(problems)]
    heads = tuple(verification.heads.values())
    return VerifiedAudit(verification.rows, heads, tuple(problems), found + len(missing))
