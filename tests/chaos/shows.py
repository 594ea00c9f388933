"""Issue 3's "Must show": the owner killed 50 times, steps that will not die, 1 GiB from ten boxes at once."""

import asyncio
import random
import time
from pathlib import Path

from tests.chaos import table
from tests.chaos.arena import RESULT_SECONDS, Arena, Deployment, until
from tests.chaos.faults_hosts import will_not_die
from tests.chaos.servers import Account, Lab, lab_up
from tests.chaos.verdict import Score, Try, judged

LEASE_SECONDS = 3.0
BOXES = 20
CONCURRENCY = 5
PEAK_KIB = 200 * 1024


async def kill20(folder: Path, tries: int) -> tuple[str, bool]:
    """kill -9 of the owner at a random moment of a 20-box deployment, with two others running."""
    score = Score("kill20", "owner of a 20-box deployment killed, two others running")
    async with lab_up(folder / "lab", boxes=BOXES) as lab, asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(_kill_again_and_again(lab, score, tries))
    return "\n".join([table.markdown([score]), *score.troubles]), score.broken


async def _kill_again_and_again(lab: Lab, score: Score, tries: int) -> None:
    async with Arena.opened(lab, lease=LEASE_SECONDS) as arena:
        while score.tries < tries:
            blow, once = Try(), Score("", "")
            try:
                await _kill_owner(arena, blow)
            except Exception as error:  # noqa: BLE001 - a broken try counts as not survived
                blow.troubles.append(f"the try broke off: {error!r}")
            await judged(once, blow, arena)
            score.add(once)
            print(f"{score.survived}/{score.tries} {once.recoveries} redos {once.redos}", flush=True)


async def _kill_owner(arena: Arena, blow: Try) -> None:
    await arena.crew(3)
    asked = await arena.deploy(boxes=BOXES, seconds=0.8, concurrency=CONCURRENCY)
    blow.look_at(asked)
    victim = await arena.owned(asked)
    await _somewhere_in(arena, asked)
    done = bool(arena.requester.events(asked.id, "deployment.finished"))
    await victim.kill()
    blow.tries = 0 if done else 1  # too late to be in mid-deployment
    if not done:
        blow.strike(asked, until="deployment.taken_over")
    result = await arena.result(asked)
    runs = arena.runs(asked)
    again = len(runs) - len({run.box for run in runs})
    blow.expect(again <= CONCURRENCY, f"{again} boxes were redone, {CONCURRENCY} can have been in flight")
    said = result["metrics"]["redone_steps"]
    blow.expect(said >= again, f"{again} boxes were redone, and {said} reported")


async def _somewhere_in(arena: Arena, asked: Deployment) -> None:
    """A random moment between the claim and the last box, however slow the machine is now."""
    boxes = random.randint(0, BOXES - CONCURRENCY)

    def reached() -> bool:
        events = arena.requester.events(asked.id)
        names = [each.body["event"] for each in events]
        return names.count("target.finished") >= boxes or "deployment.finished" in names

    await until(reached, seconds=RESULT_SECONDS, what=f"{boxes} boxes are done")
    await asyncio.sleep(random.uniform(0, 2.0))


async def dead(folder: Path, tries: int) -> tuple[str, bool]:
    """A tree that will not die, after cancel, timeout and kill -9 of the instance; as root and as an ordinary user."""
    scores = []
    account = Account.found()
    if account is None:
        return "there is no ordinary user with a shell and an interpreter on this machine", True
    for who in (None, account):
        place = folder / ("root" if who is None else "ordinary")
        place.mkdir(exist_ok=True)
        async with lab_up(place / "lab", boxes=3, account=who) as lab:
            for how in ("cancel", "timeout", "kill"):
                name = "root" if who is None else f"an ordinary user ({who.name})"
                scores.append(await _dead_after(lab, how, tries, f"dead after {how}, as {name}"))
    text = "\n".join([table.markdown(scores), *(trouble for score in scores for trouble in score.troubles)])
    return text, any(score.broken for score in scores)


async def _dead_after(lab: Lab, how: str, tries: int, title: str) -> Score:
    score = Score("28", title)
    async with Arena.opened(lab) as arena:
        while score.tries < tries:
            blow = Try()
            try:
                await will_not_die(arena, blow, how=how)
            except Exception as error:  # noqa: BLE001 - a broken try counts as not survived
                blow.troubles.append(f"the try broke off: {error!r}")
            await judged(score, blow, arena)
    return score


async def output(folder: Path, tries: int) -> tuple[str, bool]:
    """1 GiB from each of ten targets at once: the peak of the instance's memory."""
    lines, broken = [], False
    async with lab_up(folder / "lab", boxes=10) as lab, Arena.opened(lab) as arena:
        for _ in range(tries):
            score, blow = Score("output", ""), Try()
            await arena.crew(2)
            begun = time.monotonic()
            during = "head -c 1073741824 /dev/zero | tr '\\0' x"
            asked = await arena.deploy(boxes=10, concurrency=10, seconds=0.1, during=during)
            blow.look_at(asked)
            await arena.result(asked, seconds=600)
            seconds = time.monotonic() - begun
            await judged(score, blow, arena)
            peak = max(instance.memory_kib() for instance in arena.instances)
            printed = await arena.record.fetchval(
                "SELECT sum(output_bytes) FROM step WHERE deployment_id = $1", asked.id
            )
            broken = broken or score.broken or peak >= PEAK_KIB or printed < 10 * 2**30
            lines.append(
                f"10 targets printed {printed / 2**30:.1f} GiB in {seconds:.0f} s; "
                f"peak of the instance {peak / 1024:.0f} MB (limit 200 MB)"
            )
            lines += score.troubles
    return "\n".join(lines), broken
