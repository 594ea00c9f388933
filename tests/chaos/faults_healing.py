"""Fault 48d: an instance dies while it heals a server that an earlier deployment of the lane had left drained."""

import asyncio
import random
import secrets

from tests.chaos.arena import Arena, Deployment
from tests.chaos.faults_traffic import all_up, haproxy_part
from tests.chaos.verdict import Try

from vesemir.lab.haproxy import out_of_traffic

_MOMENTS = {
    "known": "SELECT FROM target WHERE deployment_id = $1 AND traffic ? 'healthy'",
    "drained": "SELECT FROM step WHERE deployment_id = $1 AND step = 'drain'",
    "done": "SELECT FROM step WHERE deployment_id = $1 AND step = 'script' AND status = 'succeeded'",
    "healthy": "SELECT FROM step WHERE deployment_id = $1 AND step = 'health'",
}
"""By the record: what it comes back to is written down, it is out of traffic, its steps are done, its checks pass."""


async def killed(arena: Arena, blow: Try) -> None:
    """In the end it serves, and no row says that it is left drained."""
    await arena.crew(2)
    lane, box = f"healed-{secrets.token_hex(4)}", random.choice([each["name"] for each in arena.lab.boxes])
    rollout = {"concurrency": 1, "min_healthy_seconds": 0}
    part = {"boxes": [box], "haproxy": haproxy_part(arena), "rollout": rollout, "lane": lane}
    broken = await arena.deploy(seconds=0.1, during="exit 1", **part)
    blow.look_at(broken, status="failed")
    result = await arena.result(broken)
    blow.expect(result["targets"][0]["in_traffic"] is False, f"the broken one left {box} in traffic")
    blow.expect(await _left(arena) == [box], f"not left drained by the record: {await _left(arena)}")

    good = await arena.deploy(seconds=0.5, **part)
    blow.look_at(good)
    owner = await arena.owned(good)
    moment = random.choice(list(_MOMENTS))
    await _reached(arena, good, moment)
    await owner.kill()
    blow.strike(good)
    blow.tries = 1
    result = await arena.result(good)
    blow.expect(result["targets"][0]["in_traffic"] is True, f"killed when {moment}: {result['targets']}")
    blow.expect(not await _left(arena), f"killed when {moment}: left drained by the record: {await _left(arena)}")
    out = await out_of_traffic(arena.lab.described["haproxy_socket"])
    blow.expect(not out, f"killed when {moment}: left out of traffic: {out}")
    await all_up(blow, arena.lab.described["haproxy_socket"])


async def _left(arena: Arena) -> list[str]:
    rows = await arena.record.fetch("SELECT target FROM left_drained UNION ALL SELECT target FROM left_drained_several")
    return [row["target"] for row in rows]


async def _reached(arena: Arena, deployment: Deployment, moment: str) -> None:
    async with asyncio.timeout(60):
        while await arena.record.fetchrow(_MOMENTS[moment], deployment.id) is None:
            await asyncio.sleep(0.02)
