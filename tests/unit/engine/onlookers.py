"""Watches a world while a deployment runs, and writes down every broken promise of contract and design."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain, pairwise
from typing import Any

from tests.fakes.loadbalancer import FakeLoadBalancer
from tests.unit.engine.virtual_time import BEGINNING
from tests.unit.engine.world import DRAINED, READY, World

from vesemir.domain.share import Share
from vesemir.domain.states import FAILURES, TargetState
from vesemir.domain.step import Direction, StepKey
from vesemir.domain.traffic import AdminState, HaproxyProcess, ServerState
from vesemir.domain.traffic_capacity import available_besides, needed_besides
from vesemir.engine.deployment.look_again import AGAIN_SECONDS
from vesemir.engine.ports.hosts import Ticket
from vesemir.engine.ports.records import TargetRecord
from vesemir.engine.traffic.watch import WATCH_SECONDS

FORWARD, BACK = Direction.FORWARD, Direction.BACK
ENDED_BADLY = FAILURES | {TargetState.CANCELLED}
PREPARE = "fetch"
"""A step of ``prepare``."""
COMMAND_SECONDS = 0.001
COUNTING_SECONDS = 0.1
"""More than it takes from counting who is there to having drained."""


class WatchedBalancer(FakeLoadBalancer):
    """Takes a moment for everything; ``on_drain`` hears of each server that was available and is not ready any more.

    One that came UP between being looked at and drained took nothing away when it was looked at.
    """

    def __init__(self, inner: FakeLoadBalancer, on_drain: Callable[[str], None]) -> None:
        super().__init__(inner.name, list(inner.by_name.values()))
        self._on_drain = on_drain
        self._absent: dict[str, float] = {}

    async def servers(self, backend: str) -> Mapping[str, ServerState]:
        await asyncio.sleep(COMMAND_SECONDS)
        shown = await super().servers(backend)
        now = asyncio.get_running_loop().time()
        self._absent.update({name: now for name, state in shown.items() if not state.is_available})
        return shown

    async def process(self) -> HaproxyProcess:
        await asyncio.sleep(COMMAND_SECONDS)
        return await super().process()

    async def set_state(self, backend: str, server: str, state: AdminState) -> None:
        await asyncio.sleep(COMMAND_SECONDS)
        counted = self._absent.get(server, float("-inf")) < asyncio.get_running_loop().time() - COUNTING_SECONDS
        drained = counted and self.by_name[server].admin is AdminState.READY and state is not AdminState.READY
        await super().set_state(backend, server, state)
        if drained:
            self._on_drain(server)


class CapacityWatch:
    """Whoever drains leaves enough others that are there, whichever deployment and instance it is.

    Made before any instance of the world. ``broken`` must stay empty.
    """

    def __init__(self, world: World, min_available: Share) -> None:
        self.broken: list[str] = []
        self.excused = False
        """After a reload that forgot who was out, who is drained again is not counted again."""
        self._world = world
        self._min_available = min_available
        self._died: dict[str, float] = {}
        world.lbs[:] = [WatchedBalancer(lb, self._on_drain) for lb in world.lbs]

    def died(self, name: str) -> None:
        """By itself, and perhaps in the moment between being counted and another one's drain."""
        self._died[name] = asyncio.get_running_loop().time()

    def _on_drain(self, name: str) -> None:
        if self.excused or self._is_broken(name):
            return
        now = asyncio.get_running_loop().time()
        views = [{server.name: server.state("") for server in lb.by_name.values()} for lb in self._world.lbs]
        there = available_besides(views, [name])
        there += sum(at > now - COUNTING_SECONDS for server, at in self._died.items() if server != name)
        needed = needed_besides(views, self._min_available)
        if there < needed:
            self.broken.append(f"{name} drained although only {there} others are there, and {needed} must be")

    def _is_broken(self, name: str) -> bool:
        """What failed in mid-work is taken out, however few are left."""
        rows = self._world.record.rows.values()
        return any(
            each.touched for row in rows for (_, its), each in row.targets.items() if its == name and _in_work(each)
        )


class Watch:
    """``broken`` must stay empty. Made before any instance of the world."""

    def __init__(self, world: World, rollout: Mapping[str, Any]) -> None:
        self.world = world
        self._rollout = rollout
        self._concurrency: int = rollout["concurrency"]
        self._switched: Counter[tuple[str, StepKey]] = Counter()
        self._capacity = CapacityWatch(world, Share.of(rollout.get("min_available", 0)))
        self.broken = self._capacity.broken
        world.hosts.on_run = self._on_run
        self.moves_traffic = False
        self.before = {target.name: world.shown(target.name) for target in world.targets}
        self._forgotten: set[str] = set()
        self._reloaded_at = float("-inf")
        self._died: dict[str, float] = {}

    def died(self, name: str) -> None:
        """Its application, after it was done; HAProxy has seen it, and its check fails."""
        self._died[name] = asyncio.get_running_loop().time()
        self._capacity.died(name)

    def reloaded(self) -> None:
        """A HAProxy without a server-state file was: what nothing works on is as its configuration has it now."""
        row = self.world.row()
        self._reloaded_at = asyncio.get_running_loop().time()
        self._capacity.excused = True
        for name in self.before:
            known = [each for (_, its), each in row.targets.items() if its == name]
            if any(_in_work(each) and each.traffic is None for each in known):
                self._forgotten.add(name)  # whether it was looked at before or after this reload is not recorded yet
            elif not any(map(_in_work, known)):
                self._forgotten |= {name} if any(each.finished for each in known) else set()
                if not known or all(each.state is TargetState.PENDING for each in known):
                    self.before[name] = self.world.shown(name)

    def remember_traffic(self) -> None:
        """What is in HAProxy now is what the deployment finds."""
        self.before = {target.name: self.world.shown(target.name) for target in self.world.targets}

    # --- while it runs ----------------------------------------------------------------------------------------------

    def _on_run(self, target: str, key: StepKey, ticket: Ticket) -> None:
        row = self.world.row()
        if ticket.epoch != row.epoch:
            self.broken.append(f"{key.step} on {target} by epoch {ticket.epoch} while {row.epoch} owns it")
        if row.final:
            self.broken.append(f"{key.step} on {target} although the deployment has ended")
        if key.step.endswith(".again"):
            return  # a look at a target that serves; it changes nothing
        if row.targets[key.direction, target].finished:
            self.broken.append(f"{key.step} on {target} although it is finished")
        settled = asyncio.get_running_loop().time() > self._reloaded_at + 2 * WATCH_SECONDS
        shown = self.world.shown(target)
        if key.step == PREPARE:
            if self._is_out(target):
                self.broken.append(f"{key.step} on {target} although it is {shown}")
        elif self.moves_traffic and settled and any(admin is not AdminState.MAINT for admin, _ in shown):
            self.broken.append(f"{key.step} on {target} while it is {shown} in HAProxy")
        self._switched[target, key] += 1
        if key.step == "switch" and self._switched[target, key] > 1:
            self.broken.append(f"{key.step} on {target} a second time, and it is not idempotent")
        self.look()

    def look(self) -> None:
        """What must hold at every moment."""
        row = self.world.row()
        in_work = [name for (_, name), each in row.targets.items() if _in_work(each)]
        if len(in_work) > self._concurrency:
            self.broken.append(f"in work at once: {in_work}")
        out = [name for name in self.before if self._is_out(name) and name in in_work]
        if len(out) > self._concurrency:
            self.broken.append(f"out of traffic at once: {out}")
        for name in self.before:
            ended = [each for (_, its), each in row.targets.items() if its == name and each.state in ENDED_BADLY]
            if self._is_out(name) and name not in in_work and not ended:
                self.broken.append(f"{name} is out although nothing works on it and it did not fail")

    def _is_out(self, name: str) -> bool:
        """Where it was not before."""
        seen = zip(self.world.shown(name), self.before[name], strict=True)
        return any(now != was and now[0] is not AdminState.READY for now, was in seen)

    # --- at the end -------------------------------------------------------------------------------------------------

    def check_end(self, *, moves_traffic: bool) -> None:
        """Once the deployment has its result: contract sections 2 and 5."""
        events = self.world.events()
        names = [event["event"] for event in events]
        assert names.count("deployment.finished") == 1
        assert names[-1] == "deployment.finished"
        assert names[0] == "deployment.accepted"
        assert not [each for each in self.world.row().targets.values() if not each.finished]
        check_order(events)
        assert not self.world.bugs()
        if self._rollout["on_failure"] != "continue":
            self._check_trip(events)
        if moves_traffic:
            for name in self.before.keys() - self._forgotten:
                self._check_left(name)
            self._check_looked_again(events[-1])
        self.look()
        assert not self.broken, self.broken

    def _check_trip(self, events: list[dict[str, Any]]) -> None:
        """Nothing goes forward any more once failures exceed what is allowed, or a canary failed."""
        planned = [
            name for event in events if event["event"] == "deployment.started" for name in chain(*event["batches"])
        ]
        canaries = planned[: self._rollout["canary"]]
        failed: list[str] = []
        in_prepare = ended_in_prepare(events) if self._rollout.get("prepare") == "all" else set()
        for event in events:
            if event["event"] == "target.regressed" or (
                event["event"] == "target.finished" and event["status"] in FAILURES
            ):
                failed.append(event["target"])
            if event["event"] == "target.started" and event["direction"] == "forward":
                if event["target"] in in_prepare:
                    continue
                assert len(failed) <= self._rollout["max_failures"], f"{event['target']} after {failed}"
                assert not set(failed) & set(canaries), f"{event['target']} after the canary of {failed}"

    def _check_looked_again(self, result: dict[str, Any]) -> None:
        """Nothing that was DOWN for long when the deployment ended, and ought to serve, is said to have succeeded."""
        row = self.world.row()
        went_back = any(direction is BACK for direction, _ in row.targets)
        given_up = result["failure"] is not None and result["failure"]["code"] == "internal.error"
        if went_back or given_up or result["status"] not in {"succeeded", "failed"}:
            return
        for name, at in self._died.items():
            known = self._reloaded_at < at < row.finished_at - BEGINNING - 2 * AGAIN_SECONDS
            if known and all(now == READY for now in self.world.shown(name)):
                assert row.targets[FORWARD, name].state is TargetState.FAILED, f"{name} died and has succeeded"

    def _check_left(self, name: str) -> None:
        """Contract section 5. Where somebody else had taken it out on one load balancer, that one stays as it was."""
        row = self.world.row()
        seen = list(zip(self.world.shown(name), self.before[name], strict=True))
        assert all(now == was for now, was in seen if was != READY), f"{name} was not to be changed there: {seen}"
        shown = [now for now, was in seen if was == READY]
        forward, back = row.targets.get((FORWARD, name)), row.targets.get((BACK, name))
        last = back if back is not None and back.state is not TargetState.SKIPPED else forward
        if not shown:
            return
        if last is None or last.state in {TargetState.SKIPPED, TargetState.SUCCEEDED, TargetState.ROLLED_BACK}:
            assert shown == [READY] * len(shown), f"{name} is {last and last.state}, and {shown}"
        elif last.failure is not None and "is not UP any more" in last.failure.message:
            assert shown == [READY] * len(shown), f"{name} regressed, and is {shown}"
            assert "is left ready" in last.failure.message
        elif last.touched or last.direction is BACK:
            assert shown == [DRAINED] * len(shown), f"{name} {last.state} later, and is {shown}"
            assert last.failure is not None
            assert "left drained" in last.failure.message
        else:
            assert shown == [READY] * len(shown), f"{name} {last.state} before its first step, and is {shown}"


def _in_work(target: TargetRecord) -> bool:
    return not target.finished and target.state is not TargetState.PENDING


def check_order(events: list[dict[str, Any]]) -> None:
    """Nothing starts in a pause or after a cancel; a target starts and finishes once in each direction."""
    paused = cancelled = turned = False
    started: set[tuple[str, str]] = set()
    finished: set[tuple[str, str]] = set()
    regressed: set[tuple[str, str]] = set()
    in_prepare = ended_in_prepare(events)
    for event in events:
        match event["event"]:
            case "deployment.paused":
                paused = True
            case "deployment.resumed":
                paused = False
            case "deployment.rolling_back":
                paused, turned = False, True
            case "deployment.cancelling":
                cancelled = True
            case "target.started":
                key = event["target"], event["direction"]
                assert event["target"] in in_prepare or not paused, f"{key} started in a pause"
                assert event["target"] in in_prepare or not cancelled, f"{key} started after the cancel"
                assert turned == (event["direction"] == "back")
                assert key not in started
                started.add(key)
            case "target.regressed":
                assert (event["target"], "forward") in finished - regressed
                assert not turned, "looked at again while it is rolled back"
                assert not cancelled, "looked at again after the cancel"
                regressed.add((event["target"], "forward"))
            case "target.finished":
                key = event["target"], event["direction"]
                assert key in started - finished
                finished.add(key)
    assert started == finished


def ended_in_prepare(events: list[dict[str, Any]]) -> set[str]:
    """Targets that failed while all were prepared: they start and finish in one moment, at their end."""
    return {
        one["target"]
        for one, next_one in pairwise(events)
        if (one["event"], next_one["event"]) == ("target.started", "target.finished")
        and one["target"] == next_one["target"]
        and one["direction"] == "forward"
    }
