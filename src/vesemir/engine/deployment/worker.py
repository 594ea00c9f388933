"""Taking work and doing it: claims deployments while there is room, runs each, and hands over what is unfinished.

A claim's run ends in one of three ways: finished, lost (another instance has it, or will), or handed over. A bug in a
run is logged and its lease left to expire: that is counted, so it cannot go on for ever.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from vesemir.domain.failure import LeaseLostError
from vesemir.domain.request import DeployRequest
from vesemir.engine.clock import loop_time
from vesemir.engine.deployment.rollout_loop import HandedOverError
from vesemir.engine.deployment.run import DeploymentRun
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ownership.leases import HeldLease, Leases
from vesemir.engine.ownership.stop_signal import StopSignal
from vesemir.engine.ports.records import Json
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.target.context import EnginePorts
from vesemir.engine.upkeep.early_cancels import EarlyCancels

SCAN_SECONDS = 1.0
"""Between two looks for expired leases and work that no hint told of; follows the lease when that is short."""
CLAIM_SECONDS = 2.0
"""How long a claim under way is waited for when the instance stops: its answer may never come, the record being away.
Should it have been committed all the same, its lease expires."""


class Worker:
    """``run`` for ever; ``drain`` to stop in stages."""

    def __init__(
        self,
        leases: Leases,
        *,
        ports: EnginePorts,
        limits: EngineLimits,
        read_request: Callable[[Json, Json | None], DeployRequest],
        on_event: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._ports = ports
        self._limits = limits
        self._read_request = read_request
        self._on_event = on_event
        self._early = EarlyCancels(ports.store, ports.policies, log=ports.log, meters=ports.meters)
        self._in_work = 0
        self._stopping = StopSignal()
        self._look = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._claiming: asyncio.Timeout | None = None

    @property
    def in_work(self) -> int:
        """Deployments that this instance runs now."""
        return self._in_work

    def wake(self) -> None:
        """There may be something to claim."""
        self._look.set()

    async def run(self) -> None:
        """Claim and run until cancelled. What runs then is ended without a result."""
        scan = min(SCAN_SECONDS, self._limits.lease.scan_seconds)
        async with asyncio.TaskGroup() as group:
            while True:
                self._look.clear()
                if not await self._claim_one(group):
                    try:
                        async with asyncio.timeout(scan):
                            await self._look.wait()
                    except TimeoutError:
                        pass

    async def drain(self, seconds: float) -> None:
        """Take no more; let what is in work on the hosts finish for so long, then end it; hand everything back."""
        self._limit_claim(CLAIM_SECONDS)
        self._stopping.hand_over()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            self.leave()
            await self._idle.wait()

    def leave(self) -> None:
        """End what is in work at once (a second SIGTERM)."""
        self._limit_claim(0)
        self._stopping.leave()

    def _limit_claim(self, seconds: float) -> None:
        """From now on, or sooner where that is said already: two signals may come in one turn, in either order."""
        claiming = self._claiming
        if claiming is None or claiming.expired():
            return
        end, until = loop_time() + seconds, claiming.when()
        if until is None or end < until:
            claiming.reschedule(end)

    def _may_claim(self) -> bool:
        return not self._stopping.ending and self._in_work < self._limits.deployments

    async def _claim_one(self, group: asyncio.TaskGroup) -> bool:
        if not self._may_claim():
            return False
        self._idle.clear()  # a drain waits for what is being claimed
        try:
            async with asyncio.timeout(None) as self._claiming:
                quotas = self._ports.policies.current.most_running
                lease = await self._leases.claim(max_expiries=self._limits.max_expiries, quotas=quotas)
        except (StoreAwayError, TimeoutError):
            lease = None
        finally:
            self._claiming = None
        if lease is None:
            self._look_idle()
            return False
        self._in_work += 1
        group.create_task(self._one(lease), name=f"deployment {lease.claim.deployment_id}")
        self._ports.meters.running(self._in_work)
        return True

    async def _one(self, lease: HeldLease) -> None:
        claim, log = lease.claim, self._ports.log
        run = DeploymentRun(
            lease, ports=self._ports, limits=self._limits, read_request=self._read_request, on_event=self._on_event
        )
        follow = partial(lease.stop_signal.follow, self._stopping)
        with log.context(deployment_id=claim.deployment_id, epoch=claim.epoch), self._stopping.heard_by(follow):
            follow()  # it may have been set while the claim was under way
            try:
                if claim.previous is not None:
                    self._ports.meters.taken_over(expired=claim.expired)
                    self._on_event()
                await self._early.obey(claim.deployment_id)  # of a release that looks for none, before it begins
                await run.run()
            except HandedOverError:
                log.info("handed over")
                await self._hand_back(lease)
            except (LeaseLostError, StoreAwayError) as error:
                log.warning("stopped: {reason}", reason=str(error))
            except Exception:
                log.exception("the run met a bug; its lease is left to expire")
            finally:
                self._leases.drop(lease)
                self._in_work -= 1
                self._look_idle()
                self._ports.meters.running(self._in_work)
                self._look.set()

    def _look_idle(self) -> None:
        if not self._in_work:
            self._idle.set()

    async def _hand_back(self, lease: HeldLease) -> None:
        try:
            await self._leases.hand_back(lease)
        except StoreAwayError as error:
            self._ports.log.warning("could not be handed back, it expires instead: {reason}", reason=str(error))
