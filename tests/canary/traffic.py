"""A backend behind HAProxy, second by second: requests at random, errors at random, and the counters that show them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vesemir.domain.counters import BoxCounters, ServerCounters
from vesemir.domain.response_time import WINDOW


@dataclass(frozen=True)
class Behaviour:
    """Of one release on one server: the share of its answers that are errors, and its mean response time in ms."""

    errors: float = 0.0
    response_ms: float = 40.0


@dataclass
class SimulatedServer:
    """Its counters as HAProxy keeps them: response times as the integer sum of ``swrate_add_dynamic``."""

    behaviour: Behaviour
    weight: float = 100.0
    requests: int = 0
    errors: int = 0
    _sum: int = 0

    def answer(self, chance: random.Random, *, outage: float) -> None:
        self.requests += 1
        self.errors += chance.random() < max(outage, self.behaviour.errors)
        window = WINDOW if self.requests > WINDOW else 0
        took = int(chance.expovariate(1 / self.behaviour.response_ms))
        self._sum += took - ((self._sum + window - 1) // window if window else 0)

    @property
    def counters(self) -> ServerCounters:
        window = min(self.requests, WINDOW) or WINDOW
        shown = (self._sum + window - 1) // window
        return ServerCounters(self.requests, self.errors, averaged=self.requests, response_ms=shown)

    def forget(self) -> None:
        self.requests = self.errors = self._sum = 0


@dataclass
class SimulatedBackend:
    """On so many HAProxies. ``outage`` is a share of errors that hits every server in the seconds it is given for."""

    chance: random.Random
    servers: Mapping[str, Behaviour]
    per_second: int
    boxes: int = 1
    outage: Mapping[range, float] = field(default_factory=dict)
    reloads: Sequence[int] = ()
    second: int = 0

    def __post_init__(self) -> None:
        self._pids = [1] * self.boxes
        self._on = [
            {name: SimulatedServer(behaviour) for name, behaviour in self.servers.items()} for _ in range(self.boxes)
        ]

    def weigh(self, name: str, percent: int) -> None:
        for servers in self._on:
            servers[name].weight = percent

    def pass_second(self) -> None:
        self.second += 1
        outage = next((share for when, share in self.outage.items() if self.second in when), 0.0)
        if self.second in self.reloads:
            self._pids[0] += 1
            for server in self._on[0].values():
                server.forget()
        for servers in self._on:
            weights = [server.weight for server in servers.values()]
            for server in self.chance.choices(list(servers.values()), weights, k=self.per_second // self.boxes):
                server.answer(self.chance, outage=outage)

    @property
    def counters(self) -> dict[str, BoxCounters]:
        return {
            f"lb{number}": BoxCounters(pid, {name: server.counters for name, server in servers.items()})
            for number, (pid, servers) in enumerate(zip(self._pids, self._on, strict=True), start=1)
        }
