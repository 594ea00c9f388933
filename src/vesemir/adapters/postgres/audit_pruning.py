"""Retention of the audit, by the owner of its table: old rows go, and a row says up to where."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime

from vesemir.adapters.postgres.audit import AuditChain, audit_row_of, heads
from vesemir.adapters.postgres.audit_reading import verified
from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.statements import statements
from vesemir.adapters.postgres.timelines import Timelines
from vesemir.domain.audit import AuditEntry, OldRows, heads_json
from vesemir.domain.failure import VesemirError
from vesemir.domain.identity import Asker
from vesemir.settings import PostgresSettings


async def prune(settings: PostgresSettings, *, before: datetime, who: str) -> int:
    """How many rows were taken, all in one transaction. The last row of each chain stays.

    Raises ``StoreAwayError``, and ``VesemirError`` where the audit does not verify: what was done to it must not be
    covered up by retention.
    """
    moment = before.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    chain = AuditChain(f"prune/{who}")
    async with (
        Database.opened(settings, size=1, timelines=Timelines()) as database,
        AsyncExitStack() as until_commit,
        database.transaction() as connection,
    ):
        old = OldRows(before=moment)
        if problems := (await verified(connection, old=old)).problems:
            first = problems[0]
            raise VesemirError(
                f"nothing was pruned: row {first.number} of {first.chain} {first.message}; see `vesemir audit verify`"
            )
        if not old.rows:
            return 0
        naming = (audit_row_of(row) for row in await statements().audit_naming.rows(connection))
        before_now = sorted((cut for row in naming for cut in row.pruned), key=lambda each: each.number)
        earlier, cuts = {cut.chain: cut for cut in before_now}, old.cuts
        entry = AuditEntry("prune", "accepted", Asker(claimed=who, way="record"), reason=f"rows before {moment}Z")
        more = {
            "heads": heads_json(await heads(connection)),
            "pruned": heads_json({**earlier, **cuts}.values()),
        }
        await chain.append(connection, [entry], until_commit, more=more)
        await statements().prune_audit.run(connection, chains=list(cuts), numbers=[cut.number for cut in cuts.values()])
    return old.rows
