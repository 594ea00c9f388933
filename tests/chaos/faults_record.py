"""Faults 21 to 23: PostgreSQL restarts, is behind a black hole for one instance, loses a connection during COMMIT."""

import asyncio
import random
import signal
import time

from tests.chaos.arena import LEASE_SECONDS, Arena
from tests.chaos.faults_dying import staggered
from tests.chaos.proxy import CommitCutter
from tests.chaos.verdict import Try


async def _record_away(arena: Arena, blow: Try, seconds: float) -> None:
    await arena.crew(2)
    asked = await staggered(arena, number=5, seconds=1.2)
    blow.look_at(*asked)
    await asyncio.sleep(random.uniform(0, 1.0))
    await arena.lab.stop("postgres", random.choice((signal.SIGINT, signal.SIGQUIT)))
    gone = time.time()
    await asyncio.sleep(seconds)
    if seconds > LEASE_SECONDS:
        await asyncio.gather(*(instance.health(503) for instance in arena.instances))
        late = [run for each in asked for run in arena.runs(each) if not run.ended and run.last > gone + LEASE_SECONDS]
        blow.expect(not late, f"steps ran on although no lease could be valid: {late}")
    await arena.lab.start("postgres")
    blow.strike(*asked)
    await asyncio.gather(*(instance.health(200) for instance in arena.instances))
    blow.tries = len(asked)


async def restarts(arena: Arena, blow: Try) -> None:
    await _record_away(arena, blow, 0)


async def away_long(arena: Arena, blow: Try) -> None:
    await _record_away(arena, blow, LEASE_SECONDS * 2.5)


async def blackhole(arena: Arena, blow: Try) -> None:
    """For one instance only: its work on the hosts is dead before its lease ends, then another takes it over."""
    await arena.crew(0)
    proxy, url = await arena.proxy(arena.dsn)
    victim = await arena.start(VESEMIR_POSTGRES__DSN=url)
    asked = await staggered(arena, number=4, seconds=2.0)
    blow.look_at(*asked)
    for each in asked:
        await arena.owned(each)
    await arena.start()
    await arena.start()
    proxy.blackhole()
    moment = time.time()
    running = {run.nonce for each in asked for run in arena.runs(each) if not run.ended}
    unfinished = [each for each in asked if not arena.requester.events(each.id, "deployment.finished")]
    blow.strike(*unfinished, until="deployment.taken_over", at=moment)
    blow.tries = max(1, len(unfinished))
    await asyncio.gather(*(arena.result(each) for each in asked), return_exceptions=True)
    for each in asked:
        late = [run for run in arena.runs(each) if run.nonce in running and run.last > moment + LEASE_SECONDS]
        blow.expect(not late, f"{each.id}: still at work when its lease had ended: {late}")
    await victim.health(503)
    proxy.heal()
    await victim.health(200, 60)


async def commit_in_doubt(arena: Arena, blow: Try) -> None:
    """The connection goes while COMMIT is on its way, or its answer: several times in one deployment."""
    await arena.crew(0)
    proxy, url = await arena.proxy(arena.dsn)
    cutter = CommitCutter(proxy, delivered=random.random() < 0.5)
    proxy.look_up = cutter.look
    victim = await arena.start(VESEMIR_POSTGRES__DSN=url)
    asked = await staggered(arena, number=3, seconds=0.8)
    beside = asyncio.create_task(arena.start(), name="another instance")
    blow.look_at(*asked)
    for _ in range(3):
        await asyncio.sleep(random.uniform(0.1, 0.8))
        cutter.armed = True
    moment = time.time()
    other = await beside
    for each in asked:
        await arena.result(each)
    blow.recoveries.append(time.time() - moment)
    blow.expect(cutter.cuts > 0, "no COMMIT was cut")
    blow.expect(victim.running and other.running, "an instance ended")
    for each in asked:
        runs = arena.runs(each)
        taken = arena.requester.events(each.id, "deployment.taken_over")
        blow.expect(taken or len(runs) == len(each.boxes), f"{each.id}: something was doubled: {runs}")
    blow.tries = 1
