"""A private HAProxy in a temporary folder, tiny applications behind it, and a relay that needs no SSH.

Import the fixture into a test module: ``from tests.integration.haproxy_server import haproxies``. It makes servers, and
ends what it made.
"""

import asyncio
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target

# The frontend has the backend's name on purpose: HAProxy takes the frontend first where a command names "shop".
_CONFIGURATION = """
global
    stats socket {socket} mode 600 level admin expose-fd listeners
    stats socket {socket}.operator mode 600 level operator
    {more_sockets}
    hard-stop-after 5s
    {state_file}
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    {load_state}
frontend shop
    bind 127.0.0.1:{port}
    default_backend shop
backend shop
    balance {algorithm}
    {options}
    option httpchk GET /health
    default-server check inter 100ms rise 2 fall 3 weight 100
{servers}
{more}
"""
_DEADLINE_SECONDS = 15.0
_ASK_AGAIN_SECONDS = 2.0


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what has no event."""
    async with asyncio.timeout(_DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)


class TinyApp:
    """Answers ``GET /health`` by ``healthy`` and everything else by its name; ``/slow`` only after ``release``.

    ``/500`` is a server error, ``/close`` gets no answer, ``/half`` one that breaks off.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.healthy = True
        self.port = 0
        self.answered = 0
        self.slow_began = asyncio.Event()
        self.slow_now = 0
        self.held_seconds: list[float] = []
        """Of each answered ``/slow``: from its arrival to its answer."""
        self.release = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.release.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            if path == b"/slow":
                await self._hold()
            if path == b"/half":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
                await writer.drain()
            if path in (b"/half", b"/close"):
                return
            status = b"200 OK" if path != b"/health" or self.healthy else b"503 Service Unavailable"
            if path == b"/500":
                status = b"500 Internal Server Error"
            self.answered += path != b"/health"
            body = self.name.encode()
            writer.write(b"HTTP/1.0 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _hold(self) -> None:
        began = time.monotonic()
        self.slow_now += 1
        self.slow_began.set()
        await self.release.wait()
        self.slow_now -= 1
        self.held_seconds.append(time.monotonic() - began)


class HaproxyServer:
    """One HAProxy, master and worker. ``keep_state``: a reload dumps the servers' state first, as production should."""

    def __init__(self, folder: Path, name: str, *, keep_state: bool) -> None:
        self.name = name
        self.folder = folder
        self.socket = folder / f"{name}.sock"
        self.port = _free_port()
        self.address = f"127.0.0.1:{_free_port()}"
        self.master = folder / f"{name}.master"
        self._keep_state = keep_state
        self._process: asyncio.subprocess.Process | None = None

    @property
    def target(self) -> Target:
        """As an inventory would give it."""
        return Target(self.name, "127.0.0.1", variables={"haproxy_socket": str(self.socket)})

    async def start(
        self,
        servers: Mapping[str, str],
        *,
        algorithm: str = "roundrobin",
        options: str = "",
        more: str = "",
        tcp: bool = False,
    ) -> None:
        """``servers``: what follows each name in a ``server`` line. ``more``: further sections. ``tcp``: with a runtime
        socket at an ``address``, and a ``master`` socket."""
        state = self.folder / f"{self.name}.state"
        state.touch()
        file = self.folder / f"{self.name}.cfg"
        file.write_text(
            _CONFIGURATION.format(
                socket=self.socket,
                more_sockets=f"stats socket ipv4@{self.address} level admin" if tcp else "",
                port=self.port,
                state_file=f"server-state-file {state}" if self._keep_state else "",
                load_state="load-server-state-from-file global" if self._keep_state else "",
                algorithm=algorithm,
                options=options,
                servers="\n".join(f"    server {name} {line}" for name, line in servers.items()),
                more=more,
            )
        )
        log = await asyncio.to_thread((self.folder / f"{self.name}.log").open, "wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                "haproxy", "-W", *(["-S", str(self.master)] if tcp else []), "-f", str(file), stdout=log, stderr=log
            )
        await eventually(self._answers)

    async def ask(self, command: str) -> str:
        return await ask_socket(str(self.socket), command)

    async def process_id(self) -> str:
        return next(line for line in (await self.ask("show info")).splitlines() if line.startswith("Pid:"))

    async def reload(self) -> None:
        """Returns when the new process answers. A master that has only just started may miss the signal."""
        assert self._process is not None
        before = await self.process_id()
        if self._keep_state:
            dumped = await self.ask("show servers state")
            await asyncio.to_thread((self.folder / f"{self.name}.state").write_text, dumped)
        asked = -_ASK_AGAIN_SECONDS

        async def changed() -> bool:
            nonlocal asked
            if await self._answers() and await self.process_id() != before:
                return True
            if time.monotonic() - asked > _ASK_AGAIN_SECONDS and self._process is not None:
                asked = time.monotonic()
                self._process.send_signal(signal.SIGUSR2)
            return False

        await eventually(changed)

    async def stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def get(self, path: str = "/") -> tuple[int, str]:
        """Status and body of a request through the frontend; 0 and nothing if it was closed without a word."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n".encode())
            answer = (await reader.read()).decode()
        finally:
            writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return (int(head.split(" ")[1]), body) if head else (0, "")

    async def version(self) -> str:
        """Its own, ``2.6.12-1+deb12u2`` for instance."""
        info = await self.ask("show info")
        return next(line.partition(": ")[2] for line in info.splitlines() if line.startswith("Version: "))

    async def _answers(self) -> bool:
        try:
            return "Pid:" in await self.ask("show info")
        except OSError:
            return False


class DirectRelay:
    """A relay to sockets of this machine."""

    def __init__(self) -> None:
        self.cut = False

    async def ask(self, socket: str, line: str, *, timeout: float) -> str:
        if self.cut:
            raise FailedError(FailureCode.SSH_CONNECTION_LOST, "the connection was cut")
        try:
            async with asyncio.timeout(timeout):
                return await ask_socket(socket, line)
        except OSError as error:
            raise FailedError(FailureCode.HAPROXY_UNREACHABLE, f"{socket}: {error}") from error


class DirectHosts:
    """The part of ``Hosts`` that load balancers need. ``refuse``: nothing can be reached any more."""

    def __init__(self) -> None:
        self.relays: list[DirectRelay] = []
        self.refuse = False

    @asynccontextmanager
    async def relay(self, target: Target) -> AsyncIterator[DirectRelay]:
        if self.refuse:
            raise FailedError(FailureCode.SSH_UNREACHABLE, f"{target.name} does not answer")
        self.relays.append(DirectRelay())
        yield self.relays[-1]


async def ask_socket(path: str, line: str) -> str:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(line.encode() + b"\n")
        return (await reader.read()).decode()
    finally:
        writer.close()


class Haproxies:
    """Makes servers and applications in one folder; what it made is ended with it."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack

    async def app(self, name: str) -> TinyApp:
        app = TinyApp(name)
        await app.start()
        self._stack.push_async_callback(app.stop)
        return app

    async def apps(self, count: int) -> dict[str, TinyApp]:
        return {f"web{number}": await self.app(f"web{number}") for number in range(1, count + 1)}

    async def haproxy(
        self,
        servers: Mapping[str, str],
        *,
        name: str = "lb1",
        algorithm: str = "roundrobin",
        options: str = "",
        more: str = "",
        tcp: bool = False,
        keep_state: bool = True,
    ) -> HaproxyServer:
        server = HaproxyServer(self._folder, name, keep_state=keep_state)
        self._stack.push_async_callback(server.stop)
        await server.start(servers, algorithm=algorithm, options=options, more=more, tcp=tcp)
        return server


def address_of(apps: Mapping[str, TinyApp], *, more: str = "") -> dict[str, str]:
    """``server`` lines for applications."""
    return {name: f"127.0.0.1:{app.port} {more}" for name, app in apps.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def haproxies() -> AsyncIterator[Haproxies]:
    if shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None:
        pytest.skip("haproxy is not installed")
    # A short path: a UNIX socket's may have about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="vsm-haproxy-"))
    try:
        async with AsyncExitStack() as stack:
            yield Haproxies(folder, stack)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
