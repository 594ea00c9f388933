"""A TCP proxy before PostgreSQL that cuts connections at a chosen moment, or swallows everything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Proxy:
    """``cut_before``, ``cut_after``: cut once, before or after the server did what a message with this text asks."""

    dsn: str
    cut_before: bytes | None = None
    cut_after: bytes | None = None
    blackhole: bool = False
    cuts: int = 0
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def forward(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it or it is cut."""
        target = urlsplit(self.dsn)
        server, out = await asyncio.open_connection(target.hostname, target.port)
        answers = asyncio.create_task(_copy(server, back, self))
        try:
            while chunk := await client.read(65536):
                if self.blackhole:
                    continue
                if self.cut_before and self.cut_before in chunk:
                    self.cut_before = None
                    break
                if self.cut_after and self.cut_after in chunk:
                    self.cut_after = None
                    answers.cancel()
                    await asyncio.wait([answers])
                    out.write(chunk)
                    await server.read(65536)  # it has answered, so it has done it; the client never hears
                    break
                out.write(chunk)
                await out.drain()
            else:
                return
            self.cuts += 1
        except OSError:
            return
        finally:
            answers.cancel()
            out.transport.abort()
            back.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, proxy: Proxy) -> None:
    try:
        while chunk := await source.read(65536):
            if not proxy.blackhole:
                sink.write(chunk)
                await sink.drain()
        sink.close()
    except OSError:
        return


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """The proxy and the DSN that leads through it."""
    proxy = Proxy(dsn)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        proxy.tasks.add(task)
        try:
            await proxy.forward(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            proxy.tasks.discard(task)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    old = urlsplit(dsn)
    try:
        yield proxy, old._replace(netloc=f"{old.username}@127.0.0.1:{port}").geturl()
    finally:
        listener.close()
        waiting = list(proxy.tasks)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
