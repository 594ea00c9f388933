"""Fault 32, its first half: HAProxy is reloaded in mid-deployment and forgets what was drained."""

import asyncio
import os
import random
import signal
import time
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.verdict import Try

from vesemir.lab.haproxy import out_of_traffic, server_states


async def haproxy_reloaded(arena: Arena, blow: Try) -> None:
    """State is asserted again: in the end everything is ready, and nobody out was enabled by the reload for long."""
    await arena.crew(2)
    socket = arena.lab.described["haproxy_socket"]
    rollout = {"concurrency": 1, "min_healthy_seconds": 0}
    made = arena.event(boxes=3, seconds=1.5, haproxy=haproxy_part(arena), rollout=rollout, lane="traffic")
    blow.look_at(made)
    await arena.requester.deploy(made.event)
    await arena.running(made)
    await asyncio.sleep(random.uniform(0, 2.0))
    os.kill(arena.lab.server("haproxy").pid, signal.SIGUSR2)
    blow.strike(made, at=time.time())
    await arena.result(made)
    out = await out_of_traffic(socket)
    blow.expect(not out, f"left out of traffic: {out}")
    await all_up(blow, socket)
    blow.tries = 1


async def all_up(blow: Try, socket: str) -> None:
    try:
        async with asyncio.timeout(20):
            while set((await server_states(socket)).values()) != {"UP"}:
                await asyncio.sleep(0.1)
    except TimeoutError:
        blow.expect(False, f"not all up: {await server_states(socket)}")  # noqa: FBT003


def haproxy_part(arena: Arena) -> dict[str, Any]:
    return {
        "targets": {"inventory": {"groups": ["shop-lb"]}},
        "backend": arena.lab.described["backend"],
        "server": "{name}",
        "drain_seconds": 5,
    }
