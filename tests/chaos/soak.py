"""The soak: hundreds of small deployments through three instances, with faults injected all the time.

One instance, the survivor, is hit by what comes from outside only: its connections are cut and go silent. The other two
are killed, stopped, terminated and replaced. At the end every deployment has one result; the record, the events and the
boxes agree; and the survivor has grown in nothing.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import table
from tests.chaos.arena import LEASE_SECONDS, Arena, Deployment
from tests.chaos.instance import Instance
from tests.chaos.proxy import ChaosProxy
from tests.chaos.servers import lab_up
from tests.chaos.verdict import Score, Try, judged

LANES = 24
AT_ONCE = 12
WARM = 60
"""Deployments before the first measurement."""
PAUSE_SECONDS = (0.2, 1.5)
GROWN_KIB, GROWN_TASKS, GROWN_DESCRIPTORS = 30 * 1024, 12, 12


@dataclass(frozen=True, slots=True)
class Footprint:
    """What an instance holds, at rest; ``connections`` are those of all instances to the database."""

    memory_kib: int
    tasks: int
    descriptors: int
    connections: int

    @classmethod
    async def of(cls, instance: Instance, arena: Arena) -> "Footprint":
        query = (  # of all three: the server does not know them apart
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'vesemir%'"
        )
        return cls(
            instance.memory_kib("VmRSS"),
            int(await instance.measure("vesemir_tasks")),
            instance.descriptors(),
            await arena.record.fetchval(query),
        )

    def grown(self, before: "Footprint") -> list[str]:
        pairs = (
            ("memory (KiB)", self.memory_kib - before.memory_kib, GROWN_KIB),
            ("tasks", self.tasks - before.tasks, GROWN_TASKS),
            ("descriptors", self.descriptors - before.descriptors, GROWN_DESCRIPTORS),
            ("connections", self.connections - before.connections, GROWN_DESCRIPTORS),
        )
        return [f"{name} grew by {by}, allowed {most}" for name, by, most in pairs if by > most]


@dataclass
class Soak:
    arena: Arena
    survivor: Instance
    proxies: dict[str, ChaosProxy]
    mortal: list[Instance]
    variables: dict[str, str]
    births: set[asyncio.Task[None]] = field(default_factory=set)
    blow: Try = field(default_factory=Try)
    injected: Counter[str] = field(default_factory=Counter)

    async def deployments(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            lane = f"soak-{number % LANES}"
            asked = await self.arena.deploy(boxes=random.choice((1, 2)), seconds=0.2, lane=lane)
            self.blow.look_at(asked)
            await self._result(asked)

    async def _result(self, asked: Deployment) -> None:
        try:
            await self.arena.result(asked)
        except TimeoutError:
            return  # the verdict says so

    async def faults(self) -> None:
        """For ever, one after the other."""
        acts: list[Callable[[], Awaitable[None]]] = [
            self.kill, self.terminate, self.stop, self.cut, self.cut, self.silence, self.delay
        ]  # fmt: skip
        while True:
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
            act = random.choice(acts)
            self.injected[act.__name__] += 1
            await act()

    def _victim(self) -> Instance | None:
        return random.choice(self.mortal) if self.mortal else None

    def _replace(self, gone: Instance) -> None:
        self.arena.instances.remove(gone)
        birth = asyncio.create_task(self._born(), name="a new instance")
        self.births.add(birth)
        birth.add_done_callback(self.births.discard)

    async def _born(self) -> None:
        self.mortal.append(await self.arena.start(**self.variables))

    async def kill(self) -> None:
        if victim := self._victim():
            self.mortal.remove(victim)
            await victim.kill()
            self._replace(victim)

    async def terminate(self) -> None:
        if victim := self._victim():
            self.mortal.remove(victim)
            if await victim.stop() != 0:
                self.blow.troubles.append(f"{victim.name} ended with {victim.process.returncode} after SIGTERM")
            self._replace(victim)

    async def stop(self) -> None:
        if victim := self._victim():
            victim.signal(signal.SIGSTOP)
            await asyncio.sleep(LEASE_SECONDS * 1.3)
            victim.signal(signal.SIGCONT)

    async def cut(self) -> None:
        random.choice(list(self.proxies.values())).cut()

    async def silence(self) -> None:
        proxy = random.choice(list(self.proxies.values()))
        proxy.blackhole()
        await asyncio.sleep(random.uniform(0.5, LEASE_SECONDS))
        proxy.heal()
        proxy.cut()

    async def delay(self) -> None:
        proxy = random.choice(list(self.proxies.values()))
        proxy.delay = 0.05
        await asyncio.sleep(1.0)
        proxy.delay = 0.0


async def _begun(arena: Arena) -> Soak:
    broker, amqp_url = await arena.proxy(arena.lab.amqp_url)
    record, dsn = await arena.proxy(arena.dsn)
    boxes, variables = await arena.ssh_proxies([box["name"] for box in arena.lab.boxes])
    through = {"VESEMIR_AMQP__URL": amqp_url, "VESEMIR_POSTGRES__DSN": dsn, **variables}
    survivor = await arena.start(**through)
    mortal = [await arena.start(**variables), await arena.start(**variables)]
    return Soak(arena, survivor, {"broker": broker, "record": record, **boxes}, mortal, variables)


async def _rested(soak: Soak) -> Footprint:
    """Nothing runs, everything is published: what is held now is held for nothing."""
    await soak.survivor.health(200, 90)
    async with asyncio.timeout(120):
        while await soak.arena.record.fetchval(
            "SELECT (SELECT count(*) FROM deployment WHERE finished_at IS NULL) + "
            "(SELECT count(*) FROM destination WHERE NOT done)"
        ):
            await asyncio.sleep(0.2)
    return await Footprint.of(soak.survivor, soak.arena)


def _left_on_boxes(arena: Arena, deployments: int) -> list[str]:
    """A lane has three files, a deployment one folder of markers until it is pruned; nothing else stays."""
    troubles = []
    for box in arena.lab.boxes:
        state = arena.lab.state_folder(box["name"])
        lanes, steps = list((state / "lanes").iterdir()), list((state / "steps").iterdir())
        incoming, half = list((state / "incoming").iterdir()), list(state.rglob("*.new"))
        if len(lanes) > 3 * LANES or len(steps) > deployments or incoming or half:
            troubles.append(f"{box['name']}: {len(lanes)} lane files, {len(steps)} folders, left: {incoming + half}")
    return troubles


async def soak(folder: Path, tries: int) -> tuple[str, bool]:
    """``tries`` deployments."""
    score, begun = Score("soak", f"{tries} deployments, faults all the time"), time.monotonic()
    async with lab_up(folder / "lab", boxes=6) as lab, Arena.opened(lab) as arena:
        soaked = await _begun(arena)
        numbers = iter(range(tries))
        warm = iter([next(numbers) for _ in range(min(WARM, tries))])
        await _with_faults(soaked, warm)
        before = await _rested(soaked)
        await _with_faults(soaked, numbers)
        after = await _rested(soaked)
        soaked.blow.troubles += after.grown(before) + _left_on_boxes(arena, tries)
        finished = await arena.record.fetchval("SELECT count(*) FROM event WHERE name = 'deployment.finished'")
        soaked.blow.expect(finished == tries, f"{finished} results in the record for {tries} deployments")
        soaked.blow.expect(soaked.survivor.running, "the survivor ended")
        soaked.blow.tries = tries
        await judged(score, soaked.blow, arena)
    lines = [
        table.markdown([score]),
        "",
        f"{time.monotonic() - begun:.0f} s, {sum(soaked.injected.values())} faults: {dict(soaked.injected)}",
        f"the surviving instance after {WARM} deployments: {before}",
        f"the surviving instance after {tries} deployments: {after}",
        *score.troubles,
    ]
    return "\n".join(lines), score.broken


async def _with_faults(soaked: Soak, numbers: Iterator[int]) -> None:
    """Until all these deployments have ended; then the faults end too, each in good order."""
    injecting = asyncio.create_task(soaked.faults(), name="faults")
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(soaked.deployments(numbers))
    finally:
        injecting.cancel()
        await asyncio.gather(injecting, *soaked.births, return_exceptions=True)
        for proxy in soaked.proxies.values():
            proxy.heal()
            proxy.delay = 0.0
        for instance in soaked.mortal:
            instance.signal(signal.SIGCONT)
