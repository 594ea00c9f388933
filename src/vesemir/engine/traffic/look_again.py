"""Finished targets, looked at again: which of their servers ought to serve and do not."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from vesemir.domain.failure import FailedError
from vesemir.domain.traffic import ServerState
from vesemir.engine.traffic.server import ServerOnBox


async def not_up(targets: Mapping[str, Sequence[ServerOnBox]]) -> dict[str, str]:
    """Those that are ready and not UP in one of their places, with what HAProxy shows of them.

    One reading per load balancer and backend, however many servers. What somebody has taken out since, what HAProxy has
    no more, and a load balancer that cannot be asked say nothing against a target.
    """
    views = await _views({server.key: server for servers in targets.values() for server in servers})
    shown = {target: _faults(servers, views) for target, servers in targets.items()}
    return {target: f"HAProxy shows {', '.join(seen)}" for target, seen in shown.items() if seen}


async def _views(places: Mapping[tuple[str, str], ServerOnBox]) -> dict[tuple[str, str], Mapping[str, ServerState]]:
    views = {}
    for key, server in places.items():
        with suppress(FailedError):
            views[key] = await server.box.servers(server.backend)
    return views


def _faults(servers: Sequence[ServerOnBox], views: Mapping[tuple[str, str], Mapping[str, ServerState]]) -> list[str]:
    seen = [(server, views[server.key].get(server.name)) for server in servers if server.key in views]
    return [
        f"{state.shown} on {server.place}"
        for server, state in seen
        if state is not None and not state.is_taken_out and not state.is_up
    ]
