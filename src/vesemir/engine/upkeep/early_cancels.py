"""Cancels that came before their deploy event, where an instance of the release before has accepted that.

An instance that knows of kept cancels carries them out within the transaction that accepts (``Store.accept``). One that
does not leaves them: they are looked for when a deployment is claimed, before it begins, and every few seconds for what
such an instance has claimed itself.
"""

import asyncio

from vesemir.domain.control import ControlledDeployment
from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.policies import Policies
from vesemir.engine.ports.store import ControlAnswer, ControlCommand, Store, StoreAwayError
from vesemir.engine.upkeep.unbegun import count_cancelled

LOOK_SECONDS = 5.0


class EarlyCancels:
    """``run`` for ever."""

    def __init__(self, store: Store, policies: Policies, *, log: Log, meters: Meters) -> None:
        self._store = store
        self._policies = policies
        self._log = log
        self._meters = meters

    async def run(self) -> None:
        while True:
            try:
                await self.obey()
            except StoreAwayError as error:
                self._log.debug("kept cancels are looked for later: {reason}", reason=str(error))
            except Exception:  # noqa: BLE001 - deployments go on, whatever this meets; logged as a bug
                self._log.exception("the look for kept cancels met a bug; it is tried again later")
            await asyncio.sleep(LOOK_SECONDS)

    async def obey(self, deployment_id: str | None = None) -> None:
        """Of one deployment, or of all that are there. Raises ``StoreAwayError``."""
        for command in await self._store.overlooked_cancels(deployment_id):
            await self._obey(command)

    async def _obey(self, command: ControlCommand) -> None:
        policy = self._policies.current

        def permits(deployment: ControlledDeployment) -> bool:
            return policy.permits_early_cancel(deployment, command.asker)

        answer, deployment = await self._store.control(command, permits=permits)
        if answer is ControlAnswer.FORBIDDEN and deployment is not None:
            await self._store.audit(command.judged(deployment, permitted=False))
        await self._store.forget_cancels(command.deployment_id, command.asker.identity)
        self._log.info(
            "cancel that came before the deploy event: {answer}",
            answer=answer.value,
            deployment_id=command.deployment_id,
        )
        if answer is ControlAnswer.FINISHED and deployment is not None:
            count_cancelled(self._meters, dry_run=deployment.dry_run)
