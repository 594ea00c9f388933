"""A TCP proxy that fails on demand: cut, blackhole, one way, delay, a look at what passes (to drop or cut there)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Look = Callable[[bytes], bytes]
"""What to pass on instead of a piece. Raises ``Cut`` to end the connection there."""

HEADER_BYTES = 7
METHOD_FRAME = 1
BASIC_ACK = b"\x00\x3c\x00\x50"


class Cut(Exception):  # noqa: N818 - not an error: a wish
    """End this connection. ``last`` is still passed on before."""

    def __init__(self, last: bytes = b"") -> None:
        self.last = last


class ChaosProxy:
    """Forwards to one address. ``upwards`` and ``downwards`` are events: cleared, that direction is a black hole."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._target_port = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.delay = 0.0
        self.upwards, self.downwards = asyncio.Event(), asyncio.Event()
        self.look_up: Callable[[], Look] | None = None
        self.look_down: Callable[[], Look] | None = None
        self.heal()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def blackhole(self) -> None:
        self.upwards.clear()
        self.downwards.clear()

    def heal(self) -> None:
        self.upwards.set()
        self.downwards.set()

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
        self._writers.add(writer)
        ways: list[asyncio.Task[None]] = []
        try:
            await self.upwards.wait()
            far_reader, far_writer = await asyncio.open_connection(self._host, self._target_port)
            self._writers.add(far_writer)
            up = self.look_up() if self.look_up else None
            down = self.look_down() if self.look_down else None
            ways = [
                asyncio.create_task(self._forward(reader, far_writer, self.upwards, up)),
                asyncio.create_task(self._forward(far_reader, writer, self.downwards, down)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._writers.discard(far_writer)
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event, look: Look | None
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await passing.wait()
                try:
                    writer.write(piece if look is None else look(piece))
                except Cut as cut:
                    writer.write(cut.last)
                    await writer.drain()
                    return
                await writer.drain()


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[ChaosProxy]:
    proxy = ChaosProxy(host, port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()


class ConfirmDropper:
    """Drops the next publisher confirms: ``Basic.Ack`` frames from the broker (AMQP 0-9-1, 4.2.3 and 1.8.3.13)."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.dropped = 0

    def look(self) -> Look:
        waiting = bytearray()

        def passed(piece: bytes) -> bytes:
            waiting.extend(piece)
            out = bytearray()
            while len(waiting) >= HEADER_BYTES:
                size = HEADER_BYTES + int.from_bytes(waiting[3:7], "big") + 1
                if len(waiting) < size:
                    break
                whole = bytes(waiting[:size])
                del waiting[:size]
                if self.left > 0 and whole[0] == METHOD_FRAME and whole[7:11] == BASIC_ACK:
                    self.left -= 1
                    self.dropped += 1
                else:
                    out += whole
            return bytes(out)

        return passed


class CommitCutter:
    """Cuts the connection at the next COMMIT: before it reaches the server, or after, so that its answer is lost."""

    def __init__(self, proxy: ChaosProxy, *, delivered: bool) -> None:
        self._proxy = proxy
        self._delivered = delivered
        self.armed = False
        self.cuts = 0

    def look(self) -> Look:
        def passed(piece: bytes) -> bytes:
            if self.armed and b"COMMIT" in piece:
                self.armed = False
                self.cuts += 1
                if self._delivered:
                    self._proxy.downwards.clear()
                    asyncio.get_running_loop().call_later(0.1, self._finish)
                    return piece
                raise Cut
            return piece

        return passed

    def _finish(self) -> None:
        self._proxy.cut()
        self._proxy.downwards.set()
