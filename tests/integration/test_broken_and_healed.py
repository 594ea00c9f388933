"""A release that does not start, at 100 % on a real HAProxy with agent checks: one server stays, the next heals all."""

import asyncio
from typing import Any

from tests.fakes.hosts import SUCCEEDED, failed
from tests.integration.behind_haproxy import WorldBehindHaproxy
from tests.integration.haproxy_server import (
    Haproxies,
    HaproxyServer,
    address_of,
    eventually,
    haproxies,
)
from tests.unit.engine.world import World

__all__ = ["haproxies"]

RUNNING = 0x01
"""The bit of ``srv_agent_state`` that is set while the agent is just being asked."""


async def well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An agent that finds its server well."""
    del reader
    writer.write(b"up\n")
    writer.close()


async def states(server: HaproxyServer) -> dict[str, tuple[str, ...]]:
    """By server: UP or not, taken out or not, its weight, and whether its agent is asked."""
    lines = [line.split() for line in (await server.ask("show servers state shop")).splitlines()[2:] if line]
    return {words[3]: (*words[5:8], str(int(words[16]) & ~RUNNING)) for words in lines}


async def test_one_serves_throughout_and_the_next_good_release_heals_the_others(haproxies: Haproxies) -> None:
    """Also when all applications were stopped since: a server that is DOWN takes nothing away."""
    apps = await haproxies.apps(3)
    agent = await asyncio.start_server(well, "127.0.0.1", 0)
    port = agent.sockets[0].getsockname()[1]
    server = await haproxies.haproxy(address_of(apps, more=f"agent-check agent-port {port} agent-inter 100ms"))
    async with agent, WorldBehindHaproxy(apps, server) as world:
        world.hosts.step_seconds = 0.05
        world.instance()
        before = await states(server)

        async def up() -> list[str]:
            return [name for name, state in (await states(server)).items() if state[0] == "2"]

        async def as_before() -> bool:
            return await states(server) == before

        async def all_down() -> bool:
            return not await up()

        await eventually(as_before)
        answers: list[int] = []
        asking = asyncio.create_task(_asked(server, answers))
        world.hosts.steps["switch"] = failed(1, b"does not start\n")
        assert await _rollout(world, "broken") == {"failed": 2, "skipped": 1}
        asking.cancel()
        assert set(answers) == {200}, "a request found no server"
        assert [state[1] for state in (await states(server)).values()].count("0") == 1

        for app in apps.values():
            await app.stop()
        await eventually(all_down)
        for app in apps.values():
            await app.start()
        world.hosts.steps["switch"] = SUCCEEDED
        assert await _rollout(world, "good") == {"succeeded": 3}
        assert await states(server) == before


async def _rollout(world: World, name: str) -> dict[str, int]:
    """The statuses of its targets, counted. Without ``min_available``."""
    rollout = {"concurrency": "100%", "min_healthy_seconds": 0}
    await world.accept(name, traffic=True, rollout=rollout, defaults={"min_available": 1})
    result: dict[str, Any] = await world.result(name)
    statuses = [target["status"] for target in result["targets"]]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


async def _asked(server: HaproxyServer, answers: list[int]) -> None:
    while True:
        answers.append((await server.get())[0])
        await asyncio.sleep(0.01)
