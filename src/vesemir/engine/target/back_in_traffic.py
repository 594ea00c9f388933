"""A target's way back into traffic: checked, held at each share of its weight, then at 100 %; a canary is judged.

It is done when it has stayed UP for ``rollout.min_healthy_seconds``, counted from its passed check. An owner that goes
on with it counts anew.
"""

import asyncio
from functools import partial

from vesemir.domain.canary import Judge
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.engine.clock import loop_time
from vesemir.engine.ownership.scope import Scope
from vesemir.engine.target.canary_hold import CanaryHold, refuse_regressed
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.recorded_steps import RecordedSteps
from vesemir.engine.target.row import Row
from vesemir.engine.traffic.last_seen import saw
from vesemir.engine.traffic.traffic import Traffic

BEGUN_ANEW = "counted since an instance went on with this target; what an earlier one counted is not part of it"


class TrafficReturn:
    """The steps ``health``, ``enable`` and ``analysis`` of one target. ``canaries`` are all of the deployment."""

    def __init__(
        self, deployment: Deployment, row: Row, steps: RecordedSteps, scope: Scope, *, canaries: frozenset[str]
    ) -> None:
        self._deployment = deployment
        self._row = row
        self._steps = steps
        self._scope = scope
        self._canaries = canaries

    def refuse_known_regression(self) -> None:
        """A verdict that an earlier owner recorded stands: a bad release gets no traffic to be judged once more."""
        refuse_regressed(self._steps.recorded_output("analysis"))

    async def come_back(self, traffic: Traffic, prior: PriorTraffic) -> None:
        """Raises ``FailedError`` (``haproxy.*``, ``canary.regressed``)."""
        name = self._row.name
        if not (checked := self._steps.succeeded("health")):
            await self._steps.own("health", lambda: traffic.warm_up(name, prior))
        up_since = loop_time()
        judging = await self._judging(traffic)
        try:
            hold = partial(self._hold, judging)
            await self._steps.own("enable", lambda: traffic.put_back(name, prior, hold, checked=checked))
        except FailedError as error:
            if judging is not None and error.failure.code is FailureCode.CANARY_REGRESSED:
                await self._steps.own("analysis", partial(judging.refuse, error))
            raise
        self._deployment.ports.log.info("back in traffic")
        await self._analyse(traffic, prior, judging)
        await self._stay_up(traffic, prior, since=up_since)

    async def stay(self, traffic: Traffic, prior: PriorTraffic) -> None:
        """Somebody may have begun to leave it drained after it was back: an earlier owner, at a cancel."""
        up_since = loop_time()
        await traffic.assert_in(self._row.name, prior)
        if not self._steps.succeeded("analysis"):
            await self._analyse(traffic, prior, await self._judging(traffic))
        await self._stay_up(traffic, prior, since=up_since)

    async def _stay_up(self, traffic: Traffic, prior: PriorTraffic, *, since: float) -> None:
        """What is left of that time after the holds: watched at 100 %. It changes nothing, so it holds up no stop."""
        left = since + self._deployment.request.rollout.min_healthy_seconds - loop_time()
        if left > 0:
            with self._scope.waiting():
                await traffic.keep_in(self._row.name, prior, partial(self._hold, None), left)

    async def _judging(self, traffic: Traffic) -> CanaryHold | None:
        """Its window begins here. None for a target that is not to be judged."""
        asked, rules = self._deployment.request.rollout.analysis, self._deployment.limits.analysis
        if asked is None or self._row.name not in self._canaries:
            return None
        canaries = map(traffic.server_of, self._canaries)
        judge = Judge(asked, rules, canary=traffic.server_of(self._row.name), canaries=canaries)
        judging = CanaryHold(traffic.counters, judge, note=BEGUN_ANEW if self._row.resumed else "")
        await judging.begin()
        return judging

    async def _analyse(self, traffic: Traffic, prior: PriorTraffic, judging: CanaryHold | None) -> None:
        """The step ``analysis``: at 100 % for ``hold_seconds``, then the verdict on all that was seen."""
        if judging is None:
            return

        async def work() -> str:
            try:
                hold = partial(self._hold, judging)
                await traffic.keep_in(self._row.name, prior, hold, judging.hold_seconds)
            except FailedError as error:
                return await judging.refuse(error)
            return judging.report()

        await self._steps.own("analysis", work)

    async def _hold(self, judging: CanaryHold | None, seconds: float, percent: int) -> None:
        """Serve at a share of the weight for a while; the target's budget stands still."""
        saw(f"serves at {percent} % of its weight, for {seconds:g} s")
        with self._scope.standing_still():
            if judging is None:
                await asyncio.sleep(seconds)
            else:
                await judging.hold(seconds, percent)
