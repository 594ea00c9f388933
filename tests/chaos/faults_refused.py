"""Faults 35 and 43: the database answers, and cannot be written; in 35 connections to the broker flap meanwhile."""

import asyncio
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

import asyncpg
from tests.chaos.arena import Arena
from tests.chaos.instance import Instance
from tests.chaos.verdict import Try

NOTICED_SECONDS = 10.0
FLAPS = 22
"""More than the delivery limit: were each of them a return, every event would be dropped."""
FLAP_SECONDS = 0.4
LIKELY_FULL = 30
"""Events that need new pages: an instance says that a disk is full when it was refused one, and not before."""
MOST_CONNECTIONS = 500

Blow = Callable[[Arena], AbstractAsyncContextManager[str]]
"""Breaks the record meanwhile; what ``/health`` must say of it."""


async def _executed(arena: Arena, *statements: str) -> None:
    connection = await asyncpg.connect(arena.lab.dsn("postgres"), timeout=20)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _database(arena: Arena) -> str:
    return urlsplit(arena.dsn).path.removeprefix("/")


async def _end_sessions(arena: Arena) -> None:
    ours = f"datname = '{_database(arena)}' AND application_name LIKE 'vesemir%'"
    await _executed(arena, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")  # noqa: S608


@asynccontextmanager
async def read_only(arena: Arena) -> AsyncIterator[str]:
    name = _database(arena)
    await _executed(arena, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await _end_sessions(arena)
    try:
        yield "refuses writes"
    finally:
        await _executed(arena, f"ALTER DATABASE {name} RESET default_transaction_read_only")


@asynccontextmanager
async def locked(arena: Arena) -> AsyncIterator[str]:
    """As an index that somebody makes."""
    connection = await asyncpg.connect(arena.dsn, timeout=20)
    try:
        await connection.execute("BEGIN; LOCK TABLE event IN SHARE MODE")
        yield "holds a lock"
    finally:
        await connection.close()


@asynccontextmanager
async def out_of_connections(arena: Arena) -> AsyncIterator[str]:
    """Somebody takes every connection, also those that the instances had."""
    async with AsyncExitStack() as stack:
        await _end_sessions(arena)
        with suppress(asyncpg.TooManyConnectionsError):
            for _ in range(MOST_CONNECTIONS):
                taken = await asyncpg.connect(arena.lab.dsn("postgres"), timeout=20)
                stack.push_async_callback(taken.close)
                await taken.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'vesemir%'"
                )
        yield "too many"


@asynccontextmanager
async def disk_full(arena: Arena) -> AsyncIterator[str]:
    """The record lies on a small file system of its own (as root; else ``read_only``), which somebody fills."""
    if os.geteuid() != 0:
        async with read_only(arena) as words:
            yield words
        return
    connection = await asyncpg.connect(arena.dsn, timeout=20)
    try:
        await connection.execute("CREATE TABLE somebody_elses (filler text)")
        with suppress(asyncpg.DiskFullError):
            while True:
                await connection.execute(
                    "INSERT INTO somebody_elses SELECT repeat(md5(random()::text), 60) FROM generate_series(1, 20)"
                )
        yield "No space left"
        await connection.execute("DROP TABLE somebody_elses; CHECKPOINT")
    finally:
        await connection.close()


async def small_disk(arena: Arena) -> None:
    """The arena's database on a file system of 40 MB, as long as the arena lasts; before an instance is connected."""
    server, name = arena.lab.server("postgres"), _database(arena)
    folder = arena.logs.parent / f"disk-{name}"
    if os.geteuid() != 0 or folder.exists():
        return
    folder.mkdir()
    owner = f"uid={server.user},gid={server.groups[0]},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=40m,{owner}", "tmpfs", folder], check=True)  # noqa: ASYNC221
    ours = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608

    async def back() -> None:
        await _executed(arena, ours, f"ALTER DATABASE {name} SET TABLESPACE pg_default")
        await _executed(arena, f"DROP TABLESPACE small_{name}")
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: ASYNC221

    arena.stack.push_async_callback(back)
    await _executed(arena, f"CREATE TABLESPACE small_{name} LOCATION '{folder}'", ours)
    await _executed(arena, f"ALTER DATABASE {name} SET TABLESPACE small_{name}")


async def flaps(arena: Arena, blow: Try) -> None:
    await arena.crew(0)
    limit = ("set_policy", arena.name, f"^{arena.name}\\.", '{"delivery-limit":20}', "--apply-to", "queues")
    await arena.lab.control(*limit)
    proxies = []
    for _ in range(2):
        proxy, url = await arena.proxy(arena.lab.amqp_url)
        proxies.append(proxy)
        await arena.start(VESEMIR_AMQP__URL=url)
    async with read_only(arena):
        asked = [await arena.deploy(boxes=1, seconds=0.2) for _ in range(6)]
        blow.look_at(*asked)
        await asyncio.gather(*(instance.health(503, NOTICED_SECONDS) for instance in arena.instances))
        for _ in range(FLAPS):
            for proxy in proxies:
                proxy.cut()
            await asyncio.sleep(FLAP_SECONDS)
    await _goes_on(arena, blow)
    for each in asked:
        await arena.result(each)
    blow.tries = 1


async def refuses(arena: Arena, blow: Try) -> None:
    """Each of the four in turn, at random."""
    await arena.crew(0)
    kind: Blow = random.choice((disk_full, read_only, out_of_connections, locked))
    if kind is disk_full:
        await small_disk(arena)
    await asyncio.gather(*(arena.start() for _ in range(2)))
    async with kind(arena) as words:
        asked = [await arena.deploy(boxes=1, seconds=0.2) for _ in range(3)]
        if kind is disk_full:  # the first ones may find room in pages that are there
            asked += [await arena.deploy(boxes=1, seconds=0.2) for _ in range(LIKELY_FULL)]
        blow.look_at(*asked)
        reasons = await asyncio.gather(*(_reason(instance, words) for instance in arena.instances))
    blow.expect(all(words in reason for reason in reasons), f"{kind.__name__}: /health says {reasons}")
    await _goes_on(arena, blow)
    for each in asked:
        await arena.result(each)
    blow.tries = 1


async def _reason(instance: Instance, words: str) -> str:
    """Why ``/health`` says 503: the first reason with these words, else the last one within the time."""
    reason = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(NOTICED_SECONDS):
            while words not in reason:
                answer = await instance.health(503, NOTICED_SECONDS)
                reason = str(answer["parts"]["database"].get("detail", ""))
                await asyncio.sleep(0.05)
    return reason


async def _goes_on(arena: Arena, blow: Try) -> None:
    over = time.time()
    await asyncio.gather(*(instance.health(200, 60) for instance in arena.instances))
    blow.recoveries.append(time.time() - over)
