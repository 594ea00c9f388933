"""A small world on the fakes: one record, some hosts and HAProxys, and instances that come, die and are cut off."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.fakes.hosts import FakeHosts, FakeSession
from tests.fakes.inventory import FakeInventory
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeLoadBalancers, FakeServer
from tests.fakes.record import Record, Row
from tests.fakes.store import FakeStore
from tests.published import validate_event
from tests.unit.engine.virtual_time import until

from vesemir.contract import stored_request
from vesemir.domain.policy import ALLOW_ALL
from vesemir.domain.recipe import Recipe, Script, Step, Words
from vesemir.domain.request import Timeouts
from vesemir.domain.states import TargetState
from vesemir.domain.step import Command, Direction, StepKey, StepResult, StepTrace
from vesemir.domain.target import Target
from vesemir.domain.template import Template
from vesemir.domain.traffic import AdminState
from vesemir.engine.deployment.worker import Worker
from vesemir.engine.limits import EngineLimits, LeaseTimes
from vesemir.engine.ownership.leases import Leases
from vesemir.engine.ownership.secret_parameters import Seal
from vesemir.engine.ports.changes import Change
from vesemir.engine.ports.hosts import Host, HttpAnswer, Ticket
from vesemir.engine.ports.observe import SilentMeters
from vesemir.engine.ports.records import Json, NewDeployment
from vesemir.engine.ports.store import Claim, ControlAnswer, ControlCommand, StoreAwayError
from vesemir.engine.target.context import EnginePorts

LEASE_SECONDS = 60.0
CAPS = Timeouts(deployment=7200, target=3600, step=3600)
LIMITS = EngineLimits(
    lease=LeaseTimes(LEASE_SECONDS),
    settle_seconds=30,
    capacity_seconds=300,
    up_seconds=60,
    max_expiries=5,
    deployments=10,
    targets=100,
    output_bytes=65536,
    approval_seconds=24 * 3600,
    pause_seconds=7 * 24 * 3600,
    caps=CAPS,
)


def words(*command: str) -> Words:
    return Words(tuple(map(Template.parse, command)))


RELEASE = Recipe(
    name="release",
    steps=(
        Step("unpack", words("unpack", "{version}")),
        Step("switch", words("switch", "{version}"), idempotent=False),
        Step("verify", Script("verify"), retries=1),
    ),
    rollback=(Step("switch-back", words("switch", "--back")),),
)
ONE_STEP = Recipe(name="one-step", steps=(Step("switch", words("switch")),))


class Book:
    """Recipes in memory."""

    def __init__(self, *recipes: Recipe) -> None:
        self.known = {recipe.name: recipe for recipe in recipes}
        self.texts = {(recipe.name, recipe.source): recipe for recipe in recipes if recipe.source}
        self.refreshed = 0

    @property
    def names(self) -> Sequence[str]:
        return sorted(self.known)

    def get(self, name: str) -> Recipe | None:
        return self.known.get(name)

    def recorded(self, name: str, source: str) -> Recipe | None:
        """Texts are looked up, not read."""
        return self.texts.get((name, source))

    def refresh(self) -> None:
        self.refreshed += 1


class Rules:
    """A policy in memory."""

    def __init__(self) -> None:
        self.current = ALLOW_ALL
        self.refreshed = 0

    def refresh(self) -> None:
        self.refreshed += 1


class Lines:
    """A log that keeps what it was told: (level, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def _say(self, level: str, message: str, fields: dict[str, object]) -> None:
        self.lines.append((level, message.format(**fields)))

    def debug(self, message: str, **fields: object) -> None:
        self._say("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        self._say("info", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        self._say("warning", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._say("error", message, fields)

    def exception(self, message: str, **fields: object) -> None:
        self._say("exception", message, fields)

    def context(self, **fields: object) -> contextlib.AbstractContextManager[object]:
        del fields
        return contextlib.nullcontext()

    def hiding(self, take_out: Callable[[str], str]) -> contextlib.AbstractContextManager[object]:
        del take_out
        return contextlib.nullcontext()

    def of(self, level: str) -> list[str]:
        return [text for its, text in self.lines if its == level]


class InstanceStore(FakeStore):
    """One instance's view, which may be cut off, and which can stop for ever around a commit as a killed process does.

    ``dies_at`` counts commits: the one that makes it 0 is the last, or the one with a change that ``dies_with`` names;
    ``after_it`` says whether it is made.
    """

    def __init__(self, record: Record, *, instance: str) -> None:
        super().__init__(record, instance=instance)
        self.cut_off = False
        self.dead = False
        self.dies_at: int | None = None
        self.after_it = False
        self.dies_with: Callable[[Change], bool] = lambda _change: False
        self.on_death: Callable[[], None] = lambda: None
        self.groups: list[list[Change]] = []

    async def turn(self) -> float:
        if self.dead:
            await asyncio.Event().wait()
        if self.cut_off:
            raise StoreAwayError("the database is away")
        return await super().turn()

    async def commit(self, claim: Claim, changes: Sequence[Change]) -> None:
        if self.dies_at is not None:
            self.dies_at -= 1
        last = self.dies_at is not None and self.dies_at <= 0
        if not self.dead and (last or any(map(self.dies_with, changes))):
            await self._die(claim, changes)
        await super().commit(claim, changes)
        self.groups.append(list(changes))

    async def _die(self, claim: Claim, changes: Sequence[Change]) -> None:
        if self.after_it:
            await super().commit(claim, changes)
        self.dead = True
        self.on_death()
        await asyncio.Event().wait()


class _SlowHost:
    """A session whose steps take time; the step is marked as started before it."""

    def __init__(self, inner: FakeSession, hosts: "SlowHosts") -> None:
        self._inner = inner
        self._hosts = hosts

    @property
    def connect_seconds(self) -> float:
        return self._inner.connect_seconds

    async def trace(self, key: StepKey) -> StepTrace:
        return await self._inner.trace(key)

    async def run(self, key: StepKey, command: Command) -> StepResult:
        inner = self._inner
        if inner.usable:
            self._hosts.on_run(inner.name, key, inner.ticket)
            await inner.take_time(key, self._hosts.step_seconds)
        return await inner.run(key, command)

    def recorded(self) -> None:
        self._inner.recorded()

    async def upload(self, source: Path, name: str) -> str:
        return await self._inner.upload(source, name)

    async def write(self, content: bytes, name: str) -> str:
        return await self._inner.write(content, name)

    async def http_get(self, url: str, *, timeout: float) -> HttpAnswer:
        return await self._inner.http_get(url, timeout=timeout)

    async def tcp_connect(self, host: str, port: int, *, timeout: float) -> None:
        await self._inner.tcp_connect(host, port, timeout=timeout)


@dataclass
class SlowHosts(FakeHosts):
    """Steps take ``step_seconds``; ``on_run`` hears of each before it begins."""

    step_seconds: float = 1.0
    on_run: Callable[[str, StepKey, Ticket], None] = lambda _target, _key, _ticket: None

    @asynccontextmanager
    async def open(self, target: Target, ticket: Ticket) -> AsyncIterator[Host]:
        async with super().open(target, ticket) as host:
            assert isinstance(host, FakeSession)
            yield _SlowHost(host, self)

    def begun(self, target: str, step: str) -> list[StepKey]:
        """The tries of a step that a host knows to have begun."""
        return [key for key in self.box(target).started if key.step == step]

    def break_sessions(self, name: str, reason: Exception) -> None:
        """Whatever is connected to that host is not any more."""
        for holder in list(self.box(name).holders.values()):
            holder.end(reason)  # type: ignore[arg-type]


@dataclass
class Instance:
    """One process. ``store`` is how it can be made to die."""

    name: str
    store: InstanceStore
    leases: Leases
    working: Worker
    log: Lines
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def kill(self) -> None:
        """As ``kill -9``: nothing that it still does has an effect."""
        self.store.dead = True
        for task in self.tasks:
            task.cancel()

    @property
    def alive(self) -> bool:
        return not self.store.dead


class World:
    """``async with World(...) as world``: made within a running loop."""

    def __init__(
        self, targets: int = 3, *, recipes: Sequence[Recipe] = (RELEASE, ONE_STEP), balancers: int = 1, zones: int = 1
    ) -> None:
        names = [f"web{number}" for number in range(1, targets + 1)]
        self.record = Record()
        self.hosts = SlowHosts()
        self.lbs = [
            FakeLoadBalancer(f"lb{number}", [FakeServer(name) for name in names]) for number in range(1, balancers + 1)
        ]
        self.targets = [
            Target(name, f"127.0.0.{number}", 22, "deploy", {"zone": f"z{number % zones}"}, "test")
            for number, name in enumerate(names, start=1)
        ]
        boxes = [Target(lb.name, "127.0.1.1") for lb in self.lbs]
        self.inventory = FakeInventory(
            [*self.targets, *boxes], groups={"web": names, "lb": [lb.name for lb in self.lbs], "empty": []}
        )
        self.book = Book(*recipes)
        self.rules = Rules()
        self.meters = SilentMeters()
        self.seal: Seal | None = None
        self.instances: list[Instance] = []
        self._numbers = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: object = None, error: object = None, _trace: object = None) -> None:
        """Whatever a test looks at, all that its deployments published is the contract's."""
        for instance in self.instances:
            instance.kill()
        tasks = [task for instance in self.instances for task in instance.tasks]
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in self.record.rows if error is None else ():
            self.events(name)

    async def artifact_seen(self, url: str) -> str:
        """How a download looks from every instance."""
        return f"HTTP status 200 of {url}"

    def ports(self, store: InstanceStore, log: Lines) -> EnginePorts:
        return EnginePorts(
            store=store,
            hosts=self.hosts,
            balancers=FakeLoadBalancers(*self.lbs),
            inventory=self.inventory,
            recipes=self.book,
            policies=self.rules,
            log=log,
            meters=self.meters,
            redact=lambda text: text,
            artifact=lambda url: Path(url.removeprefix("file://")),
            artifact_seen=self.artifact_seen,
            seal=self.seal,
        )

    def instance(self, **limits: Any) -> Instance:
        """Another process; it runs at once."""
        self._numbers += 1
        name = f"host/{self._numbers}"
        store, log = InstanceStore(self.record, instance=name), Lines()
        leases = Leases(store, owner=name, times=LIMITS.lease, log=log, meters=self.meters)
        working = Worker(
            leases,
            ports=self.ports(store, log),
            limits=replace(LIMITS, **limits),
            read_request=partial(stored_request, caps=CAPS),
            on_event=lambda: None,
        )
        instance = Instance(name, store, leases, working, log)
        store.on_death = instance.kill
        for work in (leases.keep(), leases.fence(), leases.listen(), working.run()):
            instance.tasks.append(asyncio.create_task(work, name=f"{name} {work.__qualname__}"))
        self.instances.append(instance)
        return instance

    # --- requests ---------------------------------------------------------------------------------------------------

    def event(self, name: str = "d1", *, traffic: bool = False, **more: Any) -> dict[str, Any]:
        """A deploy event's body; ``traffic`` True or the fields of ``haproxy``."""
        body: dict[str, Any] = {
            "schema": "vesemir.deploy/1",
            "deployment_id": name,
            "application": "shop",
            "environment": "production",
            "version": "2.0.0",
            "recipe": "release",
            "targets": {"inventory": {"groups": ["web"]}},
        }
        if traffic:
            body["haproxy"] = {"targets": {"inventory": {"groups": ["lb"]}}, "backend": "shop", "server": "{name}"}
        for key, value in more.items():
            body[key] = {**body[key], **value} if isinstance(value, dict) and key == "haproxy" else value
        return body

    async def accept(
        self, name: str = "d1", *, sealed: bytes | None = None, defaults: Json | None = None, **more: Any
    ) -> None:
        """Without ``defaults`` as an instance of release 0.1 accepted it."""
        body = self.event(name, **more)
        stored_request(body, defaults, caps=CAPS)
        new = NewDeployment(
            deployment_id=name,
            body_hash=name.encode(),
            request=body,
            application=body["application"],
            environment=body["environment"],
            version=body["version"],
            recipe=body["recipe"],
            team=None,
            requested_by=None,
            sealed=sealed,
            defaults=defaults,
        )
        await FakeStore(self.record, instance="host/0").accept(new, None)
        for instance in self.instances:
            instance.working.wake()

    async def control(self, command: str, name: str = "d1") -> ControlAnswer:
        store = FakeStore(self.record, instance="host/0")
        answer, _ = await store.control(ControlCommand(command, name, "somebody", "because"))
        for instance in self.instances:
            instance.leases.hint()
        return answer

    # --- what came of it --------------------------------------------------------------------------------------------

    def row(self, name: str = "d1") -> Row:
        return self.record.rows[name]

    def events(self, name: str = "d1") -> list[dict[str, Any]]:
        """All so far, each found to be one of the contract's."""
        bodies = [dict(event.body) for event in self.row(name).events]
        for body in bodies:
            validate_event(body)
        assert [body["sequence"] for body in bodies] == list(range(1, len(bodies) + 1))
        return bodies

    def told(self, event: str, name: str = "d1") -> list[dict[str, Any]]:
        return [body for body in self.events(name) if body["event"] == event]

    def names(self, name: str = "d1") -> list[str]:
        return [body["event"] for body in self.events(name)]

    async def told_of(self, event: str, name: str = "d1", *, count: int = 1) -> dict[str, Any]:
        """Wait for it."""
        await until(lambda: [stored.name for stored in self.row(name).events].count(event) >= count)
        return self.told(event, name)[count - 1]

    async def result(self, name: str = "d1") -> dict[str, Any]:
        """``deployment.finished``, the only one."""
        await until(lambda: self.row(name).final)
        (finished,) = self.told("deployment.finished", name)
        assert self.names(name)[-1] == "deployment.finished"
        assert finished["status"] == self.row(name).state.value
        return finished

    def statuses(self, name: str = "d1") -> dict[str, str]:
        return {target["name"]: target["status"] for target in self.told("deployment.finished", name)[0]["targets"]}

    def statuses_now(self, name: str = "d1") -> dict[str, str]:
        """How the targets stand on the way forward."""
        rows = self.row(name).targets.items()
        return {target: row.state.value for (direction, target), row in rows if direction is Direction.FORWARD}

    def state(self, target: str, name: str = "d1", direction: Direction = Direction.FORWARD) -> TargetState:
        return self.row(name).targets[direction, target].state

    def bugs(self) -> list[str]:
        """What instances had no explanation for: a target that fails by a bug looks like any other that fails."""
        return [text for instance in self.instances for text in instance.log.of("exception")]

    def server(self, name: str, lb: int = 0) -> FakeServer:
        return self.lbs[lb].by_name[name]

    def shown(self, name: str) -> list[tuple[AdminState, int]]:
        """(state, weight) on every HAProxy."""
        return [(lb.by_name[name].admin, lb.by_name[name].user_weight) for lb in self.lbs]


@asynccontextmanager
async def one_instance(targets: int = 3, **more: Any) -> AsyncIterator[World]:
    """A world with one instance in it."""
    async with World(targets, **more) as world:
        world.instance()
        yield world


READY = (AdminState.READY, 100)
DRAINED = (AdminState.DRAIN, 100)
