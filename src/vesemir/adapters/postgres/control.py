"""What control messages do to the record: they set wishes, and end what still waits."""

from typing import assert_never

from asyncpg import Record as Row

from vesemir.adapters.postgres import early_cancels
from vesemir.adapters.postgres.rows import asker_of, known_request_of
from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.audit import AuditEntry
from vesemir.domain.control import (
    ControlDecision,
    ControlledDeployment,
    decide_control,
    waiting_cancelled,
    waiting_result,
)
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.store import ControlAnswer, ControlCommand, Permits


async def control(
    connection: Connection, command: ControlCommand, *, permits: Permits, instance: str, token: str
) -> tuple[ControlAnswer, ControlledDeployment | None, bool]:
    """Within a transaction. ``token`` tells a try whose answer was lost from a second command: True then."""
    name = command.deployment_id
    row = await statements().lock_for_control.row(connection, deployment_id=name)
    if row is None and command.command == "cancel":
        if await early_cancels.hold_unknown(connection, name):
            kept = await early_cancels.keep(connection, command)
            return (ControlAnswer.KEPT if kept else ControlAnswer.UNKNOWN), None, False
        # It may have been accepted since.
        row = await statements().lock_for_control.row(connection, deployment_id=name)
    if row is None:
        return *await _control_cleaned(connection, command, permits), False
    deployment = _controlled(row)
    if row["last_control"] == token:
        return (ControlAnswer.FINISHED if row["finished"] else ControlAnswer.ACCEPTED), deployment, True
    if not permits(deployment):
        return ControlAnswer.FORBIDDEN, deployment, False
    decision = decide_control(command.command, DeploymentState(row["state"]), once=command.once)
    match decision:
        case ControlDecision.WISH:
            await _set_wish(connection, command, token=token)
        case ControlDecision.END_WAITING:
            await cancel_waiting(connection, command, row["waited_seconds"], instance=instance, token=token)
        case ControlDecision.REPEATED | ControlDecision.REFUSED | ControlDecision.NOT_ASKED:
            pass
        case _:
            assert_never(decision)
    return ControlAnswer.of(decision), deployment, False


def audited(
    command: ControlCommand, answer: ControlAnswer, deployment: ControlledDeployment | None
) -> list[AuditEntry]:
    """What is told in the command's transaction: that it was accepted or is kept. A refusal is told by who says why."""
    if answer is ControlAnswer.KEPT:
        return [command.audited(None, "kept")]
    accepted = answer in {ControlAnswer.ACCEPTED, ControlAnswer.FINISHED}
    return [command.audited(deployment, "accepted")] if accepted else []


def _controlled(row: Row) -> ControlledDeployment:
    return ControlledDeployment(
        row["application"],
        row["environment"],
        row["version"],
        row["dry_run"],
        requester=asker_of(row).identity,
        awaits_approval=row["awaits_approval"],
    )


async def _control_cleaned(
    connection: Connection, command: ControlCommand, permits: Permits
) -> tuple[ControlAnswer, ControlledDeployment | None]:
    """It ended long ago, or was never heard of."""
    kept = await statements().kept_result.row(connection, deployment_id=command.deployment_id)
    if kept is None:
        return ControlAnswer.UNKNOWN, None
    asked = await statements().known_request.row(connection, deployment_id=command.deployment_id)
    requester = None if asked is None else known_request_of(asked).identity
    deployment = ControlledDeployment(kept["application"], kept["environment"], kept["version"], requester=requester)
    if not permits(deployment):
        return ControlAnswer.FORBIDDEN, deployment
    decision = decide_control(command.command, DeploymentState(kept["body"]["status"]))
    return ControlAnswer.of(decision), deployment


async def cancel_waiting(
    connection: Connection, command: ControlCommand, waited_seconds: float, *, instance: str, token: str
) -> None:
    """End what nobody has begun."""
    body = waiting_result(waiting_cancelled(command.requested_by, command.reason), waited_seconds).body()
    await statements().cancel_waiting.run(
        connection,
        deployment_id=command.deployment_id,
        failure=body["failure"],
        metrics=body["metrics"],
        wish=command.wish.as_json(),
        body=body,
        instance=instance,
        token=token,
    )
    await statements().keep_outcome.run(connection, deployment_id=command.deployment_id)


async def _set_wish(connection: Connection, command: ControlCommand, *, token: str) -> None:
    statement = {
        "cancel": statements().wish_cancel,
        "pause": statements().wish_pause,
        "resume": statements().wish_resume,
    }[command.command]
    await statement.run(connection, deployment_id=command.deployment_id, wish=command.wish.as_json(), token=token)
