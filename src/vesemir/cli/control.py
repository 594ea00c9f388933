"""``vesemir cancel``, ``pause`` and ``resume``: a control message, and its answer; without a broker, the record."""

from typing import Annotated

import typer

from vesemir.cli.configuration import load_settings
from vesemir.cli.control_answer import AsJson, Timeout, accepted_answer
from vesemir.cli.control_order import ControlOrder
from vesemir.cli.output import show
from vesemir.cli.requesting import ANSWER_SECONDS
from vesemir.domain.control import CommandName

DeploymentId = Annotated[str, typer.Argument(metavar="ID", help="The deployment's id.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded and shown.")]


def cancel_command(
    deployment_id: DeploymentId, reason: Reason = None, timeout: Timeout = ANSWER_SECONDS, as_json: AsJson = False
) -> None:
    """End a deployment: nothing more starts, and remote commands in flight are ended on their hosts."""
    _sent("cancel", deployment_id, reason=reason, timeout=timeout, as_json=as_json, then="it ends")


def pause_command(
    deployment_id: DeploymentId, reason: Reason = None, timeout: Timeout = ANSWER_SECONDS, as_json: AsJson = False
) -> None:
    """Let the targets in work finish and start no other, until `vesemir resume`.

    A pause has an end: after limits.pause_seconds (7 days, unless set) the deployment is cancelled, so that it does not
    keep others waiting for ever.
    """
    _sent(
        "pause",
        deployment_id,
        reason=reason,
        timeout=timeout,
        as_json=as_json,
        then="targets in work finish, no other starts",
    )


def resume_command(
    deployment_id: DeploymentId, reason: Reason = None, timeout: Timeout = ANSWER_SECONDS, as_json: AsJson = False
) -> None:
    """Go on with a paused deployment, or approve one that waits for it.

    An approval that does not come within limits.approval_seconds (a day, unless set) cancels the deployment.
    """
    _sent("resume", deployment_id, reason=reason, timeout=timeout, as_json=as_json, then="it goes on")


def _sent(
    command: CommandName, deployment_id: str, *, reason: str | None, timeout: float, as_json: bool, then: str
) -> None:
    order = ControlOrder.of_deployment(load_settings(), command, deployment_id, reason)
    answer = accepted_answer(order, timeout=timeout, as_json=as_json)
    if answer.get("known") is False:
        show(
            f"{deployment_id}: no deployment of this id is known yet: the cancel is kept for a day, and ends it if its "
            "deploy event comes. Is the id spelt right?"
        )
        return
    show(f"{deployment_id}: {command} accepted, {then}. `vesemir status {deployment_id}` shows it.")
