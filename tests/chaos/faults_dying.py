"""Faults 1 to 8, 29 and 30: an instance dies, stops, is stopped, or its clock jumps."""

import asyncio
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.chaos.arena import LEASE_SECONDS, Arena, Deployment
from tests.chaos.instance import Instance
from tests.chaos.verdict import Try

from vesemir.engine.failpoints import EXIT_STATUS, Failpoint

MOST_ROUNDS = 20


REPUBLISHED_SECONDS = 15.0


async def die_at(arena: Arena, blow: Try, place: Failpoint, *, most: int = 1, **event: Any) -> None:
    """Deployments, a few at a time, until every armed instance has died at that place; two ordinary ones run on.

    An armed instance takes one deployment at a time, with one target at a time: nothing else of it is in flight.
    """
    await arena.crew(2)
    armed = await asyncio.gather(
        *(
            arena.start(VESEMIR_FAILPOINT=f"{place}:{random.randint(1, most)}", VESEMIR_LIMITS__DEPLOYMENTS="1")
            for _ in range(arena.armed)
        )
    )
    deaths: list[float] = []

    async def watch(instance: Instance) -> None:
        await instance.process.wait()
        deaths.append(time.time())

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(watch(instance)) for instance in armed]
        for _ in range(MOST_ROUNDS):
            if len(deaths) == arena.armed:
                break
            known = len(deaths)
            asked = [await arena.deploy(seconds=0.3, **event) for _ in range(max(2, arena.armed))]
            blow.look_at(*asked)
            await asyncio.gather(*(arena.result(each) for each in asked), return_exceptions=True)
            blow.recoveries += [time.time() - death for death in deaths[known:]]
        for each in watching:
            each.cancel()
    status = [instance.process.returncode for instance in armed]
    blow.expect(status == [EXIT_STATUS] * arena.armed, f"not all instances died at {place}: {status}")
    blow.tries = arena.armed


async def before_insert(arena: Arena, blow: Try) -> None:
    await die_at(arena, blow, Failpoint.BEFORE_INSERT)


async def before_acknowledge(arena: Arena, blow: Try) -> None:
    await die_at(arena, blow, Failpoint.BEFORE_ACKNOWLEDGE)


async def before_send(arena: Arena, blow: Try) -> None:
    await die_at(arena, blow, Failpoint.BEFORE_SEND)
    _nothing_redone(arena, blow)


async def before_record(arena: Arena, blow: Try) -> None:
    await die_at(arena, blow, Failpoint.BEFORE_RECORD)
    _nothing_redone(arena, blow)


def _nothing_redone(arena: Arena, blow: Try) -> None:
    for deployment in blow.deployments:
        boxes = [run.box for run in arena.runs(deployment)]
        blow.expect(len(boxes) == len(set(boxes)), f"{deployment.id} ran on {boxes}: redone instead of adopted")


async def after_commit(arena: Arena, blow: Try) -> None:
    await die_at(arena, blow, Failpoint.AFTER_COMMIT, most=6)


async def before_mark(arena: Arena, blow: Try) -> None:
    await die_at(arena, blow, Failpoint.BEFORE_MARK, most=6)
    # The result may be there before the survivor publishes to the other place again: its publisher's lease runs first.
    patience = time.monotonic() + REPUBLISHED_SECONDS
    while not (again := _published_again(arena, blow)) and time.monotonic() < patience:
        await asyncio.sleep(0.1)
    blow.expect(again, "nothing was published again, so nothing was confirmed before the death")


def _published_again(arena: Arena, blow: Try) -> bool:
    ids = [
        message_id
        for each in blow.deployments
        for message_id in (
            *arena.requester.topic.get(each.id, []),
            *(seen.message_id for seen in arena.requester.events(each.id)),
        )
    ]
    return len(ids) > len(set(ids))


async def staggered(arena: Arena, *, number: int, boxes: int = 3, seconds: float = 0.8) -> list[Deployment]:
    """Deployments in lanes of their own, begun one after the other, so that a blow meets each somewhere else."""
    asked = []
    for _ in range(number):
        asked.append(await arena.deploy(boxes=boxes, seconds=seconds))
        await asyncio.sleep(random.uniform(0.05, 0.4))
    return asked


async def owned_by(arena: Arena, asked: list[Deployment]) -> tuple[Instance, list[Deployment]]:
    """The instance that has most of those that are not finished, and those."""
    owners = {each.id: await arena.owner(each) for each in asked}
    found = [owner for owner in owners.values() if owner is not None]
    busiest = max(found, key=found.count) if found else arena.instances[0]
    return busiest, [each for each in asked if owners[each.id] is busiest]


async def killed(arena: Arena, blow: Try) -> None:
    await arena.crew(3)
    asked = await staggered(arena, number=6)
    blow.look_at(*asked)
    await asyncio.sleep(random.uniform(0, 1.0))
    victim, struck = await owned_by(arena, asked)
    await victim.kill()
    blow.strike(*struck, until="deployment.taken_over")
    blow.tries = len(struck)


async def stopped(arena: Arena, blow: Try) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: what ran must be dead before anybody else begins."""
    await arena.crew(3)
    asked = await staggered(arena, number=5, seconds=1.2)
    blow.look_at(*asked)
    victim, struck = await owned_by(arena, asked)
    victim.signal(signal.SIGSTOP)
    moment = time.time()
    before = {each.id: {run.nonce for run in arena.runs(each)} for each in struck}
    await asyncio.sleep(LEASE_SECONDS * random.uniform(1.3, 2.0))
    victim.signal(signal.SIGCONT)
    blow.strike(*struck, until="deployment.taken_over", at=moment)
    blow.tries = len(struck)
    await asyncio.gather(*(arena.result(each) for each in struck), return_exceptions=True)
    for each in struck:
        late = [run for run in arena.runs(each) if run.nonce in before[each.id] and run.last > moment + LEASE_SECONDS]
        blow.expect(not late, f"{each.id}: a step outlived the lease of its stopped instance: {late}")
    await victim.health(200)
    blow.expect(victim.running, "the instance did not go on after SIGCONT")


async def terminated(arena: Arena, blow: Try) -> None:
    """SIGTERM in mid-run; every other time a second one, which must be quick."""
    await arena.crew(3)
    asked = await staggered(arena, number=5, boxes=3, seconds=1.5)
    blow.look_at(*asked)
    victim, struck = await owned_by(arena, asked)
    begun = time.monotonic()
    victim.signal(signal.SIGTERM)
    blow.strike(*struck)
    blow.tries = max(1, len(struck))
    twice = random.random() < 0.5
    if twice:
        await asyncio.sleep(random.uniform(0.1, 0.8))
        victim.signal(signal.SIGTERM)
    status = await victim.ended(60)
    blow.expect(status == 0, f"exit status {status} after SIGTERM")
    limit = 15.0 if twice else 35.0
    blow.expect(time.monotonic() - begun < limit, f"took {time.monotonic() - begun:.1f} s to stop, twice={twice}")


JUMP = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) {
    struct stat seen;
    const char *file = getenv("CHAOS_JUMP");
    if (!file || stat(file, &seen)) return 0;
    return (seen.st_mode & 0100) ? 3600 : -3600;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, at);
    if (!status && id == CLOCK_REALTIME) at->tv_sec += shift();
    return status;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
"""The wall clock an hour on (the file is executable) or back, for one process, once the file is there."""


def _compiled(folder: Path) -> Path | None:
    library = folder / "jump.so"
    compiler = shutil.which("cc")
    if not library.exists() and compiler:
        source = folder / "jump.c"
        source.write_text(JUMP)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library if library.exists() else None


async def clock_jumps(arena: Arena, blow: Try) -> None:
    library = await asyncio.to_thread(_compiled, arena.logs)
    if library is None:
        blow.expect(False, "no C compiler: the clock of one process cannot be moved")  # noqa: FBT003
        return
    for instance in list(arena.instances):
        await instance.stop()
    arena.instances.clear()
    switch = arena.logs / f"jump-{arena.name}-{random.randrange(10**9)}"
    shifted = {"LD_PRELOAD": str(library), "CHAOS_JUMP": str(switch)}
    await asyncio.gather(*(arena.start(**shifted) for _ in range(2)))
    asked = await staggered(arena, number=4)
    blow.look_at(*asked)
    switch.write_text("")
    switch.chmod(random.choice((0o700, 0o600)))
    blow.strike(*asked)
    for each in asked:
        await arena.result(each)
        taken = arena.requester.events(each.id, "deployment.taken_over")
        blow.expect(not taken, f"{each.id} was taken over because of a clock")
        runs = arena.runs(each)
        blow.expect(len(runs) == len(each.boxes), f"{each.id} was redone because of a clock")
    after = await arena.deploy(seconds=0.2)
    blow.look_at(after)
    await arena.result(after)
    for instance in arena.instances:
        blow.expect(await instance.stop() == 0, "exit status after the jump")
    arena.instances.clear()
