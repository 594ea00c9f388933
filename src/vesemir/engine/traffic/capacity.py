"""Taking a server out of its backends only while enough others of each are UP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.share import Share
from vesemir.domain.traffic import ServerState
from vesemir.domain.traffic_capacity import impossible, shortage
from vesemir.engine.clock import loop_time
from vesemir.engine.traffic.last_seen import saw
from vesemir.engine.traffic.server import ServerOnBox, found
from vesemir.engine.traffic.server_places import Views, read_views, views_by_backend

CAPACITY_POLL_SECONDS = 0.5


class Capacity:
    """Of one deployment's backends. ``critical(key)`` is a section that one deployment at a time is in, everywhere.

    ``min_available``: None where the request does not say.
    """

    def __init__(
        self,
        *,
        min_available: Share | None,
        seconds: float,
        critical: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        self._min_available = min_available
        self._seconds = seconds
        self._critical = critical

    def refuse_impossible(self, views: Views) -> None:
        """A number that no waiting can reach. Raises ``haproxy.capacity``."""
        for backend, seen in views_by_backend(views).items():
            if text := impossible(seen, self._min_available, backend):
                raise FailedError(FailureCode.HAPROXY_CAPACITY, text)

    async def drain(
        self,
        servers: Sequence[ServerOnBox],
        *,
        waiting: Callable[[], AbstractContextManager[None]],
        before: Callable[[Sequence[ServerState]], Awaitable[None]],
    ) -> None:
        """What is UP is counted and the server is drained in one section: nobody else drains in between.

        It is drained in all its backends, or in none as long as one of them lacks others. Waits, within ``waiting()``,
        while there is a shortage. Raises ``haproxy.capacity``. ``before`` is given how the server is in each place in
        the very moment before it is drained.
        """
        deadline = loop_time() + self._seconds
        while True:
            async with self.alone(servers):
                own, lacking = await self._look(servers)
                if not lacking:
                    await before(own)
                    for server in servers:
                        await server.drain()
                    return
            if loop_time() >= deadline:
                waited = f", for {self._seconds:g} s" if self._seconds else ""
                raise FailedError(FailureCode.HAPROXY_CAPACITY, lacking + waited)
            saw(lacking)
            with waiting():
                await asyncio.sleep(CAPACITY_POLL_SECONDS)

    @asynccontextmanager
    async def alone(self, servers: Sequence[ServerOnBox]) -> AsyncIterator[None]:
        """One section per backend and load balancer, in an order that all deployments share: two may have only some in
        common."""
        async with AsyncExitStack() as stack:
            for box, backend in sorted((server.box.name, server.backend) for server in servers):
                await stack.enter_async_context(self._critical(f"{box}/{backend}"))
            yield

    async def _look(self, servers: Sequence[ServerOnBox]) -> tuple[list[ServerState], str]:
        """How it is in each place, and why it may not be drained now: empty when it may."""
        views, name = await read_views(servers), servers[0].name
        own = [found(views[server.key], name, server.backend, server.box.name) for server in servers]
        lacking = (
            shortage(seen, self._min_available, server=name, backend=backend)
            for backend, seen in views_by_backend(views).items()
        )
        return own, next(filter(None, lacking), "")
