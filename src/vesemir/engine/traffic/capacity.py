"""How many servers of a backend must stay UP, and taking one out only while that many do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.share import Share
from vesemir.domain.traffic import ServerState, available_besides, needed_besides
from vesemir.engine.clock import loop_time
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.engine.traffic.last_seen import saw
from vesemir.engine.traffic.server import ServerOnBox, found

CAPACITY_POLL_SECONDS = 0.5


class Capacity:
    """Of one deployment's backend. ``critical(key)`` is a section that one deployment at a time is in, everywhere."""

    def __init__(
        self,
        balancers: Sequence[LoadBalancer],
        backend: str,
        *,
        min_available: Share,
        seconds: float,
        critical: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        self._balancers = balancers
        self._backend = backend
        self._min_available = min_available
        self._seconds = seconds
        self._critical = critical

    async def drain(
        self,
        servers: Sequence[ServerOnBox],
        *,
        waiting: Callable[[], AbstractContextManager[None]],
        before: Callable[[Sequence[ServerState]], Awaitable[None]],
    ) -> None:
        """What is UP is counted and the server is drained in one section: nobody else drains in between.

        Waits, within ``waiting()``, as long as there is a shortage. Raises ``haproxy.capacity``. ``before`` is given
        how the server is on each load balancer in the very moment before it is drained.
        """
        deadline = loop_time() + self._seconds
        while True:
            async with self._alone():
                own, shortage = await self._look(servers[0].name)
                if not shortage:
                    await before(own)
                    for server in servers:
                        await server.drain()
                    return
            if loop_time() >= deadline:
                raise FailedError(FailureCode.HAPROXY_CAPACITY, f"{shortage}, for {self._seconds:g} s")
            saw(shortage)
            with waiting():
                await asyncio.sleep(CAPACITY_POLL_SECONDS)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One section per load balancer, in an order that all deployments share: two may have only some in common."""
        async with AsyncExitStack() as stack:
            for box in sorted(box.name for box in self._balancers):
                await stack.enter_async_context(self._critical(f"{box}/{self._backend}"))
            yield

    async def _look(self, server: str) -> tuple[list[ServerState], str]:
        """How it is, and why it may not be drained now: empty when it may, or is out already and takes nothing away."""
        backend = self._backend
        views = [await box.servers(backend) for box in self._balancers]
        own = [found(view, server, backend, box.name) for view, box in zip(views, self._balancers, strict=True)]
        needed, there = needed_besides(views, self._min_available), available_besides(views, [server])
        if there >= needed or all(state.is_taken_out for state in own):
            return own, ""
        return own, (
            f"only {there} servers of backend {backend} besides {server} are UP on every HAProxy, and {needed} must "
            f"stay (min_available {self._min_available}): bring others up or ask for less"
        )
