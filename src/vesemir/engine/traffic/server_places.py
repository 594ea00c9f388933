"""Where the servers of a deployment's targets stand: in which backends, on which load balancers.

Names are those of targets; the request says which server each is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from vesemir.domain.counters import BoxCounters, summed
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.request import TrafficRequest
from vesemir.domain.traffic import ServerState
from vesemir.domain.traffic_capacity import View
from vesemir.domain.traffic_place import Backends, FoundBackends, Place, found_backends
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.engine.traffic.server import ServerOnBox

Views = Mapping[tuple[str, str], View]
"""Every server, by load balancer and backend."""


class ServerPlaces:
    """Of one deployment. ``found`` is what ``"*"`` found at its start; ``ensure`` raises ``LeaseLostError``."""

    def __init__(
        self,
        balancers: Sequence[LoadBalancer],
        request: TrafficRequest,
        *,
        found: FoundBackends | None,
        ensure: Callable[[], None],
    ) -> None:
        self._balancers = balancers
        self._request = request
        self._backends = Backends(request, found)
        self._ensure = ensure

    def known(self, name: str) -> list[ServerOnBox]:
        """Nothing where ``"*"`` found no backend that has it."""
        server = self._request.server_of(name)
        return [
            ServerOnBox(box, backend, server, self._ensure, self._place(box, backend))
            for box in self._balancers
            for backend in self._backends.of(server, box.name)
        ]

    def of(self, name: str) -> list[ServerOnBox]:
        """Raises ``haproxy.unknown_server`` where no backend has it."""
        places, server = self.known(name), self._request.server_of(name)
        if places or not self._request.every_backend:
            return places
        boxes = ", ".join(box.name for box in self._balancers)
        text = f"no backend on {boxes} had a server {server} when the deployment began: correct haproxy.server"
        raise FailedError(FailureCode.HAPROXY_UNKNOWN_SERVER, f"{text} or HAProxy's configuration")

    def _place(self, box: LoadBalancer, backend: str) -> Place:
        return Place(box.name, backend if self._request.several else "")

    async def counters(self) -> Mapping[str, BoxCounters]:
        """What the servers have answered so far, over all backends, on every load balancer that can be asked now."""
        counted: dict[str, BoxCounters] = {}
        for box in self._balancers:
            with suppress(FailedError):  # asked again soon; who moves traffic says that it is away
                each = [await box.counters(backend) for backend in self._backends.on(box.name)]
                if (total := summed(each)) is not None:
                    counted[box.name] = total
        return counted


async def find_backends(balancers: Iterable[LoadBalancer], servers: Sequence[str]) -> FoundBackends:
    """For ``"*"``. Raises ``FailedError`` (``haproxy.unreachable``)."""
    return found_backends(servers, {box.name: await box.backends() for box in balancers})


async def read_views(servers: Iterable[ServerOnBox]) -> dict[tuple[str, str], Mapping[str, ServerState]]:
    """Each backend once on each load balancer."""
    views: dict[tuple[str, str], Mapping[str, ServerState]] = {}
    for server in servers:
        if server.key not in views:
            views[server.key] = await server.box.servers(server.backend)
    return views


def views_by_backend(views: Views) -> dict[str, list[View]]:
    """Those of one backend on all the load balancers that have it."""
    found: dict[str, list[View]] = {}
    for (_, backend), view in views.items():
        found.setdefault(backend, []).append(view)
    return found


def boxes_among(servers: Iterable[ServerOnBox]) -> list[LoadBalancer]:
    """Each once."""
    return list({server.box.name: server.box for server in servers}.values())
