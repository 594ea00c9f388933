"""What control messages do to the record: they set wishes, and end what still waits."""

from vesemir.adapters.postgres.statements import Connection, statements
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.result import empty_metrics
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.records import Json
from vesemir.engine.ports.store import ControlAnswer, ControlCommand, DeploymentIdentity

_MAY_PAUSE = {DeploymentState.PENDING, DeploymentState.RUNNING, DeploymentState.PAUSED}


async def control(
    connection: Connection, command: ControlCommand, *, instance: str, token: str
) -> tuple[ControlAnswer, DeploymentIdentity | None]:
    """Within a transaction. ``token`` tells a try whose answer was lost from a second command."""
    row = await statements().lock_for_control.row(connection, deployment_id=command.deployment_id)
    if row is None:
        return await _control_cleaned(connection, command)
    identity = DeploymentIdentity(row["application"], row["environment"], row["version"])
    state = DeploymentState(row["state"])
    wish = {"requested_by": command.requested_by, "reason": command.reason}
    if row["last_control"] == token:
        return (ControlAnswer.FINISHED if row["finished"] else ControlAnswer.ACCEPTED), identity
    if row["finished"]:
        repeated = command.command == "cancel" and state is DeploymentState.CANCELLED
        return (ControlAnswer.ACCEPTED if repeated else ControlAnswer.NOT_RUNNING), identity
    if command.command == "cancel" and state is DeploymentState.PENDING:
        await _cancel_waiting(connection, command, wish, row["waited_seconds"], instance=instance, token=token)
        return ControlAnswer.FINISHED, identity
    if command.command == "pause" and state not in _MAY_PAUSE:
        return ControlAnswer.NOT_RUNNING, identity
    statement = {
        "cancel": statements().wish_cancel,
        "pause": statements().wish_pause,
        "resume": statements().wish_resume,
    }[command.command]
    await statement.run(connection, deployment_id=command.deployment_id, wish=wish, token=token)
    return ControlAnswer.ACCEPTED, identity


async def _control_cleaned(
    connection: Connection, command: ControlCommand
) -> tuple[ControlAnswer, DeploymentIdentity | None]:
    """It ended long ago, or was never heard of."""
    kept = await statements().kept_result.row(connection, deployment_id=command.deployment_id)
    if kept is None:
        return ControlAnswer.UNKNOWN, None
    identity = DeploymentIdentity(kept["application"], kept["environment"], kept["version"])
    cancelled = kept["body"]["status"] == DeploymentState.CANCELLED and command.command == "cancel"
    return ControlAnswer.ACCEPTED if cancelled else ControlAnswer.NOT_RUNNING, identity


def cancelled_failure(command: ControlCommand) -> Failure:
    """Of a waiting deployment."""
    who = f" by {command.requested_by}" if command.requested_by else ""
    why = f": {command.reason}" if command.reason else ""
    return Failure(FailureCode.DEPLOYMENT_CANCELLED, f"cancelled{who} while it waited for its turn{why}")


async def _cancel_waiting(
    connection: Connection, command: ControlCommand, wish: Json, waited_seconds: float, *, instance: str, token: str
) -> None:
    failure = cancelled_failure(command).as_json()
    metrics = empty_metrics(waited_seconds)
    body = {"status": DeploymentState.CANCELLED.value, "failure": failure, "targets": [], "metrics": metrics}
    await statements().cancel_waiting.run(
        connection,
        deployment_id=command.deployment_id,
        failure=failure,
        metrics=metrics,
        wish=wish,
        body=body,
        instance=instance,
        token=token,
    )
    await statements().keep_outcome.run(connection, deployment_id=command.deployment_id)
