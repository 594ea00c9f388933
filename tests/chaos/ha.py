"""What a lab with ``--ha`` has beyond the others: its nodes, and a door that leads to any living broker."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from tests.chaos.servers import Lab, alive, descendants

from vesemir.lab.nodes import LabNodes

DOOR_SECONDS = 5.0


def nodes(lab: Lab) -> LabNodes:
    """As they are now: ``lab.json`` is read anew."""
    return LabNodes.of(lab.folder)


async def kill(lab: Lab, name: str) -> None:
    """SIGKILL to the whole tree of a node at once; returns when all of it is gone."""
    pid = int(nodes(lab).node(name)["pid"])
    victims = [pid, *descendants(pid)]
    for each in victims:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    async with asyncio.timeout(20):
        while any(alive(each) for each in victims):
            await asyncio.sleep(0.02)


async def leader(lab: Lab, queue: str) -> str:
    """The node that leads a quorum queue."""
    for node in nodes(lab).lab["rabbitmq_nodes"]:
        with suppress(Exception):
            listed = await nodes(lab).control(node["name"], "list_queues", "name", "leader", "--silent")
            rows = dict(line.split("\t") for line in listed.splitlines() if "\t" in line)
            return rows[queue].partition("@")[0]
    raise RuntimeError(f"no node says who leads {queue}")


async def connected(lab: Lab, name: str, database: str) -> asyncpg.Connection:
    """To one server of the two, whatever it is now."""
    return await asyncpg.connect(alone(lab, name, database), timeout=10)


def alone(lab: Lab, name: str, database: str) -> str:
    """The DSN of one server."""
    node = nodes(lab).node(name)
    parts = urlsplit(lab.described["postgres_dsn"])
    login = parts.netloc.rpartition("@")[0]
    place = f"{login}@{node['address']}:{node['port']}"
    return str(urlunsplit(parts._replace(netloc=place, path=f"/{database}", query="")))


@asynccontextmanager
async def door(urls: list[str]) -> AsyncIterator[str]:
    """The URL of a door behind which the first broker is that takes the connection: for a client that knows one URL."""
    places = [(str(urlsplit(url).hostname), int(urlsplit(url).port or 0)) for url in urls]
    passing: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        passing.add(task)
        task.add_done_callback(passing.discard)
        with suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await _first(places)
            ways = [
                asyncio.create_task(_pass(reader, far_writer)),
                asyncio.create_task(_pass(far_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                far_writer.transport.abort()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    parts = urlsplit(urls[0])
    login, port = parts.netloc.rpartition("@")[0], server.sockets[0].getsockname()[1]
    try:
        yield urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _first(places: list[tuple[str, int]]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Of those that take a connection; a paused node refuses."""
    for host, port in places:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(DOOR_SECONDS):
                return await asyncio.open_connection(host, port)
    raise OSError("no broker takes connections")


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
