"""A TCP proxy that can fall silent, cut its connections or refuse new ones: a network that fails on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpProxy:
    """Forwards to one port. ``to_server`` and ``to_client`` are events: cleared, that direction is a black hole."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.to_server = asyncio.Event()
        self.to_client = asyncio.Event()
        self.to_server.set()
        self.to_client.set()

    async def listen(self) -> None:
        """On the same port as before, if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def connections(self) -> int:
        return len(self._writers) // 2

    async def refuse(self) -> None:
        """Listen no more and cut what is there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def lead_to(self, target_port: int) -> None:
        """Another server from now on, as an address that moves in a failover."""
        self._target_port = target_port
        self.cut()

    def blackhole(self) -> None:
        self.to_server.clear()
        self.to_client.clear()

    def heal(self) -> None:
        self.to_server.set()
        self.to_client.set()

    async def close(self) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, RuntimeError, asyncio.CancelledError):  # RuntimeError: uvloop, on a closed socket
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers |= {writer, far_writer}
            ways = (
                asyncio.create_task(self._forward(reader, far_writer, self.to_server)),
                asyncio.create_task(self._forward(far_reader, writer, self.to_client)),
            )
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                for end in (writer, far_writer):
                    self._writers.discard(end)
                    end.transport.abort()

    @staticmethod
    async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event) -> None:
        while piece := await reader.read(65536):
            await passing.wait()
            writer.write(piece)
            await writer.drain()
        raise ConnectionAbortedError("one end has closed: the other is closed too")


@asynccontextmanager
async def proxied(target_port: int) -> AsyncIterator[TcpProxy]:
    proxy = TcpProxy(target_port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
