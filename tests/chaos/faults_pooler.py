"""Fault 44: the PgBouncer between the instances and PostgreSQL is restarted, or stays away."""

import asyncio
import random
import signal
import time

from tests.chaos import oracle
from tests.chaos.arena import LEASE_SECONDS, Arena
from tests.chaos.faults_dying import staggered
from tests.chaos.verdict import Try
from tests.integration.pgbouncer_server import PoolMode, pooled

ENDS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
PATIENCE_SECONDS = 2.0
"""Half a lease; systemd has 90 s. In session mode it waits for connections that stay, and serves no new one."""
MODES = (PoolMode.SESSION, PoolMode.TRANSACTION)


async def _pooler_away(arena: Arena, blow: Try, seconds: float) -> None:
    """In either mode, by ``systemctl restart``, at once, or in a crash; PostgreSQL itself is there all the time."""
    await arena.crew(0)
    pooler = await arena.stack.enter_async_context(pooled(arena.dsn, random.choice(MODES)))
    try:
        dsn = pooler.through(arena.dsn)
        instances = [await arena.start(VESEMIR_POSTGRES__DSN=dsn) for _ in range(2)]
        asked = await staggered(arena, number=5, seconds=1.2)
        blow.look_at(*asked)
        await asyncio.sleep(random.uniform(0, 1.0))
        await asyncio.to_thread(pooler.stop, random.choice(ENDS), patience=PATIENCE_SECONDS)
        gone = time.time()
        await asyncio.sleep(seconds)
        if seconds > LEASE_SECONDS:
            await asyncio.gather(*(instance.health(503) for instance in instances))
            late = [run for each in asked for run in arena.runs(each) if _still_ran(run, gone)]
            blow.expect(not late, f"steps ran on although no lease could be valid: {late}")
        await pooler.start()
        blow.strike(*asked)
        await asyncio.gather(*(instance.health(200) for instance in instances))
        for each in asked:
            await arena.result(each)
    finally:
        await arena.crew(0)  # while there is a record to hand over in
    blow.tries = len(asked)


def _still_ran(run: oracle.Run, gone: float) -> bool:
    return not run.ended and run.last > gone + LEASE_SECONDS


async def restarted(arena: Arena, blow: Try) -> None:
    await _pooler_away(arena, blow, 0)


async def away_long(arena: Arena, blow: Try) -> None:
    await _pooler_away(arena, blow, LEASE_SECONDS * 2.5)
