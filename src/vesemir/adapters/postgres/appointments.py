"""What is done by the clock: deployments become due, and end when they were not begun in time."""

from collections.abc import Sequence

from vesemir.adapters.postgres.rows import moment_of
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.waiting import expired_result
from vesemir.engine.ports.store import Expired

AT_ONCE = 500
"""So many become due or end in one transaction."""


async def become_due(connection: Connection) -> bool:
    """Whether something did."""
    return bool(await statements().become_due.rows(connection, limit=AT_ONCE))


async def end_expired(connection: Connection, *, instance: str) -> Sequence[Expired]:
    """Within a transaction."""
    rows = await statements().lock_expired.rows(connection, limit=AT_ONCE)
    for row in rows:
        body = expired_result(moment_of(row["not_after"]), row["waited_seconds"]).body()
        await statements().end_expired.run(
            connection,
            deployment_id=row["deployment_id"],
            failure=body["failure"],
            metrics=body["metrics"],
            body=body,
            instance=instance,
        )
        await statements().keep_outcome.run(connection, deployment_id=row["deployment_id"])
    return [Expired(row["deployment_id"], row["dry_run"]) for row in rows]
