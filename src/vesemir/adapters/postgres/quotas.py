"""How many deployments may wait (``domain.quota``), counted within the transaction that accepts more of them.

Two that count for the same quota wait for each other's commit, so no limit is passed, however many instances accept at
once. Where no quota holds nothing is asked. Its locks come after those of the ids and before those of the lanes, in one
order.
"""

from collections.abc import Collection, Sequence

from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.quota import HeldQuota, TooManyWaiting, Waiting, WaitingCount
from vesemir.engine.ports.records import NewDeployment


async def too_many_waiting(connection: Connection, group: Sequence[NewDeployment]) -> dict[str, TooManyWaiting]:
    """Those of a group that may not wait, by id; the ids are forgotten again."""
    held = {quota for new in group for quota in new.quotas}
    if not held:
        return {}
    await statements().hold_waiting.run(connection, names=sorted({f"waiting {quota.key}" for quota in held}))
    count = WaitingCount(await waiting_of(connection, held))
    full: dict[str, TooManyWaiting] = {}
    for new in group:
        refused = count.admit(new.quotas, new.waiting)
        if refused is not None:
            full[new.deployment_id] = refused
    if full:
        await statements().forget_requests.run(connection, ids=list(full))
    return full


async def waiting_of(connection: Connection, quotas: Collection[HeldQuota]) -> list[tuple[Waiting, int]]:
    """What any of them may count."""
    rows = await statements().waiting_of.rows(
        connection,
        identities=sorted({each for quota in quotas for each in quota.identities}),
        applications=sorted({quota.application for quota in quotas if quota.application is not None}),
    )
    return [(Waiting(row["identity"], row["application"], row["environment"]), row["count"]) for row in rows]
