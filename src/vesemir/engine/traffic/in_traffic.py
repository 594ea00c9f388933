"""Which targets get traffic: what HAProxy says of their servers now, in one reading of each load balancer for all."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import ServerState, serves_on_all
from vesemir.engine.ports.load_balancer import LoadBalancer

_View = Mapping[str, ServerState] | None


async def in_traffic(
    balancers: Sequence[LoadBalancer], backends: Iterable[str], servers: Mapping[str, str], *, seconds: float
) -> Mapping[str, bool | None]:
    """By target, of ``servers`` (target to server). Raises nothing: what cannot be asked within ``seconds`` is None."""
    asked = [(box, backend) for backend in backends for box in balancers]
    views = await asyncio.gather(*(_view(box, backend, seconds) for box, backend in asked))
    return {target: serves_on_all(views, server) for target, server in servers.items()}


async def _view(box: LoadBalancer, backend: str, seconds: float) -> _View:
    """Empty where the load balancer has no such backend; None where it does not answer."""
    try:
        async with asyncio.timeout(seconds):
            return await box.servers(backend)
    except FailedError as error:
        return {} if error.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER else None
    except TimeoutError:
        return None
