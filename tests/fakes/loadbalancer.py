"""A load balancer in memory that behaves as HAProxy 2.6 was measured to. Each reading is a round of health checks."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vesemir.domain.counters import BoxCounters, ServerCounters
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.domain.traffic import AdminState, HaproxyProcess, ServerState, checked_server_name, weight_at
from vesemir.engine.clock import loop_time
from vesemir.engine.ports.load_balancer import LoadBalancer

OLD_SECONDS = 3600.0
"""The age of a process that was not reloaded."""


@dataclass(slots=True)
class FakeServer:
    """``healthy`` is what its application answers; ``sessions`` those that are on it.

    ``slot``: an empty slot of a ``server-template``. ``load``: how many requests it answers between two readings of the
    counters while it is in traffic, and with how many errors among them.
    """

    name: str
    configured_weight: int = 100
    healthy: bool = True
    sessions: int = 0
    rise: int = 2
    fall: int = 3
    has_check: bool = True
    has_agent: bool = False
    agent_enabled: bool = False
    admin: AdminState = AdminState.READY
    user_weight: int = 100
    health: int = 4
    load: tuple[int, int] = (0, 0)
    response_ms: int = 5
    interval_over: bool = True
    """Whether a check comes; not with one each 30 s."""
    check_said: str = ""
    answered: int = 0
    failed: int = 0
    slot: bool = False

    def start(self) -> None:
        """As a process starts it: from the configuration, and fully healthy."""
        self.admin = AdminState.MAINT if self.slot else AdminState.READY
        self.user_weight = self.configured_weight
        self.agent_enabled, self.health = self.has_agent, self.top
        self.answered = self.failed = 0

    @property
    def top(self) -> int:
        return self.rise + self.fall - 1

    def check(self) -> None:
        """One check: a pass from up gives full health at once, a failure takes one away and below ``rise`` all."""
        if not self.has_check or self.admin is AdminState.MAINT or not self.interval_over:
            return
        if self.healthy:
            self.health = self.top if self.health + 1 >= self.rise else self.health + 1
        else:
            self.health = self.health - 1 if self.health > self.rise else 0

    def status(self) -> str:
        if self.admin is AdminState.MAINT:
            return "MAINT (resolution)" if self.slot else "MAINT"
        word = "UP" if self.admin is AdminState.READY else "DRAIN"
        if not self.has_check:
            return "no check" if word == "UP" else word
        if self.health < self.rise:
            return f"DOWN {self.health}/{self.rise}" if self.health else "DOWN"
        if word == "DRAIN" and self.agent_enabled:
            return "DRAIN (agent)"
        return word if self.health == self.top else f"{word} {self.health - self.rise + 1}/{self.fall}"

    def answer(self, *, requests: int, errors: int = 0) -> None:
        self.answered, self.failed = self.answered + requests, self.failed + errors

    def counters(self) -> ServerCounters:
        return ServerCounters(
            self.answered, self.failed, averaged=self.answered, response_ms=self.response_ms if self.answered else 0
        )

    def state(self, algorithm: str) -> ServerState:
        shown = self.has_check and self.admin is not AdminState.MAINT
        return ServerState(
            name=self.name,
            admin=self.admin,
            status=self.status(),
            weight=self.user_weight,
            user_weight=self.user_weight,
            configured_weight=self.configured_weight,
            current_sessions=self.sessions,
            check_health=self.health if shown else None,
            rise=self.rise if shown else None,
            fall=self.fall if shown else None,
            has_check=self.has_check,
            has_agent=self.has_agent,
            agent_enabled=self.agent_enabled,
            check_said=self.check_said,
            algorithm=algorithm,
            is_empty_slot=self.slot,
        )


class FakeLoadBalancer:
    """Implements ``LoadBalancer``. ``told`` lists what it was told, in order; ``away`` makes it unreachable.

    ``by_name`` holds its servers: a test reads them without a round of checks, changes them, or takes one away. Those
    of ``more`` backends are in ``by_backend``; what they were told has the backend's name before it.
    """

    def __init__(
        self,
        name: str,
        servers: Sequence[FakeServer],
        *,
        backend: str = "shop",
        more: Mapping[str, Sequence[FakeServer]] | None = None,
    ) -> None:
        self._name = name
        self._backend = backend
        given = {backend: servers, **(more or {})}
        self.by_backend = {each: {server.name: server for server in listed} for each, listed in given.items()}
        self.by_name = self.by_backend[backend]
        for server in self._all_servers():
            server.start()
        self._pid = 100
        self._started: float | None = None
        self.algorithm = "roundrobin"
        self.told: list[str] = []
        self.away = False
        self.level = "admin"

    @property
    def name(self) -> str:
        return self._name

    def _all_servers(self) -> list[FakeServer]:
        return [server for servers in self.by_backend.values() for server in servers.values()]

    async def backends(self) -> Mapping[str, Collection[str]]:
        self._there(self._backend)
        return {backend: set(servers) for backend, servers in self.by_backend.items() if servers}

    async def servers(self, backend: str) -> Mapping[str, ServerState]:
        servers = self._there(backend)
        shown = {name: server.state(self.algorithm) for name, server in servers.items()}
        for server in servers.values():
            server.check()
        return shown

    async def counters(self, backend: str) -> BoxCounters:
        servers = self._there(backend)
        for server in servers.values():
            if server.state(self.algorithm).is_available:
                server.answer(requests=server.load[0], errors=server.load[1])
        return BoxCounters(self._pid, {name: server.counters() for name, server in servers.items()})

    def answer(self, server: str, *, requests: int, errors: int = 0) -> None:
        """Requests that came through it; the errors among them are 500s."""
        self.by_name[server].answer(requests=requests, errors=errors)

    async def check_rights(self) -> None:
        self._there(self._backend)
        if self.level != "admin":
            text = f"{self._name}: the level of its socket is {self.level!r}"
            raise FailedError(FailureCode.HAPROXY_UNREACHABLE, text)

    async def set_state(self, backend: str, server: str, state: AdminState) -> None:
        known = self._reported(backend, server, f"state {state.value}")
        if known.admin is AdminState.MAINT and state is not AdminState.MAINT:
            known.health = known.rise
        known.admin = state

    async def set_weight(self, backend: str, server: str, percent: int) -> None:
        known = self._reported(backend, server, f"weight {percent}%")
        known.user_weight = weight_at(known.configured_weight, percent)

    async def set_user_weight(self, backend: str, server: str, weight: int) -> None:
        self._reported(backend, server, f"weight {weight}").user_weight = weight

    async def set_agent(self, backend: str, server: str, *, enabled: bool) -> None:
        known = self._reported(backend, server, f"agent {'on' if enabled else 'off'}")
        known.agent_enabled = enabled and known.has_agent

    async def mark_down(self, backend: str, server: str) -> None:
        self._reported(backend, server, "health down").health = 0

    async def shutdown_sessions(self, backend: str, server: str) -> None:
        self._reported(backend, server, "shutdown").sessions = 0

    async def process(self) -> HaproxyProcess:
        self._there(self._backend)
        age = OLD_SECONDS if self._started is None else loop_time() - self._started
        return HaproxyProcess(self._pid, float(int(age)))

    def reload(self, *, keep_state: bool = False) -> None:
        """With a server-state file, or without one: as the configuration has it, and fully healthy."""
        self._pid += 1
        self._started = loop_time()
        for server in self._all_servers():
            if not keep_state:
                server.start()

    def _there(self, backend: str) -> dict[str, FakeServer]:
        if self.away:
            raise FailedError(FailureCode.HAPROXY_UNREACHABLE, f"{self._name} does not answer")
        if checked_server_name(backend) not in self.by_backend:
            raise FailedError(FailureCode.HAPROXY_UNKNOWN_SERVER, f"{self._name} has no backend {backend}")
        return self.by_backend[backend]

    def _reported(self, backend: str, server: str, what: str) -> FakeServer:
        known = self._there(backend).get(checked_server_name(server))
        if known is None:
            raise FailedError(FailureCode.HAPROXY_UNKNOWN_SERVER, f"{self._name} has no server {server}")
        self.told.append(f"{'' if backend == self._backend else f'{backend}/'}{server} {what}")
        return known


class FakeLoadBalancers:
    """Implements ``LoadBalancers``: gives those that it was made with, by the target's name."""

    def __init__(self, *balancers: FakeLoadBalancer) -> None:
        self._by_name = {balancer.name: balancer for balancer in balancers}

    @asynccontextmanager
    async def open(self, boxes: Sequence[Target]) -> AsyncIterator[Sequence[LoadBalancer]]:
        yield tuple(self._by_name[box.name] for box in boxes)
