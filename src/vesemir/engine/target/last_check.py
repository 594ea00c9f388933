"""The recipe's last check: what tells of a target whether it is well, where no HAProxy does.

It passed as a step. Here it is only asked again, one try at a time: that is no step, it has no row and no event.
"""

import asyncio
from collections.abc import Sequence

from vesemir.domain.action import CheckAction, RenderedStep
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.step import Direction, StepKey
from vesemir.domain.visible import words_of_host
from vesemir.engine.clock import loop_time
from vesemir.engine.ports.hosts import Host
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.recorded_steps import runner_on

_AGAIN = ".again"
"""No step of a recipe has such a name, so no marker on the host is taken for that of a step."""


class LastCheck:
    """Of one target, in one direction."""

    def __init__(self, deployment: Deployment, name: str, check: CheckAction, *, key: StepKey, target: str) -> None:
        self.name = name
        self._deployment = deployment
        self._check = check
        self._key = key
        self._target = target

    async def ask(self, host: Host) -> str | None:
        """Why it does not pass now; None when it does. Raises ``FailedError`` when the host is lost."""
        self._deployment.lease.ensure()
        reason = await runner_on(host, self._deployment).try_once(self._key, self._check)
        return None if reason is None else words_of_host(self._deployment.redact(reason))

    async def keep_passing(self, host: Host, seconds: float) -> None:
        """It is asked at its own interval, and at the end. Raises ``FailedError`` (``health.failed``)."""
        ends = loop_time() + seconds
        while (left := ends - loop_time()) > 0:
            await asyncio.sleep(min(left, self._check.interval))
            if (reason := await self.ask(host)) is not None:
                text = (
                    f"{self._target} did not stay well for rollout.min_healthy_seconds: its check {self.name} passed, "
                    f"and then did not any more: {reason}; look at the application's log on the target"
                )
                raise FailedError(FailureCode.HEALTH_FAILED, text)


def last_check(
    deployment: Deployment, steps: Sequence[RenderedStep], *, target: str, direction: Direction
) -> LastCheck | None:
    """None for steps without a check; one of ``prepare`` tells nothing of what serves."""
    for step in reversed(steps):
        if isinstance(step.action, CheckAction) and step.phase != "prepare":
            key = StepKey(deployment.request.deployment_id, direction, f"{step.name}{_AGAIN}")
            return LastCheck(deployment, step.name, step.action, key=key, target=target)
    return None
