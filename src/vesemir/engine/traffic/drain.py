"""Taking a server's sessions away: drained until none is left, then maint, on every load balancer."""

import asyncio
from collections.abc import Sequence

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.request import TrafficRequest
from vesemir.domain.traffic import AdminState, ServerState
from vesemir.engine.clock import loop_time
from vesemir.engine.traffic.last_seen import saw
from vesemir.engine.traffic.reloads import Processes
from vesemir.engine.traffic.server import ServerOnBox, places_of, read_all
from vesemir.engine.traffic.server_places import boxes_among

STATE_POLL_SECONDS = 0.2
SHUTDOWN_SECONDS = 5.0
"""How long sessions may take to go after HAProxy was told to end them."""
TRIES = 3
"""How often a state that a reload took away is set again before the deployment gives up."""


async def empty(servers: Sequence[ServerOnBox], request: TrafficRequest, processes: Processes | None = None) -> str:
    """Drained, idle, in maint, and seen to be so.

    With ``processes``, sessions of a process that a reload replaced are waited for: not needed where it was out before.
    """
    started = loop_time()
    for _ in range(TRIES):
        wording = await _wait_until_idle(servers, request)
        if processes is not None:
            wording += await _wait_for_unseen(servers, request, processes)
        for server in servers:
            if (await server.read()).admin is not AdminState.MAINT:
                await server.order(AdminState.MAINT)
        if all(state.admin is AdminState.MAINT for state in await read_all(servers)):
            seconds = loop_time() - started
            return f"{servers[0].name} drained in {seconds:.1f} s{wording}, in maint on {places_of(servers)}"
    text = f"HAProxy on {places_of(servers)} does not keep {servers[0].name} in maint: see what else sets its state"
    raise FailedError(FailureCode.HAPROXY_UNREACHABLE, text)


async def _wait_until_idle(servers: Sequence[ServerOnBox], request: TrafficRequest) -> str:
    """To ``drain_seconds``; what happens then is ``on_drain_timeout``. Returns words for the step's output."""
    busy = await _busy_after(servers, request.drain_seconds)
    if not busy:
        return ""
    if request.on_drain_timeout == "fail":
        raise FailedError(
            FailureCode.HAPROXY_DRAIN_TIMED_OUT,
            f"sessions of {servers[0].name} did not end within {request.drain_seconds:g} s ({_counts(busy)}): "
            "give haproxy.drain_seconds more, or ask for on_drain_timeout shutdown",
        )
    for server, _ in busy:
        await server.shut_down_sessions()
    await _busy_after(servers, SHUTDOWN_SECONDS)
    return f" (sessions ended by force: {_counts(busy)})"


async def _wait_for_unseen(servers: Sequence[ServerOnBox], request: TrafficRequest, processes: Processes) -> str:
    """After a reload: what the old process still has is not shown, so it gets all of the time that sessions may take.

    All the while the server is drained in the new process, which may be reloaded in its turn.
    """
    waited = False
    while True:
        await processes.look(boxes_among(servers))
        ends = max(processes.unseen_until(server.box.name, request.drain_seconds) for server in servers)
        if loop_time() >= ends:
            return " (HAProxy was reloaded: its old process had time to finish)" if waited else ""
        waited = True
        saw("HAProxy was reloaded: its old process gets time to finish")
        for server in servers:
            await server.drain()
        await asyncio.sleep(STATE_POLL_SECONDS)


async def _busy_after(servers: Sequence[ServerOnBox], seconds: float) -> list[tuple[ServerOnBox, ServerState]]:
    """Those that still have sessions when none has any or the time is over."""
    deadline = loop_time() + seconds
    while True:
        states = [await server.drain() for server in servers]
        busy = [(server, state) for server, state in zip(servers, states, strict=True) if not state.is_idle]
        drained = all(state.admin is not AdminState.READY for state in states)
        if (drained and not busy) or loop_time() >= deadline:
            return busy
        saw(f"sessions: {_counts(busy)}" if busy else "")
        await asyncio.sleep(STATE_POLL_SECONDS)


def _counts(busy: Sequence[tuple[ServerOnBox, ServerState]]) -> str:
    return ", ".join(
        f"{state.current_sessions} current, {state.queued} queued on {server.place}" for server, state in busy
    )
