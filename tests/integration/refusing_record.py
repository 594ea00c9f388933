"""Whole instances on a real RabbitMQ and PostgreSQL, for what happens while the record refuses writes.

Each instance has a proxy to RabbitMQ of its own, which is cut for a flap, and a spy before its intake, which sees how
often each event was returned (``x-delivery-count``).
"""

import asyncio
import json
import shutil
import socket
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import asyncssh
from tests.integration.postgres_server import PostgresServer
from tests.integration.rabbit_server import RabbitServer
from tests.integration.ssh_server import Sshd
from tests.integration.tcp_proxy import TcpProxy, proxied

from vesemir.adapters.amqp.broker import CONSUME_PART
from vesemir.composition import built_parts
from vesemir.engine.messages.intake import Intake
from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.service import Service
from vesemir.settings import Settings

_RECIPE = """description = "Runs and changes nothing."
[[steps]]
name = "nothing"
command = ["true"]
idempotent = true
"""


class SpiedIntake(Intake):
    """Sees each event, and how often it was returned."""

    def __init__(self, real: Intake, returns: Counter[str]) -> None:
        self._real = real
        self._returns = returns

    async def handle(self, message: IncomingMessage) -> None:
        counted = message.headers.get("x-delivery-count") or 0
        assert isinstance(counted, int)
        name = str(json.loads(message.body)["deployment_id"])
        self._returns[name] = max(self._returns[name], counted)
        await self._real.handle(message)

    async def refuse_as_bug(self, message: IncomingMessage, error: Exception) -> None:
        await self._real.refuse_as_bug(message, error)


@dataclass
class RunningInstance:
    """One instance in this process."""

    proxy: TcpProxy
    health: HealthRegistry
    port: int

    async def flap(self) -> None:
        """Its connections are cut, and it has connected again."""
        before = self._consumes_since()
        self.proxy.cut()
        await met(lambda: self.health.is_up(CONSUME_PART) and self._consumes_since() != before)

    def _consumes_since(self) -> object:
        return next(part.since for part in self.health.parts if part.name == CONSUME_PART)

    async def get(self, path: str) -> tuple[int, dict[str, object]]:
        """Status and JSON body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        return int(head.split()[1]), json.loads(body)

    async def reason(self) -> str:
        """What ``/health`` says of the record; "" where it takes work."""
        status, body = await self.get("/health")
        parts = body["parts"]
        assert isinstance(parts, dict)
        return "" if status == 200 else str(parts["database"].get("detail") or body)


@dataclass
class Site:
    """Made by ``site_opened``. ``returns`` counts by deployment, as far as an instance saw it."""

    rabbit: RabbitServer
    server: PostgresServer
    dsn: str
    namespace: str
    instances: list[RunningInstance] = field(default_factory=list)
    returns: Counter[str] = field(default_factory=Counter)
    pooled_dsn: str | None = None
    """By which the instances reach the record, where that is not ``dsn``."""

    @property
    def database(self) -> str:
        return urlsplit(self.dsn).path.removeprefix("/")

    async def limit_deliveries(self, limit: int) -> None:
        """As RabbitMQ 4 does by default."""
        pattern, rule = f"^{self.namespace}\\.", json.dumps({"delivery-limit": limit})
        arguments = ("set_policy", self.namespace, pattern, rule, "--apply-to", "queues")
        await asyncio.to_thread(self.rabbit.control, *arguments)

    async def healthy(self, *, seconds: float = 20.0) -> None:
        for each in self.instances:
            await met(lambda each=each: each.health.takes_work, seconds=seconds)  # type: ignore[misc]

    async def unhealthy(self, *, seconds: float = 10.0) -> None:
        for each in self.instances:
            await met(lambda each=each: not each.health.takes_work, seconds=seconds)  # type: ignore[misc]

    async def ask(self, number: int, *, application: str = "") -> list[str]:
        """So many deploy events, each confirmed by the broker and in a lane of its own, or of that application."""
        made = [f"{self.namespace}-{uuid.uuid4().hex[:8]}" for _ in range(number)]
        async with await aio_pika.connect(self.rabbit.url) as connection:
            channel = await connection.channel()
            for name in made:
                await channel.default_exchange.publish(
                    aio_pika.Message(json.dumps(_event(name, application or name)).encode()),
                    f"{self.namespace}.deployments",
                )
        return made

    async def accepted(self, names: list[str], *, seconds: float = 20.0) -> int:
        """How many of them are in the record; waits until all are."""
        connection = await asyncpg.connect(self.dsn, timeout=10)
        try:
            give_up = time.monotonic() + seconds
            while True:
                found = await connection.fetchval(
                    "SELECT count(*) FROM known_request WHERE deployment_id = ANY($1)", names
                )
                if found == len(names) or time.monotonic() > give_up:
                    return int(found)
                await asyncio.sleep(0.05)  # the record can only be asked
        finally:
            await connection.close()

    async def refuse(self) -> None:
        """The database refuses writes, also on connections that are open."""
        await self.server.execute(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        await self._end_sessions()

    async def unhealthy_because(self, reason: str, *, seconds: float = 10.0) -> None:
        """``/health`` of each instance says 503, and why."""
        async with asyncio.timeout(seconds):
            for each in self.instances:
                while reason not in await each.reason():  # noqa: ASYNC110 - the health can only be asked
                    await asyncio.sleep(0.1)

    async def take(self) -> None:
        await self.server.execute(f"ALTER DATABASE {self.database} RESET default_transaction_read_only")

    async def _end_sessions(self) -> None:
        ours = f"datname = '{self.database}'"
        await self.server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")  # noqa: S608


@asynccontextmanager
async def site_opened(
    rabbit: RabbitServer,
    server: PostgresServer,
    dsn: str,
    folder: Path,
    *,
    instances: int = 2,
    pooled_dsn: str | None = None,
    box: Sshd | None = None,
    **postgres: object,
) -> AsyncIterator[Site]:
    """``box`` is the host that is deployed to; without one it is away. ``postgres`` are settings of that section."""
    site = Site(rabbit, server, dsn, f"t{uuid.uuid4().hex[:8]}", pooled_dsn=pooled_dsn)
    _furnish(folder, box)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for number in range(instances):
            proxy = await stack.enter_async_context(proxied(rabbit.port))
            await _begin(stack, tasks, site, _settings(site, proxy, folder, postgres), proxy, number)
        yield site


def _furnish(folder: Path, box: Sshd | None) -> None:
    key, known = folder / "id_ed25519", folder / "known_hosts"
    if box is None:
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
        known.touch()
        host = 'address = "127.0.0.1"\nport = 1\n'
    else:
        shutil.copy(box.client_key, key)
        shutil.copy(box.known_hosts, known)
        own = f'[hosts.web1.variables]\nvesemir_state_dir = "{box.state}"\n'
        host = f'address = "{box.address}"\nport = {box.port}\nuser = "{box.user}"\n{own}'
    key.chmod(0o600)
    (folder / "inventory.toml").write_text(f"[hosts.web1]\n{host}")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "nothing.toml").write_text(_RECIPE)


async def _begin(
    stack: AsyncExitStack, tasks: asyncio.TaskGroup, site: Site, settings: Settings, proxy: TcpProxy, number: int
) -> None:
    name = f"{site.namespace}-{number}/1"
    outside, engine = await stack.enter_async_context(built_parts(settings, instance=name))
    spied = replace(engine, intake=SpiedIntake(engine.intake, site.returns))
    service = Service(settings, outside, spied)
    running = tasks.create_task(service.run(), name=name)

    async def end() -> None:
        service.stop()
        service.stop()
        await running

    stack.push_async_callback(end)
    site.instances.append(RunningInstance(proxy, outside.health, settings.http.port))


def _settings(site: Site, proxy: TcpProxy, folder: Path, postgres: dict[str, object]) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(
        amqp={"url": site.rabbit.url_at(proxy.port), "namespace": site.namespace, "heartbeat_seconds": 2},
        postgres={"dsn": site.pooled_dsn or site.dsn, **postgres},
        http={"port": port},
        ssh={"client_key": folder / "id_ed25519", "known_hosts": folder / "known_hosts"},
        inventory={"file": folder / "inventory.toml"},
        recipes={"folders": (folder / "recipes",)},
        limits={"shutdown_seconds": 1},
    )


def _event(name: str, application: str) -> dict[str, object]:
    return {
        "schema": "vesemir.deploy/1",
        "deployment_id": name,
        "application": application,
        "environment": "test",
        "version": "1",
        "recipe": "nothing",
        "targets": {"hosts": ["web1"]},
    }


async def met(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """For the health, which can only be asked."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def refused(site: Site) -> AsyncIterator[None]:
    """The database refuses writes meanwhile."""
    await site.refuse()
    try:
        yield
    finally:
        await site.take()
