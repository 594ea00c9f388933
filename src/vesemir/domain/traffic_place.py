"""Where a target's server stands: a backend on a load balancer, and all of them for a deployment; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vesemir.domain.request import TrafficRequest

FoundBackends = Mapping[str, Mapping[str, Sequence[str]]]
"""What ``"*"`` found: by load balancer and server, the backends that have it."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One backend on one load balancer. ``backend`` is empty where the request names a single one: the place is then
    recorded and written as the load balancer's name alone, which instances of every version read."""

    box: str
    backend: str = ""

    def __str__(self) -> str:
        return f"{self.box}/{self.backend}" if self.backend else self.box

    @classmethod
    def of(cls, text: str) -> "Place":
        """The other way; a host's name has no slash."""
        box, _, backend = text.partition("/")
        return cls(box, backend)


class Backends:
    """Which backends a server stands in, on each load balancer: those that the request names, or those found."""

    def __init__(self, request: TrafficRequest, found: FoundBackends | None = None) -> None:
        self._named = () if request.every_backend else request.backends
        self._found = (found or {}) if request.every_backend else None

    def of(self, server: str, box: str) -> Sequence[str]:
        """Empty where ``"*"`` found none."""
        if self._found is None:
            return self._named
        return self._found.get(box, {}).get(server, ())

    def on(self, box: str) -> Sequence[str]:
        """Of all servers."""
        if self._found is None:
            return self._named
        return sorted({backend for backends in self._found.get(box, {}).values() for backend in backends})


def found_backends(servers: Iterable[str], boxes: Mapping[str, Mapping[str, Iterable[str]]]) -> FoundBackends:
    """``boxes``: by load balancer and backend, the servers in it."""
    wanted = set(servers)
    return {box: _by_server(wanted, backends) for box, backends in boxes.items()}


def _by_server(wanted: set[str], backends: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for backend in sorted(backends):
        for server in wanted.intersection(backends[backend]):
            found.setdefault(server, []).append(backend)
    return found


def names_found(found: FoundBackends) -> tuple[str, ...]:
    """Every backend in it, once."""
    return tuple(sorted({name for servers in found.values() for names in servers.values() for name in names}))


def found_json(found: FoundBackends) -> dict[str, dict[str, list[str]]]:
    return {box: {server: list(names) for server, names in servers.items()} for box, servers in found.items()}


def found_of_json(recorded: Mapping[str, Any]) -> FoundBackends:
    return {box: {server: tuple(names) for server, names in servers.items()} for box, servers in recorded.items()}
