"""Where faults happen: a namespace in the broker and a database of its own, instances, and a requester that watches.

Several arenas live in one lab without knowing each other, so that faults that wait a lot can be tried side by side.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from tests.chaos import ha, oracle
from tests.chaos.instance import Instance
from tests.chaos.proxy import ChaosProxy, proxied
from tests.chaos.requester import Requester
from tests.chaos.servers import Lab

LEASE_SECONDS = 4.0
RESULT_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One that was asked for; ``boxes`` are the names of its targets."""

    id: str
    lane: str
    boxes: tuple[str, ...]
    event: Mapping[str, Any]


@dataclass
class Arena:
    """Made by ``opened``."""

    lab: Lab
    name: str
    dsn: str
    requester: Requester
    record: "asyncpg.Pool[asyncpg.Record]"
    logs: Path
    stack: AsyncExitStack
    lease: float = LEASE_SECONDS
    armed: int = 4
    """Instances that are to die at a failpoint, at a time."""
    instances: list[Instance] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    """Of every instance that is started from now on."""
    _ordinary: list[Instance] = field(default_factory=list)
    _number: int = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, lab: Lab, *, lease: float = LEASE_SECONDS) -> AsyncIterator["Arena"]:
        name = f"c{secrets.token_hex(3)}"
        async with AsyncExitStack() as stack:
            dsn = await lab.new_database()
            record = await stack.enter_async_context(
                asyncpg.create_pool(dsn, min_size=0, max_size=4, timeout=20, command_timeout=20)
            )
            several = lab.described.get("amqp_urls")
            url = await stack.enter_async_context(ha.door(several)) if several else lab.amqp_url
            requester = await stack.enter_async_context(Requester.connected(url, name, replicated=bool(several)))
            logs = lab.folder.parent / "logs"
            logs.mkdir(exist_ok=True)
            arena = cls(lab, name, dsn, requester, record, logs, stack, lease)
            try:
                yield arena
            finally:
                await asyncio.gather(*(instance.stop() for instance in arena.instances))

    # --- instances

    def environment(self, **own: str) -> dict[str, str]:
        lease = {"VESEMIR_LEASE__SECONDS": str(self.lease)}
        names = {"VESEMIR_AMQP__NAMESPACE": self.name, "VESEMIR_POSTGRES__DSN": self.dsn}
        return {**self.lab.described["env"], **self.lab.bytecode, **lease, **names, **self.variables, **own}

    async def start(self, **own: str) -> Instance:
        """One more instance, healthy, with these variables beside the usual ones."""
        made = await self.begin(**own)
        await made.health(200)
        return made

    async def begin(self, **own: str) -> Instance:
        """The same, healthy or not."""
        self._number += 1
        name = f"{self.name}-{self._number}"
        made = Instance(name, self.environment(**own), self.logs / f"{name}.log")
        await made.start()
        self.instances.append(made)
        return made

    async def crew(self, number: int) -> list[Instance]:
        """So many ordinary instances that run and are healthy, and no others."""
        gone = [instance for instance in self.instances if not instance.running or instance not in self._ordinary]
        await asyncio.gather(*(instance.stop() for instance in gone))
        self.instances = [instance for instance in self.instances if instance not in gone]
        missing = number - len(self.instances)
        self._ordinary += await asyncio.gather(*(self.start() for _ in range(missing)))
        await asyncio.gather(*(instance.health(200) for instance in self.instances))
        return self.instances

    async def read_from(self, node: str) -> None:
        """The suite's own look at the record, at one server of a lab with several."""
        dsn = ha.alone(self.lab, node, self.dsn.partition("?")[0].rpartition("/")[2])
        self.record = await self.stack.enter_async_context(
            asyncpg.create_pool(dsn, min_size=0, max_size=4, timeout=20, command_timeout=20)
        )

    # --- proxies

    async def proxy(self, url: str) -> tuple[ChaosProxy, str]:
        """A proxy before the server of a URL, and the URL that leads through it."""
        parts = urlsplit(url)
        made = await self.stack.enter_async_context(proxied(str(parts.hostname), int(parts.port or 0)))
        login = f"{parts.username}:{parts.password}@" if parts.username else ""
        return made, urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{made.port}"))

    async def ssh_proxies(self, boxes: Sequence[str]) -> tuple[dict[str, ChaosProxy], dict[str, str]]:
        """A proxy before each box's sshd, and the variables of an instance that goes through them."""
        folder = self.logs / f"{self.name}-ssh-{secrets.token_hex(3)}"
        folder.mkdir()
        known = Path(self.lab.described["known_hosts"]).read_text().splitlines()
        proxies, lines, tables = {}, list(known), []
        for box in self.lab.boxes:
            host, port = box["address"], box["port"]
            if box["name"] in boxes:
                made = await self.stack.enter_async_context(proxied(host, port))
                proxies[box["name"]] = made
                key = next(line.split(" ", 1)[1] for line in known if line.startswith(f"[{host}]:{port} "))
                host, port = "127.0.0.1", made.port
                lines.append(f"[{host}]:{port} {key}")
            state = self.lab.state_folder(box["name"])
            own = {"root": box["root"], "vesemir_state_dir": str(state)}
            tables.append(f'[hosts.{box["name"]}]\naddress = "{host}"\nport = {port}\nuser = "{box["user"]}"\n')
            tables.append(f"[hosts.{box['name']}.variables]\n")
            tables += [f"{name} = {json.dumps(value)}\n" for name, value in own.items()]
        (folder / "inventory.toml").write_text("".join(tables))
        (folder / "known_hosts").write_text("\n".join(lines) + "\n")
        variables = {
            "VESEMIR_INVENTORY__FILE": str(folder / "inventory.toml"),
            "VESEMIR_SSH__KNOWN_HOSTS": str(folder / "known_hosts"),
        }
        return proxies, variables

    # --- deployments

    def event(
        self, *, boxes: int | Sequence[str] = 2, seconds: float = 1.0, lane: str | None = None, during: str = "",
        concurrency: int = 1, idempotent: bool = True, **own: Any,
    ) -> Deployment:  # fmt: skip
        """A deploy event of the lab's script recipe, in a lane of its own unless one is named."""
        deployment_id = f"{self.name}-{secrets.token_hex(5)}"
        application = lane or f"app-{secrets.token_hex(4)}"
        names = [box["name"] for box in self.lab.boxes]
        chosen = tuple(random.sample(names, boxes) if isinstance(boxes, int) else boxes)
        event = {
            "schema": "vesemir.deploy/1",
            "deployment_id": deployment_id,
            "application": application,
            "environment": "chaos",
            "version": "1.0.0",
            "recipe": "lab-script",
            "parameters": {
                "script": oracle.script(seconds, during=during),
                "argument": oracle.argument(deployment_id, f"{application}/chaos"),
                "idempotent": idempotent,
            },
            "targets": {"hosts": list(chosen)},
            "rollout": {"concurrency": concurrency},
            **own,
        }
        return Deployment(deployment_id, f"{application}/chaos", chosen, event)

    async def deploy(self, **own: Any) -> Deployment:
        made = self.event(**own)
        await self.requester.deploy(made.event)
        return made

    async def result(self, deployment: Deployment, *, seconds: float = RESULT_SECONDS) -> Mapping[str, Any]:
        """The one ``deployment.finished``. Raises ``TimeoutError``."""
        return (await self.requester.event(deployment.id, "deployment.finished", seconds=seconds)).body

    async def owner(self, deployment: Deployment) -> Instance | None:
        """Which of our instances has it now, by the record."""
        name = await self.record.fetchval("SELECT owner FROM deployment WHERE deployment_id = $1", deployment.id)
        return next((each for each in self.instances if name and name.startswith(f"{each.name}/")), None)

    async def owned(self, deployment: Deployment, *, seconds: float = 60) -> Instance:
        """Wait until one of our instances has it."""
        async with asyncio.timeout(seconds):
            while (found := await self.owner(deployment)) is None:
                await asyncio.sleep(0.02)
        return found

    def runs(self, deployment: Deployment) -> list[oracle.Run]:
        roots = [Path(box["root"]) for box in self.lab.boxes]
        return oracle.read(roots, deployment.lane).of(deployment.id)

    async def running(self, deployment: Deployment, *, seconds: float = 60) -> oracle.Run:
        """Wait until a step of it runs on a box."""
        found: list[oracle.Run] = []

        def started() -> bool:
            found[:] = [run for run in self.runs(deployment) if not run.ended]
            return bool(found)

        await until(started, seconds=seconds, what=f"{deployment.id} runs on a box")
        return found[-1]


async def until(condition: Callable[[], bool], *, seconds: float, what: str) -> float:
    """Wait for something outside that nobody tells of; how long it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - begun
