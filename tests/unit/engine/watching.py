"""Watches a world while a deployment runs, and writes down every broken promise of contract and design."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

from tests.fakes.loadbalancer import FakeLoadBalancer
from tests.unit.engine.world import DRAINED, READY, World

from vesemir.domain.share import Share
from vesemir.domain.states import FAILURES, TargetState
from vesemir.domain.step import Direction, StepKey
from vesemir.domain.traffic import AdminState, ServerState
from vesemir.engine.hosts import Ticket
from vesemir.engine.store import TargetRecord

FORWARD, BACK = Direction.FORWARD, Direction.BACK
ENDED_BADLY = FAILURES | {TargetState.CANCELLED}
COMMAND_SECONDS = 0.001


class WatchedBalancer(FakeLoadBalancer):
    """Takes a moment for everything; ``drained`` says which task drained which server that was ready."""

    def __init__(self, inner: FakeLoadBalancer) -> None:
        super().__init__(inner.name, list(inner._by_name.values()))
        self.drained: list[tuple[str, str]] = []

    async def servers(self, backend: str) -> Mapping[str, ServerState]:
        await asyncio.sleep(COMMAND_SECONDS)
        return await super().servers(backend)

    async def set_state(self, backend: str, server: str, state: AdminState) -> None:
        await asyncio.sleep(COMMAND_SECONDS)
        if self._by_name[server].admin is AdminState.READY and state is not AdminState.READY:
            task = asyncio.current_task()
            self.drained.append((server, task.get_name() if task else ""))
        await super().set_state(backend, server, state)


class Watch:
    """``broken`` must stay empty. Made before any instance of the world."""

    def __init__(self, world: World, rollout: Mapping[str, Any]) -> None:
        self.world = world
        self.broken: list[str] = []
        self._rollout = rollout
        self._concurrency: int = rollout["concurrency"]
        self._min_available = Share.of(rollout.get("min_available", 0))
        self._switched: Counter[tuple[str, StepKey]] = Counter()
        world.hosts.on_run = self._on_run
        world.lbs[:] = [WatchedBalancer(lb) for lb in world.lbs]
        world.section = self._section
        self.before = {target.name: world.shown(target.name) for target in world.targets}

    def remember_traffic(self) -> None:
        """What is in HAProxy now is what the deployment finds."""
        self.before = {target.name: self.world.shown(target.name) for target in self.world.targets}

    # --- while it runs ----------------------------------------------------------------------------------------------

    def _on_run(self, target: str, key: StepKey, ticket: Ticket) -> None:
        row = self.world.row()
        if ticket.epoch != row.epoch:
            self.broken.append(f"{key.step} on {target} by epoch {ticket.epoch} while {row.epoch} owns it")
        if row.final or row.targets[key.direction, target].finished:
            self.broken.append(f"{key.step} on {target} although it is finished")
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
        return self.world.shown(name) != self.before[name] and any(
            admin is not AdminState.READY for admin, _ in self.world.shown(name)
        )

    @asynccontextmanager
    async def _section(self, key: str) -> AsyncIterator[None]:
        """Who drains in a section leaves enough others; somebody who fails meanwhile is taken out all the same."""
        lb = next(lb for lb in self.world.lbs if key.startswith(f"{lb.name}/"))
        assert isinstance(lb, WatchedBalancer)
        task = asyncio.current_task()
        name = task.get_name() if task else ""
        since = len(lb.drained)
        yield
        own = [server for server, by in lb.drained[since:] if by == name]
        others = [server for server, by in lb.drained[since:] if by != name]
        there = sum(server.state("").is_available for server in lb._by_name.values())
        if own and there + len(others) < self._min_available.up(len(lb._by_name)):
            self.broken.append(f"{own} drained although only {there} others are there")

    # --- at the end -------------------------------------------------------------------------------------------------

    def check_end(self, *, moves_traffic: bool) -> None:
        """Once the deployment has its result: contract sections 2 and 5."""
        events = self.world.events()
        names = [event["event"] for event in events]
        assert names.count("deployment.finished") == 1
        assert names[-1] == "deployment.finished"
        assert names[0] == "deployment.accepted"
        assert not [each for each in self.world.row().targets.values() if not each.finished]
        _check_order(events)
        if self._rollout["on_failure"] != "continue":
            self._check_trip(events)
        if moves_traffic:
            for name in self.before:
                self._check_left(name)
        self.look()
        assert not self.broken, self.broken

    def _check_trip(self, events: list[dict[str, Any]]) -> None:
        """Nothing goes forward any more once failures exceed what is allowed, or a canary failed."""
        planned = [
            name for event in events if event["event"] == "deployment.started" for name in chain(*event["batches"])
        ]
        canaries = planned[: self._rollout["canary"]]
        failed: list[str] = []
        for event in events:
            if event["event"] == "target.finished" and event["status"] in FAILURES:
                failed.append(event["target"])
            if event["event"] == "target.started" and event["direction"] == "forward":
                assert len(failed) <= self._rollout["max_failures"], f"{event['target']} after {failed}"
                assert not set(failed) & set(canaries), f"{event['target']} after the canary of {failed}"

    def _check_left(self, name: str) -> None:
        """Contract section 5."""
        row = self.world.row()
        shown, before = self.world.shown(name), self.before[name]
        forward, back = row.targets.get((FORWARD, name)), row.targets.get((BACK, name))
        last = back if back is not None and back.state is not TargetState.SKIPPED else forward
        if last is None or last.state is TargetState.SKIPPED or before != [READY] * len(before):
            assert shown == before, f"{name} was not to be changed: {before}, now {shown}"
        elif last.state in {TargetState.SUCCEEDED, TargetState.ROLLED_BACK}:
            assert shown == [READY] * len(shown), f"{name} {last.state}, and is {shown}"
        elif last.touched or last.direction is BACK:
            assert shown == [DRAINED] * len(shown), f"{name} {last.state} later, and is {shown}"
            assert last.failure is not None
            assert "left drained" in last.failure.message
        else:
            assert shown == before, f"{name} {last.state} before its first step, and is {shown}"


def _in_work(target: TargetRecord) -> bool:
    return not target.finished and target.state is not TargetState.PENDING


def _check_order(events: list[dict[str, Any]]) -> None:
    """Nothing starts in a pause or after a cancel; a target starts and finishes once in each direction."""
    paused = cancelled = turned = False
    started: set[tuple[str, str]] = set()
    finished: set[tuple[str, str]] = set()
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
                assert not paused, f"{key} started in a pause"
                assert not cancelled, f"{key} started after the cancel"
                assert turned == (event["direction"] == "back")
                assert key not in started
                started.add(key)
            case "target.finished":
                key = event["target"], event["direction"]
                assert key in started - finished
                finished.add(key)
    assert started == finished
