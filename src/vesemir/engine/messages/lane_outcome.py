"""What becomes of a lock or unlock: decided by the policy and recorded, whichever way it came.

``vesemir.engine.messages.control`` decides so for messages of the broker, and ``vesemir lock`` and ``unlock`` for
themselves while the broker is away.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from vesemir.contract import CommonFields, LaneRequest
from vesemir.domain.audit import AuditEntry
from vesemir.domain.control import ControlledLane
from vesemir.domain.deciding_rule import rule_of_command
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.identity import Asker
from vesemir.domain.policy import Policy
from vesemir.domain.problem import Problem
from vesemir.engine.messages.control_outcome import ControlOutcome, forbidden_failure
from vesemir.engine.ports.records import LaneCommand
from vesemir.engine.ports.store import ControlAnswer


class LaneStore(Protocol):
    """The part of ``Store`` that records."""

    async def control_lane(self, command: LaneCommand) -> ControlAnswer: ...

    async def audit(self, entry: AuditEntry) -> None: ...


async def lane_outcome_of(
    store: LaneStore, request: LaneRequest, asker: Asker, *, policy: Policy, redact: Callable[[str], str]
) -> ControlOutcome:
    """Record the command, or say why not. Raises ``StoreAwayError``."""
    lane = ControlledLane(request.application, request.environment)
    who = None if request.requested_by is None else redact(request.requested_by)
    command = LaneCommand(
        request.command,
        lane,
        who,
        redact(request.reason),
        until=request.until,
        asker=replace(asker, claimed=who),
        policy_digest=policy.digest,
        rule=rule_of_command(policy, request.command, lane, asker),
    )
    forbidden = policy.judge_control(request.command, lane, asker)
    answer = ControlAnswer.FORBIDDEN if forbidden else await store.control_lane(command)
    failure = _failure(answer, command, forbidden)
    if failure is not None:
        await store.audit(command.audited(failure.code.value, rule=failure.message))
    common = CommonFields(application=lane.application, environment=lane.environment)
    return ControlOutcome(answer, common, failure)


def _failure(answer: ControlAnswer, command: LaneCommand, forbidden: Sequence[Problem]) -> Failure | None:
    if answer is ControlAnswer.FORBIDDEN:
        return forbidden_failure(f"{command.command} of {command.lane.name}", forbidden)
    if answer is ControlAnswer.INVALID:
        text = "until must be in the future, by the database's clock; to end a lock now, unlock the lane"
        return Failure(FailureCode.REQUEST_INVALID, text)
    return None
