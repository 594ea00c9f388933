"""Whole deployments with everything that can happen to them, in any order: what may never be, is not.

Hosts fail, hang, are lost; instances die between any two commits, are cut off from the record, hand over; people
cancel, pause and resume; applications die after their targets were done. ``watching.Watch`` holds the promises.
"""

import asyncio
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.unit.engine.onlookers import PREPARE, Watch
from tests.unit.engine.virtual_time import VirtualLoop, on_virtual_time, until
from tests.unit.engine.world import RELEASE, Instance, World, words

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.recipe import Check, Recipe, Step
from vesemir.domain.states import DeploymentState
from vesemir.domain.traffic import AdminState

LOST = FailedError(FailureCode.SSH_CONNECTION_LOST, "the connection is lost")
UNREACHABLE = FailedError(FailureCode.SSH_UNREACHABLE, "no route to host")
FETCH = (Step(PREPARE, words("fetch")),)
STEPS = (PREPARE, "unpack", "switch", "verify", "switch-back")
MOST_INSTANCES = 3

ROLLOUTS = st.fixed_dictionaries(
    {
        "concurrency": st.integers(1, 3),
        "canary": st.integers(0, 2),
        "max_failures": st.integers(0, 2),
        "on_failure": st.sampled_from(["stop", "rollback", "continue"]),
        "mode": st.sampled_from(["batch", "window"]),
        "pause_seconds": st.sampled_from([0, 0, 5]),
        "approve_after": st.sampled_from([None, None, "batch", "group"]),
        "order_by": st.sampled_from([None, "zone"]),
        "min_healthy_seconds": st.sampled_from([0, 0, 3]),
        "prepare": st.sampled_from([None, "all"]),
    }
)
TRAFFIC = st.fixed_dictionaries(
    {
        "weight": st.sampled_from([10, [5, 25]]),
        "degradation_seconds": st.sampled_from([0, 4]),
        "drain_seconds": st.just(5),
    }
)
FATES = st.sampled_from(
    ["fine", "fine", "fine", "fails", "fails once", "hangs", "lost", "unreachable", "sick", "foreign"]
)


CHECKED = replace(
    RELEASE, steps=(*RELEASE.steps[:-1], Step("verify", Check(words("verify"), interval=1.0, deadline=20.0)))
)


class RolloutMachine(RuleBasedStateMachine):
    """One deployment of one application, and up to three instances at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._time = on_virtual_time()
        self._time.__enter__()
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)

    @initialize(
        count=st.integers(1, 5),
        balancers=st.integers(1, 2),
        rollout=ROLLOUTS,
        traffic=st.none() | TRAFFIC,
        min_available=st.sampled_from([0, 1, "50%"]),
        seconds=st.sampled_from([3600, 3600, 15]),
        recipe=st.sampled_from([replace(each, prepare=FETCH) for each in (RELEASE, CHECKED)]),
        data=st.data(),
    )
    def begin(
        self,
        count: int,
        balancers: int,
        rollout: dict[str, Any],
        traffic: dict[str, Any] | None,
        min_available: int | str,
        seconds: int,
        recipe: Recipe,
        data: st.DataObject,
    ) -> None:
        self.traffic = traffic
        self.world = World(count, recipes=(recipe,), balancers=balancers, zones=2)
        if traffic:
            rollout = {**rollout, "min_available": min_available}
        self.watch = Watch(self.world, rollout)
        for target in self.world.targets:
            self._give_fate(target.name, data.draw(FATES), data.draw(st.sampled_from(STEPS)))
        self.watch.remember_traffic()
        self.watch.moves_traffic = traffic is not None
        more: dict[str, Any] = {"traffic": True, "haproxy": traffic} if traffic else {}
        rollout = {name: value for name, value in rollout.items() if value is not None}
        self._run(
            self.world.accept(**more, rollout=rollout, timeouts={"deployment": seconds, "target": 120, "step": 30})
        )
        self._run(self._spawn())

    def _give_fate(self, name: str, fate: str, step: str) -> None:
        hosts = self.world.hosts
        match fate:
            case "fails":
                hosts.steps[f"{name}:{step}"] = failed(1, b"no")
            case "fails once":
                hosts.steps[f"{name}:verify"] = [failed(1, b"not yet"), SUCCEEDED]
            case "hangs":
                hosts.steps[f"{name}:{step}"] = HANGS
            case "lost":
                hosts.steps[f"{name}:{step}"] = [LOST, SUCCEEDED]
            case "unreachable":
                hosts.unreachable[name] = UNREACHABLE
            case "sick":
                for lb in self.world.lbs:
                    lb.by_name[name].healthy = False
                    lb.by_name[name].health = 0
            case "foreign":
                for lb in self.world.lbs:
                    lb.by_name[name].admin = AdminState.MAINT

    def _run(self, work: Any) -> None:
        self._runner.run(work)

    async def _spawn(self) -> None:
        self.world.instance(max_expiries=4)

    @property
    def alive(self) -> list[Instance]:
        return [instance for instance in self.world.instances if instance.alive]

    @property
    def owner(self) -> Instance | None:
        return next((one for one in self.alive if one.name == self.world.row().owner), None)

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 45.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @rule(command=st.sampled_from(["pause", "resume", "resume", "cancel"]))
    def somebody_says(self, command: str) -> None:
        self._run(self.world.control(command))

    @precondition(lambda self: len(self.alive) < MOST_INSTANCES)
    @rule()
    def an_instance_comes(self) -> None:
        self._run(self._spawn())

    @precondition(lambda self: self.owner)
    @rule(commits=st.integers(1, 12), after=st.booleans())
    def the_owner_will_die_around_a_commit(self, commits: int, *, after: bool) -> None:
        assert self.owner is not None
        self.owner.store.dies_at, self.owner.store.after_it = commits, after

    @precondition(lambda self: self.owner)
    @rule()
    def the_owner_dies(self) -> None:
        assert self.owner is not None
        self.owner.kill()

    @precondition(lambda self: self.owner)
    @rule()
    def the_owner_is_cut_off_from_the_record(self) -> None:
        assert self.owner is not None
        self.owner.store.cut_off = True

    @rule()
    def the_record_is_there_for_all(self) -> None:
        for instance in self.world.instances:
            instance.store.cut_off = False

    @precondition(lambda self: self.owner)
    @rule(seconds=st.sampled_from([0.0, 5.0]))
    def the_owner_is_told_to_end(self, seconds: float) -> None:
        owner = self.owner
        assert owner is not None
        self._run(self._drain(owner, seconds))

    async def _drain(self, owner: Instance, seconds: float) -> None:
        async with asyncio.timeout(600):
            await owner.working.drain(seconds)
        owner.kill()

    @rule(number=st.integers(0, 4))
    def a_connection_is_lost(self, number: int) -> None:
        target = self.world.targets[number % len(self.world.targets)]
        self.world.hosts.break_sessions(target.name, LOST)

    @rule(number=st.integers(0, 4))
    def an_application_dies_later(self, number: int) -> None:
        name = self.world.targets[number % len(self.world.targets)].name
        if self.world.statuses_now().get(name) == "succeeded":
            self._run(self._die(name))

    async def _die(self, name: str) -> None:
        self.watch.died(name)
        self.world.hosts.steps[f"{name}:verify.again"] = failed(1, b"refused")
        for lb in self.world.lbs:
            lb.by_name[name].healthy, lb.by_name[name].health = False, 0

    @precondition(lambda self: self.traffic)
    @rule(number=st.integers(0, 1), keep_state=st.booleans())
    def a_load_balancer_is_reloaded(self, number: int, *, keep_state: bool) -> None:
        self._run(self._reload(number, keep_state=keep_state))

    async def _reload(self, number: int, *, keep_state: bool) -> None:
        lb = self.world.lbs[number % len(self.world.lbs)]
        lb.reload(keep_state=keep_state)
        if not keep_state:
            self.watch.reloaded()

    @invariant()
    def nothing_is_broken(self) -> None:
        self.watch.look()
        assert not self.watch.broken, self.watch.broken
        bugs = [line for instance in self.world.instances for line in instance.log.of("exception")]
        assert not bugs, bugs
        self.world.events()

    # --- and at the end ---------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self._run(self._finish())
                self.watch.check_end(moves_traffic=self.traffic is not None)
        finally:
            if hasattr(self, "world"):
                self._run(self.world.__aexit__())
            self._runner.close()
            self._time.__exit__(None, None, None)

    async def _finish(self) -> None:
        """Whatever was done to it, it comes to its end when the causes are gone."""
        self.the_record_is_there_for_all()
        for instance in self.alive:
            instance.store.dies_at = None
        await self._spawn()
        row = self.world.row
        while not row().final:
            if row().state is DeploymentState.PAUSED or row().pause:
                await self.world.control("resume")
            await until(lambda: row().final or row().state is DeploymentState.PAUSED or row().pause)
            await asyncio.sleep(1.5)
        note(f"{row().state}: {[(key, each.state, each.failure) for key, each in row().targets.items()]}")


TestRollouts = RolloutMachine.TestCase
TestRollouts.settings = settings(
    max_examples=60,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
