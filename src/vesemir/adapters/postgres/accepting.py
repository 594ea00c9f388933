"""Deployments accepted in groups (``grouping``), each as if it had come alone.

Locks are taken in one order by every instance, ids first and then lanes, each sorted, so that no two groups wait for
each other. One instance has one group under way, so a lane's deployments are accepted in the order in which they came.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vesemir.adapters.postgres import early_cancels
from vesemir.adapters.postgres.control import cancel_waiting
from vesemir.adapters.postgres.lanes import lane_lock_of
from vesemir.adapters.postgres.quotas import too_many_waiting
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.audit import AuditEntry
from vesemir.domain.lane_lock import LaneLock
from vesemir.engine.ports.records import Destination, NewDeployment
from vesemir.engine.ports.store import AcceptAnswer, AcceptKind, PermitsEarly, permits_early


@dataclass(frozen=True, eq=False, slots=True)
class Arrival:
    """One message's deployment."""

    new: NewDeployment
    destination: Destination | None
    permits: PermitsEarly = permits_early

    @property
    def lane(self) -> str:
        return f"{self.new.application}/{self.new.environment}"


async def accept(
    connection: Connection, group: Sequence[Arrival], *, instance: str
) -> tuple[list[AcceptAnswer], list[AuditEntry]]:
    """Within a transaction, with what is told of it in the audit. A repeat changes nothing but its destination, also
    one of the same group."""
    first: dict[str, Arrival] = {}
    for asked in group:
        first.setdefault(asked.new.deployment_id, asked)
    rows = await statements().remember_requests.rows(
        connection,
        ids=list(first),
        hashes=[asked.new.body_hash for asked in first.values()],
        identities=[str(asked.new.asker.identity or "") for asked in first.values()],
        sent=[asked.new.sent_at for asked in first.values()],
    )
    fresh = {row["deployment_id"] for row in rows}
    new = [asked for name, asked in first.items() if name in fresh]
    answers: dict[str, AcceptAnswer] = {**await too_many_waiting(connection, [asked.new for asked in new])}
    new = [asked for asked in new if asked.new.deployment_id not in answers]
    judged: list[AuditEntry] = []
    if new:
        answers |= await _insert(connection, new, instance=instance)
        accepted = {name: first[name] for name, kind in answers.items() if kind is AcceptKind.ACCEPTED}
        cancelled, judged = await _cancel_early(connection, accepted, instance=instance)
        answers |= cancelled
    kinds = [
        answer
        # What is kept out is not remembered: it keeps the same event of the same group out, too.
        if (answer := answers.get(asked.new.deployment_id)) is not None
        and (first[asked.new.deployment_id] is asked or not isinstance(answer, AcceptKind))
        else await _repeat(connection, asked.new, asked.destination)
        for asked in group
    ]
    return kinds, [*_audited(group, kinds), *judged]


_TOLD = {
    AcceptKind.ACCEPTED: "accepted",
    AcceptKind.CANCELLED: "accepted",
    AcceptKind.REPEATED: "repeated",
    AcceptKind.CLEANED: "repeated",
}


def _audited(group: Sequence[Arrival], kinds: Sequence[AcceptAnswer]) -> list[AuditEntry]:
    """What was let in; what was refused is told by who refuses it."""
    return [
        each.new.audited(_TOLD[kind])
        for each, kind in zip(group, kinds, strict=True)
        if isinstance(kind, AcceptKind) and kind in _TOLD
    ]


async def _cancel_early(
    connection: Connection, group: Mapping[str, Arrival], *, instance: str
) -> tuple[dict[str, AcceptKind], list[AuditEntry]]:
    """Those whose cancel came before them, from somebody who may. A statement of its own after the ids were remembered:
    a cancel that held one of them has been committed by now."""
    cancelled: dict[str, AcceptKind] = {}
    judged: list[AuditEntry] = []
    for command in await early_cancels.taken(connection, list(group)):
        asked, name = group[command.deployment_id], command.deployment_id
        if name in cancelled:
            continue
        permitted = asked.permits(command, asked.new.controlled)
        judged.append(command.judged(asked.new.controlled, permitted=permitted))
        if permitted:
            await cancel_waiting(connection, command, 0.0, instance=instance, token="")
            cancelled[name] = AcceptKind.CANCELLED
    return cancelled, judged


async def _insert(
    connection: Connection, group: Sequence[Arrival], *, instance: str
) -> dict[str, AcceptKind | LaneLock]:
    """What became of each: a lock is judged with its lane's row locked, so that none comes in between."""
    total = Counter(asked.lane for asked in group)
    rows = await statements().new_arrivals.rows(connection, lanes=list(total), counts=list(total.values()))
    locks = {row["name"]: lane_lock_of(row) for row in rows if row["locked"]}
    now = max(row["now"] for row in rows)
    kept_out = {
        asked.new.deployment_id: locks[asked.lane]
        for asked in group
        if asked.lane in locks and not asked.new.passes_lock(now)
    }
    if kept_out:
        await statements().forget_requests.run(connection, ids=list(kept_out))
    let_in = [asked for asked in group if asked.new.deployment_id not in kept_out]
    if let_in:
        last = {row["name"]: row["arrivals"] - total[row["name"]] for row in rows}
        await _insert_numbered(connection, let_in, last, instance=instance)
    return {asked.new.deployment_id: kept_out.get(asked.new.deployment_id, AcceptKind.ACCEPTED) for asked in group}


async def _insert_numbered(
    connection: Connection, group: Sequence[Arrival], last: Mapping[str, int], *, instance: str
) -> None:
    """``last`` is the last arrival of each lane before these. ``ahead``: how many of the same group and lane come
    before."""
    seen: Counter[str] = Counter()
    ahead, arrivals = [], []
    for asked in group:
        ahead.append(seen[asked.lane])
        arrivals.append(last[asked.lane] + seen[asked.lane] + 1)
        seen[asked.lane] += 1
    new = [asked.new for asked in group]
    destinations = [asked.destination for asked in group]
    await statements().insert_deployments.run(
        connection,
        ids=[each.deployment_id for each in new],
        requests=[dict(each.request) for each in new],
        sealed=[each.sealed for each in new],
        defaults=[each.defaults and dict(each.defaults) for each in new],
        applications=[each.application for each in new],
        environments=[each.environment for each in new],
        versions=[each.version for each in new],
        recipes=[each.recipe for each in new],
        teams=[each.team for each in new],
        requesters=[each.requested_by for each in new],
        users=[each.asker.user_id for each in new],
        askers=[each.asker.as_json() for each in new],
        reasons=[each.break_glass for each in new],
        not_before=[each.not_before for each in new],
        not_after=[each.not_after for each in new],
        turns=[each.turn.requester for each in new],
        quotas=["\n".join(each.turn.quotas) for each in new],
        waits_in=[each.turn.queue for each in new],
        arrivals=arrivals,
        ahead=ahead,
        instance=instance,
        queues=[each and each.reply_to for each in destinations],
        correlations=[each and each.correlation_id for each in destinations],
    )


async def _repeat(connection: Connection, new: NewDeployment, destination: Destination | None) -> AcceptKind:
    known = await statements().known_body_hash.value(connection, deployment_id=new.deployment_id)
    if known is None:
        return AcceptKind.BEFORE_RESTORE
    if known != new.body_hash:
        return AcceptKind.CONFLICT
    reached = await statements().lock_for_repeat.row(connection, deployment_id=new.deployment_id)
    # Asked with the row locked: a clean-up that has begun with it is seen, and none begins now.
    if await statements().kept_result.row(connection, deployment_id=new.deployment_id) is not None:
        return AcceptKind.CLEANED
    if destination is not None and reached is not None:
        await statements().join_destination.run(
            connection,
            deployment_id=new.deployment_id,
            reply_to=destination.reply_to,
            correlation_id=destination.correlation_id,
            finished=reached["finished"],
            last_sequence=reached["last_sequence"],
        )
    return AcceptKind.REPEATED
