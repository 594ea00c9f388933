"""Faults 36 to 42: the broker's nodes and the database's servers fall, one or all, and come back."""

import asyncio
import random
import time
from contextlib import suppress

import asyncpg
from tests.chaos import ha
from tests.chaos.arena import Arena, Deployment
from tests.chaos.faults_dying import staggered
from tests.chaos.proxy import CommitCutter
from tests.chaos.verdict import Try

ELSEWHERE_SECONDS = 15.0
"""How long work may stand still when the node that leads a queue dies."""
AWAY_SECONDS = 60.0


async def _goes_on(arena: Arena, blow: Try, *, since: float, within: float | None = None) -> None:
    """Another deployment is accepted and ends; ``within`` so many seconds it is accepted."""
    after = await arena.deploy(seconds=0.2)
    blow.look_at(after)
    await arena.requester.event(after.id, "deployment.accepted", seconds=90)
    took = time.time() - since
    blow.recoveries.append(took)
    blow.expect(within is None or took <= within, f"work stood still for {took:.1f} s, not {within} s at most")


async def leader_killed(arena: Arena, blow: Try) -> None:
    await arena.crew(2)
    queue = f"{arena.name}.deployments"
    leading = await ha.leader(arena.lab, queue)
    asked = await staggered(arena, number=5, seconds=1.0)
    blow.look_at(*asked)
    await ha.kill(arena.lab, leading)
    await _goes_on(arena, blow, since=time.time(), within=ELSEWHERE_SECONDS)
    await asyncio.gather(*(instance.health(200, 60) for instance in arena.instances))
    for each in asked:
        await arena.result(each)
    await ha.nodes(arena.lab).start(leading)
    blow.tries = 1


async def minority_cut_off(arena: Arena, blow: Try) -> None:
    """The instance's node alone: it reconnects to the majority, and there is no other instance to do its work."""
    await arena.crew(0)
    urls = arena.lab.described["amqp_urls"]
    await arena.start(VESEMIR_AMQP__URLS=",".join(reversed(urls)))
    asked = await staggered(arena, number=3, seconds=1.0)
    blow.look_at(*asked)
    await ha.nodes(arena.lab).partition("rabbit3")
    await _goes_on(arena, blow, since=time.time())
    for each in asked:
        await arena.result(each)
    await ha.nodes(arena.lab).heal("rabbit3")
    await arena.instances[0].health(200, 60)
    blow.tries = 1


async def nodes_restarted(arena: Arena, blow: Try) -> None:
    """A rolling upgrade of the broker, with a deployment about every half second."""
    await arena.crew(2)
    asked: list[Deployment] = []
    over = asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            asked.append(await arena.deploy(boxes=1, seconds=0.3))
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.5)

    loading = asyncio.create_task(load())
    for name in ("rabbit1", "rabbit2", "rabbit3"):
        await ha.nodes(arena.lab).stop(name)
        await ha.nodes(arena.lab).start(name)
    over.set()
    await loading
    blow.look_at(*asked)
    back = time.time()
    await asyncio.gather(*(instance.health(200, 60) for instance in arena.instances))
    blow.recoveries.append(time.time() - back)
    for each in asked:
        await arena.result(each)
        taken = arena.requester.events(each.id, "deployment.taken_over")
        blow.expect(not taken, f"{each.id} was taken over because the broker restarted")
    blow.tries = 1


async def all_brokers_away(arena: Arena, blow: Try) -> None:
    await arena.crew(2)
    asked = await staggered(arena, number=5, seconds=1.0)
    blow.look_at(*asked)
    names = ("rabbit1", "rabbit2", "rabbit3")
    await asyncio.gather(*(ha.kill(arena.lab, name) for name in names))
    await asyncio.gather(*(instance.health(503, 60) for instance in arena.instances))
    await asyncio.sleep(AWAY_SECONDS)
    # Side by side: a node of a cluster that was stopped as a whole waits for the last one that stopped.
    await asyncio.gather(*(ha.nodes(arena.lab).start(name) for name in names))
    back = time.time()
    await asyncio.gather(*(instance.health(200, 90) for instance in arena.instances))
    await _goes_on(arena, blow, since=back)
    for each in asked:
        await arena.result(each)
    blow.tries = len(asked)


async def primary_killed(arena: Arena, blow: Try) -> None:
    await arena.crew(2)
    asked = await staggered(arena, number=5, seconds=1.0)
    blow.look_at(*asked)
    for each in asked:
        await arena.requester.event(each.id, "deployment.accepted", seconds=60)
    await asyncio.sleep(random.uniform(0, 0.5))
    await _fail_over(arena, blow, asked)


async def _fail_over(arena: Arena, blow: Try, asked: list[Deployment]) -> None:
    await ha.kill(arena.lab, "postgres1")
    gone = time.time()
    await ha.nodes(arena.lab).promote()
    blow.strike(*asked)
    await asyncio.gather(*(instance.health(200, 60) for instance in arena.instances))
    await _goes_on(arena, blow, since=gone)
    for each in asked:
        await arena.result(each)
    there = await arena.record.fetchval(
        "SELECT count(*) FROM deployment WHERE deployment_id = ANY($1::text[])", [each.id for each in asked]
    )
    blow.expect(there == len(asked), f"{len(asked)} were accepted, and the new primary has {there}")
    blow.tries = 1


async def commit_in_failover(arena: Arena, blow: Try) -> None:
    """The connection is cut while COMMIT or its answer is on its way, and the primary dies in that moment."""
    await arena.crew(0)
    first = ha.nodes(arena.lab).node("postgres1")
    proxy, _ = await arena.proxy(f"postgresql://{first['address']}:{first['port']}/")
    cutter = CommitCutter(proxy, delivered=random.random() < 0.5)
    proxy.look_up = cutter.look
    through = arena.dsn.replace(f"{first['address']}:{first['port']}", f"127.0.0.1:{proxy.port}")
    await arena.start(VESEMIR_POSTGRES__DSN=through)
    asked = await staggered(arena, number=4, seconds=1.0)
    blow.look_at(*asked)
    for each in asked:
        await arena.requester.event(each.id, "deployment.accepted", seconds=60)
    cutter.armed = True
    async with asyncio.timeout(30):
        while not cutter.cuts:
            await asyncio.sleep(0.005)
    await _fail_over(arena, blow, asked)


async def old_primary_comes_back(arena: Arena, blow: Try) -> None:
    """Writable beside the new one, and then alone: nothing is written to it, and the instances say why they wait."""
    await primary_killed(arena, blow)
    await ha.nodes(arena.lab).start("postgres1")
    database = arena.dsn.partition("?")[0].rpartition("/")[2]
    old = await ha.connected(arena.lab, "postgres1", database)
    try:
        await arena.read_from("postgres2")
        for setting in ("synchronous_standby_names = ''", "autovacuum = off"):
            await old.execute(f"ALTER SYSTEM SET {setting}")
        await old.execute("SELECT pg_reload_conf()")
        blow.expect(not await old.fetchval("SELECT pg_is_in_recovery()"), "the old primary is not writable")
        before = await _transactions(old)
        await arena.start()
        asked = await staggered(arena, number=3, seconds=0.5)
        blow.look_at(*asked)
        for each in asked:
            await arena.result(each)
        await ha.nodes(arena.lab).partition("postgres2")
        try:
            await asyncio.gather(*(instance.health(503, 60) for instance in arena.instances))
        finally:
            await ha.nodes(arena.lab).heal("postgres2")
        await asyncio.gather(*(instance.health(200, 60) for instance in arena.instances))
        after = await _transactions(old)
        blow.expect(before == after, f"the old primary has {after - before} transactions more")
    finally:
        await old.close()


async def _transactions(connection: asyncpg.Connection) -> int:
    """The id of the next transaction that writes: reading takes none."""
    return int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))
