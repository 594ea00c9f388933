"""The leases of one instance: renewed together, trusted by the instance's own monotonic clock only.

The database's clock decides who owns a deployment. This instance trusts a renewal for less than the lease, counted from
when the renewal was *sent*, so that its work has ended before another may claim (``LeaseTimes``, docs/reliability.md).
A lease that is lost is never regained: its deployment is claimed anew.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from vesemir.domain.failure import LeaseLostError
from vesemir.domain.turns import NO_QUOTAS
from vesemir.engine.clock import loop_time
from vesemir.engine.limits import LeaseTimes
from vesemir.engine.ownership.listeners import Listeners
from vesemir.engine.ownership.stop_signal import StopReason, StopSignal
from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.records import Wishes
from vesemir.engine.ports.store import Claim, Store, StoreAwayError

_LOCKED = (
    "its lease could not be renewed: somebody else holds a lock on its row; pg_blocking_pids() of pg_stat_activity "
    "says who"
)
WISH_POLL_SECONDS = 1.0
"""Control is obeyed within a second also when a notification was lost."""


class HeldLease:
    """One claim as its owner sees it. ``stop_signal`` ends the work on it, also when the lease is lost."""

    def __init__(self, claim: Claim, *, trusted_until: float, clock: Callable[[], float]) -> None:
        self.claim = claim
        self.wishes = Wishes()
        self.lost = False
        self.stop_signal = StopSignal()
        self._wish_listeners = Listeners()
        self._trusted_until = trusted_until
        self._clock = clock

    def valid(self) -> bool:
        """Whether the lease may be trusted right now: asked in the same tick before every outside action."""
        return not self.lost and self._clock() < self._trusted_until

    def ensure(self) -> None:
        """Raises ``LeaseLostError`` if the lease may not be trusted."""
        if not self.valid():
            raise LeaseLostError(f"the lease of {self.claim.deployment_id} (epoch {self.claim.epoch}) is lost")

    def trust(self, until: float) -> None:
        self._trusted_until = max(self._trusted_until, until)

    def lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.stop_signal.stop(StopReason.LEASE_LOST)

    def forget_approvals(self) -> None:
        """Another gate is reached: what opened the last one does not count, and the next resume is news."""
        self.wishes = replace(self.wishes, approvals=0)

    def wish(self, wishes: Wishes) -> None:
        if wishes != self.wishes:
            self.wishes = wishes
            self._wish_listeners.call()

    def wishes_heard_by(self, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """``listener`` is called when the wishes change, while this is entered."""
        return self._wish_listeners.hearing(listener)


class Leases:
    """All leases of this instance."""

    def __init__(self, store: Store, *, owner: str, times: LeaseTimes, log: Log, meters: Meters) -> None:
        self._store = store
        self._owner = owner
        self._times = times
        self._log = log
        self._meters = meters
        self._held: dict[str, HeldLease] = {}
        self._hint = asyncio.Event()

    @property
    def held(self) -> int:
        return len(self._held)

    async def claim(self, *, max_expiries: int, quotas: Mapping[str, int] = NO_QUOTAS) -> HeldLease | None:
        """Claim one deployment, if there is one to be had within ``quotas`` (``Store.claim``)."""
        sent = loop_time()
        claim = await self._store.claim(
            self._owner, lease_seconds=self._times.seconds, max_expiries=max_expiries, quotas=quotas
        )
        if claim is None:
            return None
        lease = HeldLease(claim, trusted_until=sent + self._times.trust_seconds, clock=loop_time)
        self._held[claim.deployment_id] = lease
        return lease

    def drop(self, lease: HeldLease) -> None:
        """The run has ended: nothing is renewed any more."""
        if self._held.get(lease.claim.deployment_id) is lease:
            del self._held[lease.claim.deployment_id]
            if lease.lost:
                self._meters.lease_lost()

    async def hand_back(self, lease: HeldLease) -> None:
        """Let another instance go on at once."""
        self.drop(lease)
        await self._store.hand_back(lease.claim)

    def hint(self) -> None:
        """Somebody wished something: look now."""
        self._hint.set()

    async def keep(self) -> None:
        """Renew again and again, for ever. A database that is away is tried again until trust runs out."""
        while True:
            await asyncio.sleep(self._times.renew_seconds)
            await self._renew()

    async def _renew(self) -> None:
        epochs = {name: lease.claim.epoch for name, lease in self._held.items()}
        if not epochs:
            return
        sent = loop_time()
        try:
            async with asyncio.timeout(self._times.renew_seconds):
                renewed = await self._store.renew(self._owner, epochs, lease_seconds=self._times.seconds)
        except (StoreAwayError, TimeoutError) as error:
            self._meters.lease_renewed(ok=False)
            self._log.warning("leases could not be renewed: {error}", error=str(error))
            return
        for name, epoch in epochs.items():
            lease = self._held.get(name)
            if lease is None or lease.claim.epoch != epoch:
                continue
            if name not in renewed:
                lease.lose()
            elif (wishes := renewed[name]) is None:
                self._meters.lease_renewed(ok=False)
                self._log.warning(_LOCKED, deployment_id=name)
            else:
                self._meters.lease_renewed(ok=True)
                lease.trust(sent + self._times.trust_seconds)
                lease.wish(wishes)

    async def fence(self) -> None:
        """Lose every lease whose trust has run out, close to the moment when it does."""
        while True:
            await asyncio.sleep(self._times.fence_seconds)
            for lease in list(self._held.values()):
                if not lease.valid():
                    lease.lose()

    async def listen(self) -> None:
        """Pass on what control messages wish, on a hint or each second."""
        while True:
            try:
                async with asyncio.timeout(WISH_POLL_SECONDS):
                    await self._hint.wait()
            except TimeoutError:
                pass
            self._hint.clear()
            if self._held:
                await self._read_wishes()

    async def _read_wishes(self) -> None:
        try:
            wishes = await self._store.wishes(self._owner)
        except StoreAwayError:
            return  # the renewal says so already
        for name, wish in wishes.items():
            if name in self._held:
                self._held[name].wish(wish)
