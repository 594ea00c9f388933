"""One short transaction of the clean-up: a few deployments, and at most so many rows of what belongs to them."""

from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.engine.ports.store import Cleaned

DEPLOYMENTS_AT_ONCE = 50


async def clean_up(connection: Connection, *, older_than_seconds: float, rows: int, keep_good: int) -> Cleaned | None:
    """Within a transaction. None: another instance is at it."""
    if await statements().enter_clean_up.row(connection) is None:
        return None
    due = await statements().lock_cleanable.rows(
        connection, older_than_seconds=older_than_seconds, keep_good=keep_good, limit=min(rows, DEPLOYMENTS_AT_ONCE)
    )
    ids = [row["deployment_id"] for row in due]
    if not ids:
        return Cleaned(deployments=0, rows=0)
    await statements().keep_results.run(connection, deployment_ids=ids)
    done = 0
    for statement in (statements().clean_steps, statements().clean_events, statements().clean_targets):
        done += await statement.value(connection, deployment_ids=ids, limit=rows - done)
        if done >= rows:
            return Cleaned(deployments=0, rows=done)
    gone = await statements().clean_deployments.value(connection, deployment_ids=ids)
    return Cleaned(deployments=gone, rows=done + gone)
