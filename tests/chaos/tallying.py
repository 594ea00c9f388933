"""Runs faults, each so many times, in several arenas of one lab side by side; those that break all of it at the end."""

import asyncio
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from tests.chaos.arena import Arena
from tests.chaos.catalogue import Fault
from tests.chaos.servers import Lab
from tests.chaos.verdict import Score, Try, judged

TRY_SECONDS = 420.0

Told = Callable[[Score], None]


async def run_faults(lab: Lab, faults: Sequence[Fault], *, tries: int, side_by_side: int, tell: Told) -> list[Score]:
    """The scores in the order of ``faults``; ``tell`` is called as each is done."""
    scores: dict[str, Score] = {}
    shared: asyncio.Queue[Fault] = asyncio.Queue()
    for fault in faults:
        if not fault.alone:
            shared.put_nowait(fault)

    async def work() -> None:
        while not shared.empty():
            fault = shared.get_nowait()
            scores[fault.number] = await _repeated(lab, fault, tries)
            tell(scores[fault.number])

    async with asyncio.TaskGroup() as group:
        for _ in range(side_by_side):
            group.create_task(work())
    for fault in faults:
        if fault.alone:
            scores[fault.number] = await _repeated(lab, fault, tries)
            tell(scores[fault.number])
    return [scores[fault.number] for fault in faults]


async def _repeated(lab: Lab, fault: Fault, tries: int) -> Score:
    wanted = tries if fault.most is None else min(tries, fault.most)
    whole, begun = Score(fault.number, fault.title), time.monotonic()
    async with AsyncExitStack() as stack:
        arena = await stack.enter_async_context(Arena.opened(lab))
        while whole.tries < wanted:
            arena.armed = min(arena.armed, wanted - whole.tries)
            once = await try_once(arena, fault)
            whole.add(once)
            if once.troubles:
                await stack.aclose()
                arena = await stack.enter_async_context(Arena.opened(lab))
    whole.seconds = time.monotonic() - begun
    return whole


async def try_once(arena: Arena, fault: Fault) -> Score:
    """One blow, judged. Whatever goes wrong in it is a try that was not survived."""
    score, blow = Score(fault.number, fault.title), Try()
    try:
        async with asyncio.timeout(TRY_SECONDS):
            await fault.blow(arena, blow)
    except Exception as error:  # noqa: BLE001 - a broken try must not end the others; it counts as not survived
        place = "".join(traceback.format_exception(error)[-2:]).strip().replace("\n", " | ")
        blow.troubles.append(f"the try broke off: {place}")
    await judged(score, blow, arena)
    for trouble in score.troubles:
        sys.stderr.write(f"fault {fault.number} in {arena.name}: {trouble}\n")
    return score
