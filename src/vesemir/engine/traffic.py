"""How the targets of one deployment leave HAProxy and come back: the safe order of architecture.md, "Traffic".

A server is out when it is out on every load balancer, and in when it is in on every one. HAProxy announces nothing, so
waits read its state again and again; each reading also says again what a reload made it forget. Everything may be
called again with the stored prior state, which is how a takeover goes on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from typing import Any

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.request import TrafficRequest
from vesemir.domain.share import Share
from vesemir.domain.traffic import (
    HASH_ALGORITHMS,
    AdminState,
    ServerState,
    available_besides,
    check_weights,
    needed_besides,
    weight_at,
)
from vesemir.domain.traffic_prior import Prior, PriorState, is_foreign, left_as_it_was, prior_as_json, prior_of
from vesemir.engine.draining import STATE_POLL_SECONDS, empty
from vesemir.engine.loadbalancer import LoadBalancer
from vesemir.engine.traffic_server import ServerOnBox, boxes_of, found, read_all

CAPACITY_POLL_SECONDS = 0.5
CONFIRM_SECONDS = 5.0
"""How long a server may take to show what it was just told."""

Hold = Callable[[float, int], Awaitable[None]]
"""``hold(seconds, percent)``: the target serves at that share of its weight until this returns or raises."""


class Traffic:
    """For one deployment. Names are those of targets; the request says which server each is.

    ``ensure`` raises ``LeaseLostError`` and is asked before every outside action. ``critical(key)`` is a section that
    one deployment at a time is in, across all instances. ``capacity_seconds`` and ``up_seconds`` are the deadlines of
    ``haproxy.capacity`` and ``haproxy.not_up``. Every method raises ``FailedError`` (``haproxy.*``) unless it says so.
    """

    def __init__(
        self,
        balancers: Sequence[LoadBalancer],
        request: TrafficRequest,
        *,
        min_available: Share,
        capacity_seconds: float,
        up_seconds: float,
        ensure: Callable[[], None],
        critical: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        self._balancers = tuple(balancers)
        self._request = request
        self._min_available = min_available
        self._capacity_seconds = capacity_seconds
        self._up_seconds = up_seconds
        self._ensure = ensure
        self._critical = critical

    async def check(self, names: Iterable[str]) -> None:
        """Before anything starts: every server known on every load balancer, and every weight one that it can have."""
        servers = [self._request.server_of(name) for name in names]
        for box in self._balancers:
            view = await box.servers(self._request.backend)
            for server in servers:
                check_weights(found(view, server, self._request.backend, box.name), self._request.weights)

    async def observe(self, name: str) -> dict[str, Any]:
        """What is there now, as JSON: to be recorded before the server is touched."""
        boxes = {
            server.box.name: PriorState.of(await server.read(), await server.box.process_id())
            for server in self._on_all(name)
        }
        return prior_as_json(self._request.server_of(name), boxes)

    def foreign(self, prior: Prior) -> bool:
        """It was out before, not by this deployment: it is worked on and left as it was."""
        return is_foreign(prior_of(prior).values())

    async def take_out(
        self, name: str, prior: Prior, *, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> str:
        """Out on every load balancer, with no session left. Returns the step's output.

        Waits for capacity happen within ``waiting()``. Raises ``haproxy.capacity``, ``haproxy.drain_timed_out``.
        """
        servers = self._on_all(name)
        await self._drain_within_capacity(servers, waiting)
        await self._try_weights(servers, prior)
        text = await empty(servers, self._request)
        said = left_as_it_was(prior_of(prior))
        return f"{text}; it {said}" if said else text

    async def assert_out(self, name: str) -> str:
        """Read again, and out again where a reload put it back; what was drained before needs no capacity again."""
        return await empty(self._on_all(name), self._request)

    async def warm_up(self, name: str, prior: Prior) -> str:
        """Drained instead of in maint, and a fresh passed check on every load balancer. Returns the step's output.

        Raises ``haproxy.not_up``. A server without checks cannot pass one: the recipe's own health check decides alone.
        """
        servers = self._coming_back(name, prior)
        if not servers:
            return f"{self._request.server_of(name)} {left_as_it_was(prior_of(prior))}; HAProxy did not check it"
        started = time.monotonic()
        for server in servers:
            await server.warm()
        while True:
            states = await read_all(servers)
            if all(map(_passes, states)):
                break
            if time.monotonic() - started >= self._up_seconds:
                raise self._not_up(servers, states, f"passed no fresh check within {self._up_seconds:g} s")
            for server, state in zip(servers, states, strict=True):
                if state.admin is not AdminState.DRAIN:
                    await server.warm()
            await asyncio.sleep(STATE_POLL_SECONDS)
        return f"{self._request.server_of(name)} {_how_checked(states)} after {time.monotonic() - started:.1f} s"

    async def put_back(self, name: str, prior: Prior, hold: Hold) -> str:
        """Each weight of the request held, then 100 % of the configured one, confirmed. Returns the step's output."""
        servers = self._coming_back(name, prior)
        if not all(map(_passes, await read_all(servers))):
            await self.warm_up(name, prior)
        for percent in self._request.weights if servers else ():
            await self._serve(servers, percent)
            await hold(self._request.degradation_seconds, percent)
            states = await read_all(servers)
            if not all(map(_serves, states)):
                raise self._not_up(servers, states, f"did not stay UP while it had {percent} % of its weight")
        return await self._serve_fully(name, servers, prior)

    async def assert_in(self, name: str, prior: Prior) -> str:
        """Read again what was put back, and in again where something took it out since."""
        return await self._serve_fully(name, self._coming_back(name, prior), prior)

    async def restore(self, name: str, prior: Prior) -> str:
        """As it was before the deployment, on each load balancer that can be reached; raises for those that cannot."""
        known = prior_of(prior)
        failed: list[FailedError] = []
        for server in self._on_all(name):
            was = known.get(server.box.name)
            try:
                if was is not None:
                    await server.restore(was)
            except FailedError as error:
                failed.append(error)
        if failed:
            text = "; ".join(error.failure.message for error in failed)
            raise FailedError(failed[0].failure.code, text) from failed[0]
        boxes = ", ".join(f"{was} on {box}" for box, was in known.items())
        return f"its server {self._request.server_of(name)} in HAProxy is as it was before ({boxes})"

    async def leave_drained(self, name: str, prior: Prior | None = None) -> str:
        """Drained on every load balancer. Returns the sentence for the failure, also when HAProxy cannot be told.

        With ``prior``, maint that somebody else had set stays maint. Raises ``LeaseLostError`` only.
        """
        known = {} if prior is None else prior_of(prior)
        done, failed = [], []
        for server in self._on_all(name):
            was = known.get(server.box.name)
            kept = was is not None and was.admin is AdminState.MAINT
            try:
                await server.leave_drained(AdminState.MAINT if kept else AdminState.DRAIN)
                done.append(server.box.name)
            except FailedError as error:
                failed.append(f"{server.box.name} ({error.failure.message})")
        shown, told = f"its server {self._request.server_of(name)}", []
        if done:
            told.append(f"{shown} is left drained on {', '.join(done)}, agent checks off: mend it, then set it ready")
        if failed:
            told.append(f"{shown} could not be drained on {', '.join(failed)} and may get traffic: look there")
        return "; ".join(told)

    # --- how ------------------------------------------------------------------------------------------------------

    def _on_all(self, name: str) -> list[ServerOnBox]:
        server = self._request.server_of(name)
        return [ServerOnBox(box, self._request.backend, server, self._ensure) for box in self._balancers]

    def _coming_back(self, name: str, prior: Prior) -> list[ServerOnBox]:
        """Where nobody else had taken it out."""
        known = prior_of(prior)
        out = {box for box, was in known.items() if was.is_taken_out}
        return [server for server in self._on_all(name) if server.box.name not in out]

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One section per load balancer, in an order that all deployments share: two may have only some in common."""
        async with AsyncExitStack() as stack:
            for box in sorted(box.name for box in self._balancers):
                await stack.enter_async_context(self._critical(f"{box}/{self._request.backend}"))
            yield

    async def _drain_within_capacity(
        self, servers: Sequence[ServerOnBox], waiting: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """What is UP is counted and the server is drained in one section: nobody else drains in between."""
        deadline = time.monotonic() + self._capacity_seconds
        while True:
            async with self._alone():
                shortage = await self._shortage(servers[0].name)
                if not shortage:
                    for server in servers:
                        await server.drain()
                    return
            if time.monotonic() >= deadline:
                raise FailedError(FailureCode.HAPROXY_CAPACITY, f"{shortage}, for {self._capacity_seconds:g} s")
            with waiting():
                await asyncio.sleep(CAPACITY_POLL_SECONDS)

    async def _shortage(self, server: str) -> str:
        """Why it may not be drained now; empty when it may, or when it is out already and takes nothing away."""
        backend = self._request.backend
        views = [await box.servers(backend) for box in self._balancers]
        own = [found(view, server, backend, box.name) for view, box in zip(views, self._balancers, strict=True)]
        needed, there = needed_besides(views, self._min_available), available_besides(views, [server])
        if there >= needed or all(state.is_taken_out for state in own):
            return ""
        return (
            f"only {there} servers of backend {backend} besides {server} are UP on every HAProxy, and {needed} must "
            f"stay (min_available {self._min_available}): bring others up or ask for less"
        )

    async def _try_weights(self, servers: Sequence[ServerOnBox], prior: Prior) -> None:
        """Only HAProxy knows whether a hash is static: asked while the server gets no traffic, before any work."""
        known = prior_of(prior)
        for server in servers:
            was, state = known.get(server.box.name), await server.read()
            asked = self._request.weights and state.algorithm in HASH_ALGORITHMS
            if asked and state.admin is AdminState.DRAIN and was is not None and not was.is_taken_out:
                await server.try_weight(self._request.weights[0])

    async def _serve(self, servers: Sequence[ServerOnBox], percent: int) -> None:
        """Ready at that share on every load balancer, and read back."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        while True:
            states = [await server.serve(percent) for server in servers]
            if all(
                _serves(state) and state.user_weight == weight_at(state.configured_weight, percent) for state in states
            ):
                return
            if time.monotonic() >= deadline:
                raise self._not_up(servers, states, f"is not UP at {percent} % of its weight")
            await asyncio.sleep(STATE_POLL_SECONDS)

    async def _serve_fully(self, name: str, servers: Sequence[ServerOnBox], prior: Prior) -> str:
        """100 % where it comes back, exactly what was there where it does not, and the agent as before."""
        await self._serve(servers, 100)
        known = prior_of(prior)
        for server in self._on_all(name):
            was = known.get(server.box.name)
            if was is not None and was.is_taken_out:
                await server.restore(was)
            elif was is not None and was.agent:
                await server.wake_agent()
        return await self._told(name, servers, known)

    def _not_up(self, servers: Sequence[ServerOnBox], states: Sequence[ServerState], what: str) -> FailedError:
        seen = ", ".join(
            f"{state.status!r}{f' ({state.check_said})' if state.check_said else ''} on {server.box.name}"
            for server, state in zip(servers, states, strict=True)
        )
        text = f"{servers[0].name} {what}: HAProxy shows {seen}; look at the application's log on the target"
        return FailedError(FailureCode.HAPROXY_NOT_UP, text)

    async def _told(self, name: str, servers: Sequence[ServerOnBox], known: dict[str, PriorState]) -> str:
        parts = [f"{servers[0].name} ready at 100 % on {boxes_of(servers)}"] if servers else []
        if said := left_as_it_was(known):
            parts.append(f"{self._request.server_of(name)} {said}")
        reloaded = []
        for box in self._balancers:
            was = known.get(box.name)
            if was is not None and await box.process_id() != was.process_id:
                reloaded.append(box.name)
        if reloaded:
            parts.append(f"HAProxy on {', '.join(reloaded)} was reloaded meanwhile: its state was asserted again")
        return "; ".join(parts)


def _passes(state: ServerState) -> bool:
    """Ready to get traffic. Without checks of its own its status decides; a server that it tracks shows in it."""
    if state.admin is not AdminState.DRAIN:
        return False
    return state.is_fresh_pass if state.has_check else state.status == "DRAIN"


def _serves(state: ServerState) -> bool:
    return state.is_up


def _how_checked(states: Sequence[ServerState]) -> str:
    if all(state.has_check for state in states):
        return "passed a fresh check"
    if all(state.has_check or state.tracks for state in states):
        return "is not down by the checks of the server that it tracks"
    return "has no check in HAProxy: the recipe's own health check decides alone;"
