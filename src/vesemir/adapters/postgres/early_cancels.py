"""Cancels that came before their deploy event: kept for a day, judged when it comes (docs/decisions.md 59)."""

from collections.abc import Sequence

from asyncpg import Record as Row

from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.identity import Asker
from vesemir.engine.ports.store import EARLY_CANCELS, EARLY_SECONDS, ControlCommand


async def hold_unknown(connection: Connection, deployment_id: str) -> bool:
    """Whether the id was never accepted; it is not until the transaction ends, then. Instances of every release insert
    the id first of all, so this waits for them, and they for this."""
    if await statements().hold_unknown_id.row(connection, deployment_id=deployment_id) is None:
        return False
    await statements().release_unknown_id.run(connection, deployment_id=deployment_id)
    return True


async def keep(connection: Connection, command: ControlCommand) -> bool:
    """Of an id that is held. False: whoever asks has too many already."""
    identity = str(command.asker.identity or "")
    await statements().count_in_turn.run(connection, identity=identity)
    await statements().drop_old_cancels.run(connection, kept_seconds=EARLY_SECONDS)
    kept = await statements().keep_cancel.row(
        connection,
        deployment_id=command.deployment_id,
        identity=identity,
        asker=command.asker.as_json(),
        requested_by=command.requested_by,
        reason=command.reason,
        most=EARLY_CANCELS,
    )
    return kept is not None


async def taken(connection: Connection, deployment_ids: Sequence[str]) -> list[ControlCommand]:
    """Those of ids that are being accepted; they are kept no longer."""
    rows = await statements().kept_cancels.rows(
        connection, deployment_ids=list(deployment_ids), kept_seconds=EARLY_SECONDS
    )
    if rows:
        await forget(connection, [row["deployment_id"] for row in rows])
    return [_command(row) for row in rows]


async def overlooked(connection: Connection, deployment_id: str | None) -> list[ControlCommand]:
    rows = await statements().overlooked_cancels.rows(
        connection, deployment_id=deployment_id, kept_seconds=EARLY_SECONDS
    )
    return [_command(row) for row in rows]


async def forget(connection: Connection, deployment_ids: Sequence[str], *, identity: str | None = None) -> None:
    """Those of one identity, or of all."""
    await statements().forget_cancels.run(connection, deployment_ids=list(deployment_ids), identity=identity)


def _command(row: Row) -> ControlCommand:
    asker = Asker.of_json(row["asker"], claimed=row["requested_by"])
    return ControlCommand("cancel", row["deployment_id"], row["requested_by"], row["reason"], asker)
