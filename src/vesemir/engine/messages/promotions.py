"""Whether what must have succeeded elsewhere has (``[[promote]]``): the policy says what, the record knows.

Intake refuses what is missing; a dry run tells it in its plan and goes on, so that a rollout can be looked at while its
release still soaks in the environment before.
"""

from collections.abc import Sequence
from typing import Protocol

from vesemir.domain.policy import Policy
from vesemir.domain.problem import Problem
from vesemir.domain.promotion import Success
from vesemir.domain.request import DeployRequest


class SuccessStore(Protocol):
    """The part of ``Store`` that knows."""

    async def successes(self, application: str, version: str, environments: Sequence[str]) -> Sequence[Success]: ...


async def missing_promotions(policy: Policy, request: DeployRequest, store: SuccessStore) -> list[Problem]:
    """Empty where nothing is, and for what goes past it (``break_glass``). Raises ``StoreAwayError``."""
    if request.break_glass is not None:
        return []
    return policy.judge_promotion(request, await successes_for(policy, request, store))


async def successes_for(policy: Policy, request: DeployRequest, store: SuccessStore) -> Sequence[Success]:
    """Those that its promotions ask for. The record is asked only where a rule holds. Raises ``StoreAwayError``."""
    environments = sorted({each.require_success_in for each in policy.promotions_of(request)})
    return await store.successes(request.application, request.version, environments) if environments else ()
