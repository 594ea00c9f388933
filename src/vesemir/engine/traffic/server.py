"""One server in every backend and on every load balancer at once: read together, told one by one.

Before anything is said to HAProxy the lease is asked; what is already as wanted is not said again, so that every
method here may be called again after a takeover or a reload.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import AdminState, ServerState, weight_at
from vesemir.domain.traffic_place import Place
from vesemir.domain.traffic_prior import PriorState
from vesemir.engine.ports.load_balancer import LoadBalancer

NAMES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ServerOnBox:
    """A server of one backend on one load balancer. ``ensure`` raises ``LeaseLostError``."""

    box: LoadBalancer
    backend: str
    name: str
    ensure: Callable[[], None]
    place: Place

    @property
    def key(self) -> tuple[str, str]:
        """Its load balancer and its backend."""
        return self.box.name, self.backend

    async def read(self) -> ServerState:
        """Raises ``FailedError`` (``haproxy.unknown_server``, ``haproxy.unreachable``)."""
        servers = await self.box.servers(self.backend)
        return found(servers, self.name, self.backend, self.box.name)

    async def order(self, state: AdminState) -> None:
        self.ensure()
        await self.box.set_state(self.backend, self.name, state)

    async def drain(self) -> ServerState:
        """No balanced traffic, and no agent that says otherwise; maint stays maint. Returns what was read before."""
        state = await self.read()
        await self.silence_agent(state)
        if state.admin is AdminState.READY:
            await self.order(AdminState.DRAIN)
        return state

    async def keep_out(self) -> None:
        """Maint, whatever a reload or somebody made of it: the application is being worked on."""
        state = await self.read()
        await self.silence_agent(state)
        if state.admin is not AdminState.MAINT:
            await self.order(AdminState.MAINT)

    async def silence_agent(self, state: ServerState) -> None:
        """An agent may say ``ready`` by itself, in maint too."""
        if state.agent_enabled:
            self.ensure()
            await self.box.set_agent(self.backend, self.name, enabled=False)

    async def wake_agent(self) -> None:
        self.ensure()
        await self.box.set_agent(self.backend, self.name, enabled=True)

    async def warm(self) -> None:
        """Through maint to drain, so that the next passed check is a fresh one."""
        state = await self.read()
        await self.silence_agent(state)
        if state.admin is not AdminState.MAINT:
            await self.order(AdminState.MAINT)
        await self.order(AdminState.DRAIN)
        state = await self.read()
        if state.has_check and state.fall == 1:
            # Leaving maint gave it the health that a passed check would give: only from down does a pass show.
            await self.mark_down()

    async def mark_down(self) -> None:
        self.ensure()
        await self.box.mark_down(self.backend, self.name)

    async def serve(self, percent: int) -> ServerState:
        """Weight first, then ready. What it was, as read."""
        state = await self.read()
        if state.user_weight != weight_at(state.configured_weight, percent):
            self.ensure()
            await self.box.set_weight(self.backend, self.name, percent)
        if state.admin is not AdminState.READY:
            await self.order(AdminState.READY)
        return state

    async def try_weight(self, percent: int) -> None:
        """Have HAProxy say whether it takes the weight at all, while the server gets no traffic."""
        self.ensure()
        await self.box.set_weight(self.backend, self.name, percent)
        await self.box.set_weight(self.backend, self.name, 100)

    async def shut_down_sessions(self) -> None:
        self.ensure()
        await self.box.shutdown_sessions(self.backend, self.name)

    async def leave_drained(self, admin: AdminState) -> None:
        """``admin`` (drain, or the maint that somebody else wanted), with the weight that it is to come back with."""
        state = await self.read()
        await self.silence_agent(state)
        if state.admin is not admin:
            await self.order(admin)
        if state.user_weight != state.configured_weight:
            self.ensure()
            await self.box.set_weight(self.backend, self.name, 100)

    async def restore(self, prior: PriorState) -> None:
        """Exactly as it was: weight, state, agent. Leaving maint would show UP what was down before."""
        state = await self.read()
        if state.admin is AdminState.MAINT and prior.admin is not AdminState.MAINT:
            await self.order(AdminState.DRAIN)
            if not prior.up and state.has_check:
                await self.mark_down()
        if state.user_weight != prior.user_weight:
            self.ensure()
            await self.box.set_user_weight(self.backend, self.name, prior.user_weight)
        if (await self.read()).admin is not prior.admin:
            await self.order(prior.admin)
        if prior.agent and not state.agent_enabled:
            await self.wake_agent()


def found(servers: Mapping[str, ServerState], name: str, backend: str, box: str) -> ServerState:
    """The server, or ``haproxy.unknown_server`` with what exists."""
    state = servers.get(name)
    if state is not None:
        return state
    names = sorted(servers)
    shown = ", ".join(names[:NAMES_SHOWN]) or "none"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    raise FailedError(
        FailureCode.HAPROXY_UNKNOWN_SERVER,
        f"backend {backend} on {box} has no server {name} (it has: {shown}{more}): "
        "correct haproxy.server or HAProxy's configuration",
    )


async def read_all(servers: Sequence[ServerOnBox]) -> list[ServerState]:
    """One after the other: the places are few, and a first error is enough."""
    return [await server.read() for server in servers]


def places_of(servers: Sequence[ServerOnBox]) -> str:
    """For a text: the load balancers, with the backends where a request has several."""
    return ", ".join(str(server.place) for server in servers)
