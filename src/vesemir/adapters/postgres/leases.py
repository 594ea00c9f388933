"""Claims: which deployment this instance works on next; and the renewal of what it has."""

from collections.abc import Mapping
from dataclasses import dataclass

from asyncpg import Record as Row

from vesemir.adapters.postgres.connections import Database
from vesemir.adapters.postgres.rows import wishes_of
from vesemir.adapters.postgres.statements import Connection, Statement, statements
from vesemir.engine.ports.records import Wishes
from vesemir.engine.ports.store import Claim, StoreBusyError

_TRIES = 8
"""How often a claim looks again when others were quicker; then whatever is due waits for the next hint or poll."""

LOCK_SHARE = 1 / 30
"""Of a lease: how long a renewal waits for a locked row, a fifth of what it may take."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, on what terms. ``token`` finds a claim again whose answer was lost; ``quotas`` as ``Store.claim``."""

    instance: str
    lease_seconds: float
    max_expiries: int
    token: str
    quotas: Mapping[str, int]

    @property
    def limits(self) -> dict[str, list[object]]:
        """As the statements take them."""
        return {"limits": list(self.quotas), "most": list(self.quotas.values())}


async def claim(database: Database, claimant: Claimant, *, again: bool) -> Claim | None:
    """``again``: an earlier try ended in doubt, and may have been committed."""
    if again:
        async with database.connection() as connection:
            row = await statements().find_claim.row(connection, instance=claimant.instance, token=claimant.token)
        if row is not None:
            return _claim_of(row, claimant)
    for _ in range(_TRIES):
        async with database.connection() as connection:
            seen = await statements().find_work.row(connection, locking=False, **claimant.limits)
        if seen is None:
            return None
        async with database.transaction() as connection:
            work = await statements().find_work.row(connection, locking=True, **claimant.limits)
            if work is None:
                work = seen
                await statements().lock_lane.run(connection, lane=work["lane"])
            taken = await _take(connection, work, claimant)
        if taken is not None:
            return taken
    return None


async def _take(connection: Connection, work: Row, claimant: Claimant) -> Claim | None:
    if work["quotas"] and work["requester"] is not None:
        await statements().hold_quotas.run(connection, names=work["quotas"])
    row = await statements().take.row(
        connection,
        deployment_id=work["deployment_id"],
        requester=work["requester"],
        queue=work["queue"],
        instance=claimant.instance,
        lease_seconds=claimant.lease_seconds,
        token=claimant.token,
        **claimant.limits,
    )
    if row is None:
        return None
    taken = _claim_of(row, claimant)
    if taken.taken_over is not None:
        await statements().doubt_running_targets.run(connection, deployment_id=taken.deployment_id)
        await statements().insert_events.run(
            connection,
            deployment_id=taken.deployment_id,
            instance=claimant.instance,
            sequences=[row["next_sequence"] - 1],
            names=[taken.taken_over.name],
            bodies=[taken.taken_over.body()],
        )
    return taken


async def renew(
    database: Database, owner: str, epochs: Mapping[str, int], *, lease_seconds: float
) -> Mapping[str, Wishes | None]:
    """All that is free at once. A row that is locked is waited for, for a moment: a commit of its own locks it, for
    milliseconds. Somebody else may hold it for long, and that must not cost the other leases."""
    held = _Held(owner, epochs, lease_seconds)
    async with database.connection() as connection:
        renewed: dict[str, Wishes | None] = await held.renewed(connection, statements().renew_free)
    locked = {name: epoch for name, epoch in epochs.items() if name not in renewed}
    if not locked:
        return renewed
    try:
        async with database.transaction() as connection:
            wait = str(max(1, int(1000 * lease_seconds * LOCK_SHARE)))
            await statements().wait_for_lock.run(connection, wait=wait)
            late = await _Held(owner, locked, lease_seconds).renewed(connection, statements().renew)
    except StoreBusyError:
        return renewed | dict.fromkeys(locked)
    return renewed | late


@dataclass(frozen=True, slots=True)
class _Held:
    """What is renewed: epochs by deployment."""

    owner: str
    epochs: Mapping[str, int]
    lease_seconds: float

    async def renewed(self, connection: Connection, statement: Statement) -> dict[str, Wishes | None]:
        rows = await statement.rows(
            connection,
            owner=self.owner,
            deployment_ids=list(self.epochs),
            epochs=list(self.epochs.values()),
            lease_seconds=self.lease_seconds,
        )
        return {row["deployment_id"]: wishes_of(row) for row in rows}


def _claim_of(row: Row, claimant: Claimant) -> Claim:
    return Claim(
        deployment_id=row["deployment_id"],
        owner=claimant.instance,
        epoch=row["epoch"],
        previous=row["previous"],
        expired=row["ran_out"],
        exhausted=row["expiries"] >= claimant.max_expiries,
    )
