"""What becomes of a control message: decided by the record alone, whichever way the message came.

``vesemir.engine.messages.control`` decides so for messages of the broker, and ``vesemir cancel``, ``pause`` and
``resume`` for themselves while the broker is away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, assert_never

from vesemir.contract import CommonFields, ControlRequest, Refusal
from vesemir.domain.audit import AuditEntry
from vesemir.domain.control import ControlledDeployment
from vesemir.domain.deciding_rule import rule_of_command
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.identity import Asker
from vesemir.domain.policy import Policy
from vesemir.domain.problem import Problem, some_of
from vesemir.engine.ports.store import ControlAnswer, ControlCommand, Permits


class ControlStore(Protocol):
    """The part of ``Store`` that decides."""

    async def control(
        self, command: ControlCommand, *, permits: Permits = ...
    ) -> tuple[ControlAnswer, ControlledDeployment | None]: ...

    async def audit(self, entry: AuditEntry) -> None: ...


@dataclass(frozen=True, slots=True)
class ControlOutcome:
    """``failure`` None: the command is recorded, and whoever owns the deployment obeys."""

    answer: ControlAnswer
    common: CommonFields
    failure: Failure | None
    dry_run: bool = False

    @property
    def known(self) -> bool:
        """False: a cancel is kept until its deploy event comes."""
        return self.answer is not ControlAnswer.KEPT


async def outcome_of(
    store: ControlStore, request: ControlRequest, asker: Asker, *, policy: Policy, redact: Callable[[str], str]
) -> ControlOutcome:
    """Record the command, or say why not: also where the policy's ``[[control]]`` rules do not permit it, judged within
    the record's transaction. Raises ``StoreAwayError``."""

    def problems(deployment: ControlledDeployment) -> list[Problem]:
        return policy.judge_control(request.command, deployment, asker)

    who, why = (None if text is None else redact(text) for text in (request.requested_by, request.reason))
    command = ControlCommand(
        request.command,
        request.deployment_id,
        who,
        why,
        replace(asker, claimed=who),
        policy.digest,
        once=request.once,
        rule_of=lambda found: rule_of_command(policy, request.command, found, asker),
    )
    answer, deployment = await store.control(command, permits=lambda found: not problems(found))
    forbidden = problems(deployment) if answer is ControlAnswer.FORBIDDEN and deployment is not None else []
    failure = _failure(answer, request, forbidden)
    if failure is not None:
        await store.audit(command.audited(deployment, failure.code.value, rule=failure.message))
    return ControlOutcome(
        answer,
        _common(request.deployment_id, deployment),
        failure,
        dry_run=deployment is not None and deployment.dry_run,
    )


def answer_body(
    instance: str, common: CommonFields, command: str | None, why: Refusal | Failure | None, *, known: bool = True
) -> dict[str, Any]:
    """``control.accepted`` with ``known``, or ``control.rejected`` with the reason."""
    name = "control.rejected" if why else "control.accepted"
    failure: Mapping[str, Any] | None = None
    if why is not None:
        failure = why.failure_json() if isinstance(why, Refusal) else why.as_json()
    body = answer_fields(name, common, instance=instance) | {"command": command, "failure": failure}
    return body if why else body | {"known": known}


def answer_fields(event: str, common: CommonFields, *, instance: str) -> dict[str, Any]:
    """The common fields of an answer that is not part of a deployment's record."""
    return {
        "event": event,
        "deployment_id": common.deployment_id,
        "sequence": 0,
        "occurred_at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "application": common.application,
        "environment": common.environment,
        "version": common.version,
        "instance": instance,
    }


def forbidden_failure(what: str, problems: Sequence[Problem]) -> Failure:
    """``what`` somebody wants, and all that the policy has against it."""
    why = some_of([f"{problem.field} {problem.message}" for problem in problems])
    return Failure(FailureCode.CONTROL_FORBIDDEN, f"{what} is not permitted: {why}")


def _failure(answer: ControlAnswer, request: ControlRequest, forbidden: Sequence[Problem]) -> Failure | None:
    match answer:
        case ControlAnswer.UNKNOWN:
            text = (
                f"no deployment {request.deployment_id} is known; if its deployment.accepted has not come yet, "
                "try again in a moment"
            )
            return Failure(FailureCode.CONTROL_UNKNOWN_DEPLOYMENT, text)
        case ControlAnswer.NOT_RUNNING:
            text = (
                f"deployment {request.deployment_id} cannot {request.command} in its present state; ask vesemir status"
            )
            return Failure(FailureCode.CONTROL_NOT_RUNNING, text)
        case ControlAnswer.FORBIDDEN:
            return forbidden_failure(f"{request.command} of deployment {request.deployment_id}", forbidden)
        case ControlAnswer.INVALID:
            text = (
                "once answers a pause for a run-once step whose end is not known, and deployment "
                f"{request.deployment_id} does not wait for that; leave once out to resume it"
            )
            return Failure(FailureCode.REQUEST_INVALID, text)
        case ControlAnswer.ACCEPTED | ControlAnswer.FINISHED | ControlAnswer.KEPT:
            return None
        case _:
            assert_never(answer)


def _common(deployment_id: str, deployment: ControlledDeployment | None) -> CommonFields:
    if deployment is None:
        return CommonFields(deployment_id=deployment_id)
    return CommonFields(deployment_id, deployment.application, deployment.environment, deployment.version)
