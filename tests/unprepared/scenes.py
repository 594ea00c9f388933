"""What was drained, stopped or away, and how the site comes through it: each scene says what it saw and complains."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.installed_lab import Event, Lab
from tests.acceptance.patience import until
from tests.rollouts.arena import followed
from tests.rollouts.broken import BROKEN
from tests.rollouts.load import Seen, load
from tests.unprepared.dependent import Dependency
from tests.unprepared.neighbours import service
from tests.unprepared.servers import Watch, states, watched, wrong

CLIENTS = {"keeping": 8, "fresh": 2, "slow": 2}
HELD_UP_SECONDS = 60.0
OUTAGE_SECONDS = 10.0
PAUSE_SECONDS = 15


@dataclass
class Scene:
    """``said`` are its lines, ``found`` what did not hold."""

    said: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def expect(self, what: str, seen: Any, wanted: Any) -> None:
        if seen != wanted:
            self.found.append(f"{what}: {seen!r} instead of {wanted!r}")


@dataclass
class Rollout:
    """One that was followed; ``statuses`` are its targets' by count."""

    exit: int | None
    result: dict[str, Any]
    watch: Watch
    seconds: float

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(target["status"] for target in self.result.get("targets", [])))

    def __str__(self) -> str:
        return (
            f"exit {self.exit}, {self.result.get('status')}, {self.statuses}, {self.seconds:.1f} s, "
            f"at least {self.watch.fewest_up} servers UP"
        )


async def _rollout(lab: Lab, version: str, *, artifact: dict[str, str] | None = None, **rollout: Any) -> Rollout:
    event: Event = await asyncio.to_thread(lab.event, "2.0.0" if artifact else version)
    event["version"] = version
    event["rollout"] = {"min_healthy_seconds": 0, **rollout}
    event["parameters"] |= {f"artifact_{part}": artifact[part] for part in ("url", "sha256")} if artifact else {}
    async with watched(lab) as watch:
        began = time.monotonic()
        exit_status, result = await followed(lab, event)
        return Rollout(exit_status, result, watch, time.monotonic() - began)


@asynccontextmanager
async def _unnoticed(lab: Lab, scene: Scene, what: str) -> AsyncIterator[Seen]:
    """Under load, of which no request may fail."""
    async with load([lab["http_url"]], **CLIENTS) as seen:
        yield seen
    scene.said.append(f"{what}: {seen.total} requests, {seen.failed} failed")
    if seen.failed:
        scene.found += [f"{what}: {seen.failed} requests failed", *seen.first[:5]]


async def left_drained(lab: Lab) -> Scene:
    """A release that does not start, at concurrency 1: its server is left drained, and the next deployment heals it."""
    scene, before = Scene(), states(lab)
    async with _unnoticed(lab, scene, "does not start, concurrency 1, on_failure stop"):
        broken = await _rollout(lab, BROKEN, on_failure="stop")
    scene.said.append(f"  {broken}; out of traffic then: {wrong(states(lab))}")
    scene.expect("the broken one", (broken.exit, broken.statuses), (1, {"failed": 1, "skipped": len(lab.names) - 1}))
    scene.expect("servers left drained", len(wrong(states(lab))), 1)
    async with _unnoticed(lab, scene, "corrected"):
        good = await _rollout(lab, lab.other_version())
    scene.said.append(f"  {good}; agents {_agents(lab)}")
    scene.expect("the corrected one", good.exit, 0)
    scene.expect("the servers after it", states(lab), before)
    return scene


async def last_server(lab: Lab) -> Scene:
    """The same at 100 % without ``min_available``; then all applications are stopped by hand, and a good one comes."""
    scene, before = Scene(), states(lab)
    async with _unnoticed(lab, scene, "does not start, concurrency 100 %, min_available left out"):
        broken = await _rollout(lab, BROKEN, concurrency="100%")
    scene.said.append(f"  {broken}")
    scene.expect("the broken one", (broken.exit, broken.statuses), (1, {"failed": len(lab.names) - 1, "skipped": 1}))
    if broken.watch.fewest_up < 1 or broken.seconds > HELD_UP_SECONDS:
        scene.found.append(f"no server served, or the last target waited: {broken}")
    for name in lab.names:
        await asyncio.to_thread(service, lab, name, "stop")
    await asyncio.to_thread(until, lambda: not _up(lab), what="every server is DOWN")
    good = await _rollout(lab, lab.other_version())
    scene.said.append(f"all stopped by hand, then a good release with the defaults: {good}; agents {_agents(lab)}")
    scene.expect("the good one", (good.exit, good.statuses), (0, {"succeeded": len(lab.names)}))
    scene.expect("the servers after it", states(lab), before)
    return scene


async def shared_outage(lab: Lab, dependency: Dependency, on_failure: str) -> Scene:
    """In a pause the health check of every box fails for 10 s, since what all need is away."""
    scene = Scene()
    old, version = f"5.0.0-{on_failure}", f"5.0.1-{on_failure}"
    first = await _rollout(lab, old, artifact=dependency.release(old), concurrency="50%")
    scene.expect("the release that all have first", first.exit, 0)
    before, release = states(lab), dependency.release(version)
    going = asyncio.create_task(
        _rollout(lab, version, artifact=release, concurrency="50%", pause_seconds=PAUSE_SECONDS, on_failure=on_failure)
    )
    await asyncio.to_thread(until, lambda: _half_is_done(lab, version), what="the first batch is done")
    with dependency.away():
        await asyncio.to_thread(until, lambda: not _up(lab), what="every server is DOWN")
        await asyncio.sleep(OUTAGE_SECONDS)
    rollout = await going
    await asyncio.to_thread(until, lambda: len(_up(lab)) == len(lab.names) or None, what="every server is UP")
    after = states(lab)
    scene.said.append(f"away for {OUTAGE_SECONDS:g} s in a pause, on_failure {on_failure}: {rollout}")
    scene.said.append(f"  {rollout.result.get('failure')}")
    scene.said.append(f"  afterwards {len(lab.names) - len(wrong(after))} of {len(lab.names)} servers in traffic")
    scene.expect("the servers after it", after, before)
    return scene


def _half_is_done(lab: Lab, version: str) -> bool:
    new = [name for name in lab.names if lab.current(name) == version]
    return len(new) == len(lab.names) // 2 and not wrong(states(lab))


def _up(lab: Lab) -> Sequence[str]:
    return [name for name, state in states(lab).items() if state["srv_op_state"] == "2"]


def _agents(lab: Lab) -> list[str]:
    return sorted({state["srv_agent_state"] for state in states(lab).values()})
