"""Finished targets, looked at again: which of their servers ought to serve and do not."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from vesemir.domain.failure import FailedError
from vesemir.engine.ports.load_balancer import LoadBalancer


async def not_up(balancers: Sequence[LoadBalancer], backend: str, servers: Mapping[str, str]) -> dict[str, str]:
    """Those of ``servers`` (by target) that are ready and not UP, with what HAProxy shows of them.

    One reading per load balancer, however many servers. What somebody has taken out since, what HAProxy has no more,
    and a load balancer that cannot be asked say nothing against a target.
    """
    shown: dict[str, list[str]] = {}
    for box in balancers:
        with suppress(FailedError):
            view = await box.servers(backend)
            for target, server in servers.items():
                state = view.get(server)
                if state is not None and not state.is_taken_out and not state.is_up:
                    shown.setdefault(target, []).append(f"{state.shown} on {box.name}")
    return {target: f"HAProxy shows {', '.join(seen)}" for target, seen in shown.items()}
