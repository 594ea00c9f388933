"""Two deployments on one backend, by several instances: together they never take out more than what may be missing.

Servers die by themselves and come back, HAProxy is reloaded, instances die and are replaced. Whatever happens, nobody
drains a server while fewer others are UP than must stay, and both come to their end.
"""

import asyncio
from functools import partial
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fakes.hosts import failed
from tests.unit.engine.onlookers import CapacityWatch, check_order
from tests.unit.engine.virtual_time import VirtualLoop, on_virtual_time, until
from tests.unit.engine.world import Instance, World

from vesemir.domain.share import Share

NAMES = ("d1", "d2")
MOST_INSTANCES = 3


class CapacityMachine(RuleBasedStateMachine):
    """``shop`` and ``cart`` live on different boxes and are served by the same backend."""

    def __init__(self) -> None:
        super().__init__()
        self._time = on_virtual_time()
        self._time.__enter__()
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)

    @initialize(
        count=st.integers(3, 6),
        balancers=st.integers(1, 2),
        concurrency=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        min_available=st.sampled_from([1, 2, "50%", "66%"]),
        mode=st.sampled_from(["batch", "window"]),
        weight=st.none() | st.just([5, 25]),
        bad=st.sets(st.integers(1, 6), max_size=1),
    )
    def begin(
        self,
        count: int,
        balancers: int,
        concurrency: tuple[int, int],
        min_available: int | str,
        mode: str,
        weight: list[int] | None,
        bad: set[int],
    ) -> None:
        self.world = World(count, balancers=balancers)
        self.watch = CapacityWatch(self.world, Share.of(min_available))
        names = [target.name for target in self.world.targets]
        for number in bad:
            self.world.hosts.steps[f"web{number}:switch"] = failed(1, b"no")
        haproxy: dict[str, Any] = {"drain_seconds": 5}
        if weight is not None:
            haproxy |= {"weight": weight, "degradation_seconds": 4}
        for name, application, own, at_once in zip(
            NAMES, ("shop", "cart"), (names[::2], names[1::2]), concurrency, strict=True
        ):
            self._run(
                self.world.accept(
                    name,
                    application=application,
                    targets={"hosts": own},
                    traffic=True,
                    haproxy=haproxy,
                    rollout={
                        "concurrency": at_once, "min_available": min_available, "mode": mode, "max_failures": "100%",
                    },
                    timeouts={"deployment": 7200},
                )
            )  # fmt: skip
        self._run(self._spawn())
        self._run(self._spawn())

    def _run(self, work: Any) -> None:
        self._runner.run(work)

    async def _spawn(self) -> None:
        self.world.instance(max_expiries=9, deployments=1)

    @property
    def alive(self) -> list[Instance]:
        return [instance for instance in self.world.instances if instance.alive]

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.0, 3.0, 10.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @rule(number=st.integers(0, 5))
    def a_server_dies(self, number: int) -> None:
        self._set(number, healthy=False)

    @rule(number=st.integers(0, 5))
    def a_server_comes_back(self, number: int) -> None:
        self._set(number, healthy=True)

    def _set(self, number: int, *, healthy: bool) -> None:
        self._run(self._become(number, healthy=healthy))

    async def _become(self, number: int, *, healthy: bool) -> None:
        name = self.world.targets[number % len(self.world.targets)].name
        if not healthy:
            self.watch.died(name)
        for lb in self.world.lbs:
            lb.by_name[name].healthy = healthy
            if not healthy:
                lb.by_name[name].health = 0

    @rule(number=st.integers(0, 1))
    def a_load_balancer_is_reloaded(self, number: int) -> None:
        self._run(self._reload(number))

    async def _reload(self, number: int) -> None:
        self.world.lbs[number % len(self.world.lbs)].reload(keep_state=True)

    @precondition(lambda self: len(self.alive) > 1)
    @rule(number=st.integers(0, 2))
    def an_instance_dies(self, number: int) -> None:
        self.alive[number % len(self.alive)].kill()

    @precondition(lambda self: len(self.alive) < MOST_INSTANCES)
    @rule()
    def an_instance_comes(self) -> None:
        self._run(self._spawn())

    @invariant()
    def nothing_is_broken(self) -> None:
        assert not self.watch.broken, self.watch.broken
        assert not self.world.bugs()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self._run(self._finish())
        finally:
            if hasattr(self, "world"):
                self._run(self.world.__aexit__())
            self._runner.close()
            self._time.__exit__(None, None, None)

    def _is_final(self, name: str) -> bool:
        return self.world.row(name).final

    async def _finish(self) -> None:
        """When every server is well again both come to their end."""
        for number in range(len(self.world.targets)):
            await self._become(number, healthy=True)
        await self._spawn()
        await self._spawn()
        for name in NAMES:
            await until(partial(self._is_final, name))
            row = self.world.row(name)
            note(f"{name} {row.state}: {[(key, each.state, each.failure) for key, each in row.targets.items()]}")
            check_order(self.world.events(name))
            assert all(each.finished for each in row.targets.values())
        assert not self.watch.broken, self.watch.broken


TestCapacity = CapacityMachine.TestCase
TestCapacity.settings = settings(
    max_examples=40,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
