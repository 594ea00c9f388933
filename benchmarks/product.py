"""The whole product under measurement: a lab's broker and database, instances of the daemon, and a requester.

Nothing of production is switched off: host keys are checked, commits are durable, events are published with confirms to
a requester that reads them, and logs and metrics are on.
"""

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from tests.chaos.instance import Instance
from tests.chaos.requester import Requester
from tests.chaos.servers import Lab

from benchmarks.processes import cpu_of, memory_mb, tree_cpu

COMMAND = str(Path(sys.executable).with_name("vesemir"))
RESULT_SECONDS = 600.0

RECIPE = """\
description = "Steps that do nothing, to measure what is around them."
{steps}"""
STEP = '\n[[steps]]\nname = "step{number}"\ncommand = {command}\nidempotent = true\n'


@dataclass(frozen=True, slots=True)
class Rollout:
    """One deployment as it was measured, in seconds; ``result`` is its ``deployment.finished``."""

    wall: float
    daemon_cpu: float
    database_cpu: float
    result: Mapping[str, Any]
    events: int

    @property
    def succeeded(self) -> int:
        return int(self.result["metrics"]["targets_succeeded"])


class Product:
    """Instances that know some hosts. ``groups`` of the inventory are named ``first-N``: its first N hosts."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        requester: Requester,
        *,
        record: "asyncpg.Connection",
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._lab = lab
        self._folder = folder
        self._record = record
        self._command = command
        self._environment = environment
        self.requester = requester
        self.instances: list[Instance] = []

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        lab: Lab,
        folder: Path,
        *,
        inventory: str,
        settings: Mapping[str, str],
        instances: int = 1,
        command: Sequence[str] = (COMMAND, "run"),
    ) -> AsyncIterator["Product"]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipes").mkdir(exist_ok=True)
        (folder / "inventory.toml").write_text(inventory)
        for name, steps in RECIPES.items():
            (folder / "recipes" / f"{name}.toml").write_text(steps)
        given = lab.described["env"]
        namespace = given.get("VESEMIR_AMQP__NAMESPACE", "vesemir")
        async with Requester.connected(lab.amqp_url, namespace, overhears=False) as requester:
            environment = {
                **given,
                "VESEMIR_INVENTORY__FILE": str(folder / "inventory.toml"),
                "VESEMIR_RECIPES__FOLDERS": json.dumps([str(folder / "recipes")]),
                "VESEMIR_LEASE__SECONDS": "60",
                "VESEMIR_LOG__FORMAT": "json",
                **settings,
            }
            record = await asyncpg.connect(lab.described["postgres_dsn"])
            product = cls(lab, folder, requester, record=record, command=command, environment=environment)
            try:
                await asyncio.gather(*(product._start(number) for number in range(instances)))
                yield product
            finally:
                await asyncio.gather(*(instance.stop() for instance in product.instances))
                await product._forget_everything()
                await record.close()

    async def _start(self, number: int) -> None:
        log = self._folder / f"instance{number}.log"
        instance = _ProductionInstance(f"bench{number}", self._environment, log, self._command)
        self.instances.append(instance)
        await instance.start()
        await instance.health(200)

    def cpu(self) -> float:
        return sum(cpu_of(instance.pid) for instance in self.instances)

    def peak_mb(self) -> float:
        return max(memory_mb(instance.pid, "VmHWM") for instance in self.instances)

    def database_cpu(self) -> float:
        return tree_cpu([self._lab.server("postgres").pid])

    async def deploy(self, event: Mapping[str, Any]) -> Rollout:
        """Publish it and wait for its result."""
        before = self.cpu(), self.database_cpu()
        started = time.monotonic()
        await self.requester.deploy(event)
        finished = await self.requester.event(event["deployment_id"], "deployment.finished", seconds=RESULT_SECONDS)
        wall = time.monotonic() - started
        after = self.cpu(), self.database_cpu()
        spent = [late - early for late, early in zip(after, before, strict=True)]
        return Rollout(wall, spent[0], spent[1], finished.body, len(self.requester.events(event["deployment_id"])))

    # -- what the record says

    async def transactions(self) -> int:
        """Committed in this database until now; the server counts a session's when it is idle for a moment."""
        await asyncio.sleep(1.5)
        return int(
            await self._record.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        )

    async def accepted(self) -> int:
        """Deployments that were ever accepted."""
        return int(await self._record.fetchval("SELECT coalesce(sum(arrivals), 0) FROM lane"))

    async def accepted_more_than(self, count: int) -> int:
        """Wait for it; how many there are then."""
        async with asyncio.timeout(RESULT_SECONDS):
            while (now := await self.accepted()) <= count:
                await asyncio.sleep(0.02)
        return now

    async def _forget_everything(self) -> None:
        """The next instances have nothing to go on with."""
        await self._record.execute("TRUNCATE known_request, lane CASCADE")

    # -- what the instances do

    async def stand_still(self) -> None:
        for instance in self.instances:
            instance.signal(signal.SIGSTOP)

    async def go_on(self) -> None:
        for instance in self.instances:
            instance.signal(signal.SIGCONT)

    async def steps_running(self, count: int) -> None:
        """Until so many sessions are open and none is being opened."""
        async with asyncio.timeout(RESULT_SECONDS):
            while True:
                sessions = [await each.measure("vesemir_ssh_sessions") for each in self.instances]
                handshakes = [await each.measure("vesemir_ssh_handshakes") for each in self.instances]
                if sum(sessions) >= count and not sum(handshakes):
                    return
                await asyncio.sleep(0.1)


class _ProductionInstance(Instance):
    """With the logs that production has."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path, command: Sequence[str]) -> None:
        super().__init__(name, environment, log)
        self._command = command

    async def start(self) -> None:
        own = {"VESEMIR_INSTANCE": self.name, "VESEMIR_HTTP__PORT": str(self.port)}
        with self.log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, **self._environment, **own},
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip


def event(group: str, *, recipe: str = "five-steps", concurrency: int | str = "100%", **more: object) -> dict[str, Any]:
    """A deploy event for a group of the inventory."""
    number = uuid.uuid4().hex[:12]
    return {
        "schema": "vesemir.deploy/1",
        "deployment_id": f"bench-{number}",
        "application": f"bench{number[:6]}",
        "environment": "lab",
        "version": "1.0.0",
        "recipe": recipe,
        "targets": {"inventory": {"groups": [group]}},
        "rollout": {"concurrency": concurrency, "min_healthy_seconds": 0},
        **more,
    }


def inventory_text(
    names: Sequence[str], addresses: Sequence[str], port: int, groups: Sequence[int], *, state: Path
) -> str:
    """Hosts with a state folder each, because they share one home."""
    lines = ["[all]", f"port = {port}", 'user = "root"', ""]
    for count in groups:
        lines += [f"[groups.first-{count}]", f"hosts = {json.dumps(list(names[:count]))}", ""]
    for name, address in zip(names, addresses, strict=True):
        lines += [f"[hosts.{name}]", f'address = "{address}"', f"[hosts.{name}.variables]"]
        lines += [f'vesemir_state_dir = "{state / name}"', ""]
    return "\n".join(lines)


def recipe(commands: Sequence[Sequence[str]]) -> str:
    steps = [STEP.format(number=number, command=json.dumps(list(words))) for number, words in enumerate(commands, 1)]
    return RECIPE.format(steps="".join(steps))


RECIPES = {
    "five-steps": recipe([["true"]] * 5),
    "one-step": recipe([["true"]]),
    "megabyte": recipe([["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"]]),
    "stamp": recipe([["sh", "-c", "date +%s.%N"]]),
    "wait": recipe([["sleep", "120"]]),
}
