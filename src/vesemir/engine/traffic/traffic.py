"""How the targets of one deployment leave HAProxy and come back: the safe order of architecture.md, "Traffic".

A server is out when it is out in all its backends on every load balancer, and in when it is in in all. HAProxy
announces nothing, so waits read its state again and again; each reading also says again what a reload made it forget.
Everything may be called again with the stored prior state, which is how a takeover goes on.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial

from vesemir.domain.failure import FailedError
from vesemir.domain.request import TrafficRequest
from vesemir.domain.share import Share
from vesemir.domain.traffic import HASH_ALGORITHMS, AdminState, ServerState, check_weights
from vesemir.domain.traffic_place import FoundBackends, Place
from vesemir.domain.traffic_prior import PriorState, PriorTraffic
from vesemir.engine.clock import loop_time
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.engine.traffic import look_again, weights
from vesemir.engine.traffic.capacity import Capacity
from vesemir.engine.traffic.drain import empty
from vesemir.engine.traffic.in_traffic import in_traffic
from vesemir.engine.traffic.left_before import LeftBefore
from vesemir.engine.traffic.left_behind import left_drained, restored
from vesemir.engine.traffic.reloads import Processes
from vesemir.engine.traffic.server import ServerOnBox, found, places_of, read_all
from vesemir.engine.traffic.server_places import ServerPlaces, read_views
from vesemir.engine.traffic.watch import watched

STALE_SECONDS = 10.0
"""How long after the dump of its servers' state a reload may have its new process up."""

Hold = Callable[[float, int], Awaitable[None]]
"""``hold(seconds, percent)``: the target serves at that share of its weight until this returns or raises."""


class Traffic:
    """For one deployment. Names are those of targets; the request says which server each is.

    ``ensure`` raises ``LeaseLostError`` and is asked before every outside action. ``critical(key)`` is a section that
    one deployment at a time is in, across all instances. ``capacity_seconds`` and ``up_seconds`` are the deadlines of
    ``haproxy.capacity`` and ``haproxy.not_up``. ``found``: the backends that ``"*"`` found at the start. ``before``
    knows what earlier deployments of the lane left drained. Every method raises ``FailedError`` (``haproxy.*``) unless
    it says so.
    """

    def __init__(
        self,
        balancers: Sequence[LoadBalancer],
        request: TrafficRequest,
        *,
        min_available: Share | None,
        capacity_seconds: float,
        up_seconds: float,
        ensure: Callable[[], None],
        critical: Callable[[str], AbstractAsyncContextManager[None]],
        before: LeftBefore,
        found: FoundBackends | None = None,
    ) -> None:
        self._balancers = tuple(balancers)
        self._request = request
        self._capacity = Capacity(min_available=min_available, seconds=capacity_seconds, critical=critical)
        self._up_seconds = up_seconds
        self._before = before
        self._places = ServerPlaces(self._balancers, request, found=found, ensure=ensure)
        self.counters = self._places.counters
        self._processes = Processes()
        self._back: dict[str, tuple[float, PriorTraffic]] = {}
        """Targets that came back lately and were left alone since: when, and what was there before."""

    async def check(self, names: Iterable[str]) -> None:
        """Before anything starts: capacity that can be, every server known in all its backends, and every weight one
        that it can have."""
        servers = [server for name in names for server in self._places.of(name)]
        views = await read_views(servers)
        self._capacity.refuse_impossible(views)
        for server in servers:
            state = found(views[server.key], server.name, server.backend, server.box.name)
            check_weights(state, self._request.weights)
        await self._processes.look(self._balancers)  # the one that is replaced from now on is known to be

    async def check_rights(self) -> None:
        """Whether each load balancer would take commands that change something (``haproxy.unreachable`` if not)."""
        for box in self._balancers:
            await box.check_rights()

    def backends_of(self, name: str) -> Mapping[Place, str]:
        """In which its server stands, by place."""
        return {server.place: server.backend for server in self._on_all(name)}

    async def observe(self, name: str) -> PriorTraffic:
        """What is there now."""
        servers = self._on_all(name)
        return await self._prior(name, servers, await read_all(servers))

    def server_of(self, name: str) -> str:
        """The name of a target's server in its backends."""
        return self._request.server_of(name)

    def shown(self, name: str) -> str:
        """BACKEND/SERVER, for people; one for each backend that is known to have it."""
        shown = dict.fromkeys(f"{each.backend}/{each.name}" for each in self._places.known(name))
        return ", ".join(shown) or self.server_of(name)

    async def _prior(self, name: str, servers: Sequence[ServerOnBox], states: Sequence[ServerState]) -> PriorTraffic:
        ids = await self._processes.look(self._balancers)
        of_box = {box.name: process_id for box, process_id in zip(self._balancers, ids, strict=True)}
        seen = zip(servers, states, strict=True)
        places = {server.place: PriorState.of(state, of_box[server.box.name]) for server, state in seen}
        return await self._before.healed(name, servers, PriorTraffic(servers[0].name, places))

    async def take_out(
        self,
        name: str,
        prior: PriorTraffic | None,
        *,
        remember: Callable[[PriorTraffic], Awaitable[None]] | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> str:
        """Out in all its backends on every load balancer, with no session left. Returns the step's output.

        What is there in the moment before the drain is given to ``remember``, to be recorded; ``prior`` is what an
        earlier try remembered. Waits for capacity happen within ``waiting()``: until they end nothing was touched, and
        who takes the server out meanwhile is respected. Raises ``haproxy.capacity``, ``haproxy.drain_timed_out``.
        """
        self._back.pop(name, None)
        await self._correct()
        servers, known = self._on_all(name), prior
        for place, was in prior.places.items() if prior is not None else ():
            self._processes.recall(place.box, was.process_id)

        async def before(states: Sequence[ServerState]) -> None:
            nonlocal known
            if known is None:
                known = await self._prior(name, servers, states)
                if remember is not None:
                    await remember(known)

        await self._capacity.drain(servers, waiting=waiting, before=before)
        assert known is not None  # noqa: S101 - `before` has seen to it
        await self._try_weights(servers, known)
        text = await empty(servers, self._request, self._processes)
        wording = [f"it {known.left_as_it_was}" if known.left_as_it_was else "", known.healing]
        return "; ".join(filter(None, [text, *wording]))

    async def assert_out(self, name: str) -> str:
        """Read again, and out again where a reload put it back; what was drained before needs no capacity again."""
        return await empty(self._on_all(name), self._request)

    @asynccontextmanager
    async def kept_out(self, name: str) -> AsyncIterator[None]:
        """While its steps run: looked at every second, and out again where a reload put it back.

        A load balancer that cannot be asked meanwhile is no reason to break a step off; what comes after it asks again.
        """
        servers = self._on_all(name)

        async def look() -> None:
            for server in servers:
                with suppress(FailedError):
                    await server.keep_out()

        async with watched(look):
            yield

    async def warm_up(self, name: str, prior: PriorTraffic) -> str:
        """Drained instead of in maint, and a fresh passed check on every load balancer. Returns the step's output.

        Raises ``haproxy.not_up``. A server without checks cannot pass one: the recipe's own health check decides alone.
        """
        servers = self._coming_back(name, prior)
        if not servers:
            return f"{self._request.server_of(name)} {prior.left_as_it_was}; HAProxy did not check it"
        started = loop_time()
        states = await weights.warm_up(servers, seconds=self._up_seconds)
        seconds = loop_time() - started
        return f"{self._request.server_of(name)} {weights.how_checked(states)} after {seconds:.1f} s"

    async def put_back(self, name: str, prior: PriorTraffic, hold: Hold, *, checked: bool = False) -> str:
        """Each weight of the request held, then 100 % of the configured one, confirmed. Returns the step's output.

        ``checked``: an earlier owner had it checked and perhaps begun this. One that serves is then not taken out for
        it; else a server that is ready now was made so by a reload, before its fresh check.
        """
        servers = self._coming_back(name, prior)
        if not all(weights.passes(state) or (checked and state.is_up) for state in await read_all(servers)):
            await self.warm_up(name, prior)
        for percent in self._request.weights if servers else ():
            work = partial(hold, self._request.degradation_seconds, percent)
            await weights.hold(servers, percent, work, self._processes)
        wording = await self._serve_fully(name, servers, prior)
        self._back[name] = (loop_time(), prior)
        return wording

    async def look_back(self) -> None:
        """At those that came back just before a reload: its dump of their state may be of before that.

        What cannot be asked or is not UP now is left to HAProxy's checks: those targets are done. Raises
        ``LeaseLostError`` only.
        """
        with suppress(FailedError):
            await self._processes.look(self._balancers)
        await self._correct()

    async def _correct(self) -> None:
        """By the processes that were seen last: the one that drains or holds looks at them all the time."""
        for name, (since, prior) in list(self._back.items()):
            until = since + STALE_SECONDS
            if self._processes.replaced_within(self._balancers, since, until):
                with suppress(FailedError):
                    await self.assert_in(name, prior)
            if self._processes.looked > until:
                self._back.pop(name, None)  # another target's turn may have done it meanwhile

    async def keep_in(self, name: str, prior: PriorTraffic, hold: Hold, seconds: float) -> None:
        """At 100 %, watched, until ``hold`` returns or raises."""
        if servers := self._coming_back(name, prior):
            await weights.hold(servers, 100, partial(hold, seconds, 100), self._processes)

    async def in_traffic(self, names: Iterable[str], *, seconds: float) -> Mapping[str, bool | None]:
        """What HAProxy says of each now: whether it serves; None where it was not answered in time. Raises nothing."""
        return await in_traffic({name: self._places.known(name) for name in names}, seconds=seconds)

    async def not_up(self, names: Iterable[str]) -> Mapping[str, str]:
        """Finished targets that ought to serve and do not, with why. Raises nothing."""
        return await look_again.not_up({name: self._places.known(name) for name in names})

    async def assert_in(self, name: str, prior: PriorTraffic) -> str:
        """Read again what was put back, and in again where something took it out since."""
        return await self._serve_fully(name, self._coming_back(name, prior), prior)

    async def restore(self, name: str, prior: PriorTraffic) -> str:
        """As it was found, on each load balancer that can be reached; raises for those that cannot."""
        self._back.pop(name, None)
        return await restored(self._on_all(name), prior)

    async def leave_drained(self, name: str, prior: PriorTraffic | None = None) -> str:
        """Drained in all its backends on every load balancer. Returns the sentence for the failure, also when HAProxy
        cannot be told. Raises ``LeaseLostError`` only."""
        self._back.pop(name, None)
        return await left_drained(self._on_all(name), prior, ready=self._before.ready_command(name))

    def alone(self, name: str) -> AbstractAsyncContextManager[None]:
        """The section in which deployments drain servers of the same backends."""
        return self._capacity.alone(self._on_all(name))

    # --- how ------------------------------------------------------------------------------------------------------

    def _on_all(self, name: str) -> list[ServerOnBox]:
        return self._places.of(name)

    def _coming_back(self, name: str, prior: PriorTraffic) -> list[ServerOnBox]:
        """Where nobody else had taken it out."""
        out = {place for place, was in prior.wanted.items() if was.is_taken_out}
        return [server for server in self._on_all(name) if server.place not in out]

    async def _try_weights(self, servers: Sequence[ServerOnBox], prior: PriorTraffic) -> None:
        """Only HAProxy knows whether a hash is static: asked while the server gets no traffic, before any work."""
        for server in servers:
            was, state = prior.wanted.get(server.place), await server.read()
            asked = self._request.weights and state.algorithm in HASH_ALGORITHMS
            if asked and state.admin is AdminState.DRAIN and was is not None and not was.is_taken_out:
                await server.try_weight(self._request.weights[0])

    async def _serve_fully(self, name: str, servers: Sequence[ServerOnBox], prior: PriorTraffic) -> str:
        """100 % where it comes back, exactly what was there where it does not, and the agent as before."""
        await weights.serve(servers, 100)
        for server in self._on_all(name):
            was = prior.wanted.get(server.place)
            if was is not None and was.is_taken_out:
                await server.restore(was)
            elif was is not None and was.agent:
                await server.wake_agent()
        return await self._reported(name, servers, prior)

    async def _reported(self, name: str, servers: Sequence[ServerOnBox], prior: PriorTraffic) -> str:
        parts = [f"{servers[0].name} ready at 100 % on {places_of(servers)}"] if servers else []
        if prior.left_as_it_was:
            parts.append(f"{self._request.server_of(name)} {prior.left_as_it_was}")
        known = {place.box: was.process_id for place, was in prior.places.items()}
        reloaded = [
            box.name
            for box in self._balancers
            if box.name in known and (await box.process()).process_id != known[box.name]
        ]
        if reloaded:
            parts.append(f"HAProxy on {', '.join(reloaded)} was reloaded meanwhile: its state was asserted again")
        return "; ".join(parts)
