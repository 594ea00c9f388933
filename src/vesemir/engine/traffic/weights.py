"""A server that gets its traffic back: warmed up, then at a share of its weight, held there under watch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.traffic import AdminState, ServerState, weight_at
from vesemir.engine.clock import loop_time
from vesemir.engine.traffic.drain import STATE_POLL_SECONDS
from vesemir.engine.traffic.last_seen import saw
from vesemir.engine.traffic.reloads import Processes
from vesemir.engine.traffic.server import ServerOnBox, read_all
from vesemir.engine.traffic.server_places import boxes_among
from vesemir.engine.traffic.watch import watched

CONFIRM_SECONDS = 5.0
"""How long a server may take to show what it was just told."""


async def warm_up(servers: Sequence[ServerOnBox], *, seconds: float) -> list[ServerState]:
    """Drained instead of in maint, and a fresh passed check on each, to ``seconds``. Raises ``haproxy.not_up``."""
    deadline = loop_time() + seconds
    for server in servers:
        await server.warm()
    while True:
        states = await read_all(servers)
        if all(map(passes, states)):
            return states
        if loop_time() >= deadline:
            raise _no_fresh_check(servers, states, seconds)
        for server, state in zip(servers, states, strict=True):
            if state.admin is not AdminState.DRAIN:
                await server.warm()
        saw(f"no fresh check yet: {_seen(servers, states)}")
        await asyncio.sleep(STATE_POLL_SECONDS)


async def serve(servers: Sequence[ServerOnBox], percent: int) -> None:
    """Ready at that share on every load balancer, and read back. Raises ``haproxy.not_up``."""
    deadline = loop_time() + CONFIRM_SECONDS
    while True:
        states = [await server.serve(percent) for server in servers]
        if all(state.is_up and state.user_weight == weight_at(state.configured_weight, percent) for state in states):
            return
        if loop_time() >= deadline:
            raise not_up(servers, states, f"is not UP at {percent} % of its weight")
        saw(f"not seen at {percent} % of its weight yet: {_seen(servers, states)}")
        await asyncio.sleep(STATE_POLL_SECONDS)


async def hold(
    servers: Sequence[ServerOnBox], percent: int, work: Callable[[], Awaitable[None]], processes: Processes
) -> None:
    """Serve at that share while ``work`` lasts; a share that a reload made HAProxy forget is asserted again.

    Raises ``haproxy.not_up`` as soon as the server is seen not to be UP: nobody has to wait for the end to know.
    """
    boxes = boxes_among(servers)
    reported = await processes.look(boxes)
    await serve(servers, percent)

    async def look() -> None:
        nonlocal reported
        try:
            there = await processes.look(boxes)
            if there != reported:
                await serve(servers, percent)
                reported = there
            await _still_up(servers, percent)
        except FailedError as error:
            if error.failure.code is not FailureCode.HAPROXY_UNREACHABLE:
                raise
            # The box is asked again at the next look, and at the end without pardon.

    async with watched(look):
        await work()
    await _still_up(servers, percent)


async def _still_up(servers: Sequence[ServerOnBox], percent: int) -> None:
    states = await read_all(servers)
    if not all(state.is_up for state in states):
        raise not_up(servers, states, f"did not stay UP while it had {percent} % of its weight")


def passes(state: ServerState) -> bool:
    """Ready to get traffic. Without checks of its own its status decides; a server that it tracks shows in it."""
    if state.admin is not AdminState.DRAIN:
        return False
    return state.is_fresh_pass if state.has_check else state.status == "DRAIN"


def how_checked(states: Sequence[ServerState]) -> str:
    """What ``passes`` went by, for a text."""
    if all(state.has_check for state in states):
        return "passed a fresh check"
    if all(state.has_check or state.tracks for state in states):
        return "is not down by the checks of the server that it tracks"
    return "has no check in HAProxy: the recipe's own health check decides alone;"


def _no_fresh_check(servers: Sequence[ServerOnBox], states: Sequence[ServerState], seconds: float) -> FailedError:
    """HAProxy shows no interval of checks, but that the last one passed: it is the next that did not come."""
    what = f"passed no fresh check within {seconds:g} s"
    waiting = [state for state in states if not passes(state)]
    if not all(state.last_check_passed for state in waiting):
        return not_up(servers, states, what)
    text = (
        f"{servers[0].name} {what}: HAProxy shows {_seen(servers, states)}: the last check passed, and the next did "
        "not come in time; look at the server's check interval (inter, default 2s) in HAProxy's configuration and set "
        "haproxy.up_deadline_seconds to more than two of them"
    )
    return FailedError(FailureCode.HAPROXY_NOT_UP, text)


def not_up(servers: Sequence[ServerOnBox], states: Sequence[ServerState], what: str) -> FailedError:
    seen = _seen(servers, states)
    text = f"{servers[0].name} {what}: HAProxy shows {seen}; look at the application's log on the target"
    return FailedError(FailureCode.HAPROXY_NOT_UP, text)


def _seen(servers: Sequence[ServerOnBox], states: Sequence[ServerState]) -> str:
    return ", ".join(f"{state.shown} on {server.place}" for server, state in zip(servers, states, strict=True))
