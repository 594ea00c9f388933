"""Which rule of the policy allowed something, for the audit. Pure."""

from vesemir.domain.control import CommandName, ControlledDeployment, ControlledLane
from vesemir.domain.identity import Asker
from vesemir.domain.policy import Policy
from vesemir.domain.request import DeployRequest


def rule_of_request(policy: Policy, request: DeployRequest, asker: Asker) -> str | None:
    """``allow NAME``, the first that allows it; ``otherwise``; None where nothing had to allow it, or nothing does."""
    asker = policy.persons.recognise(asker)
    covering = [each for each in policy.permissions if each.scope.covers(request)]
    if policy.permissions and not covering and policy.allow_otherwise:
        return "otherwise"
    return next((f"allow {each.name}" for each in covering if not any(each.problems(request, asker))), None)


def rule_of_command(
    policy: Policy, command: CommandName, about: ControlledDeployment | ControlledLane, asker: Asker
) -> str | None:
    """``control NAME``, the first that permits it; None where nothing had to permit it, or nothing does."""
    asker = policy.persons.recognise(asker)
    covering = (each for each in policy.controls if each.covers(command, about))
    permitting = (each for each in covering if not any(each.problems(command, about, asker, policy.persons)))
    return next((f"control {each.name}" for each in permitting), None)
