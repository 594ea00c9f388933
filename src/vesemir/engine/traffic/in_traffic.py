"""Which targets get traffic: what HAProxy says of their servers now, in one reading of each load balancer for all."""

import asyncio
from collections.abc import Mapping, Sequence

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import ServerState, serves_on_all
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.engine.traffic.server import ServerOnBox

_View = Mapping[str, ServerState] | None


async def in_traffic(targets: Mapping[str, Sequence[ServerOnBox]], *, seconds: float) -> Mapping[str, bool | None]:
    """By target, of its server's places. Raises nothing: what cannot be asked within ``seconds`` is None."""
    boxes = {server.key: server.box for servers in targets.values() for server in servers}
    views = await asyncio.gather(*(_view(box, backend, seconds) for (_, backend), box in boxes.items()))
    by_key = dict(zip(boxes, views, strict=True))
    return {target: _serves(servers, by_key) for target, servers in targets.items()}


def _serves(servers: Sequence[ServerOnBox], views: Mapping[tuple[str, str], _View]) -> bool | None:
    return serves_on_all([views[server.key] for server in servers], servers[0].name) if servers else None


async def _view(box: LoadBalancer, backend: str, seconds: float) -> _View:
    """Empty where the load balancer has no such backend; None where it does not answer."""
    try:
        async with asyncio.timeout(seconds):
            return await box.servers(backend)
    except FailedError as error:
        return {} if error.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER else None
    except TimeoutError:
        return None
