"""Goal 6: how many deploy events one instance takes, and how soon each is answered."""

import asyncio
import json
import time

from benchmarks.bench import Bench
from benchmarks.model import Check, GoalResult, Rounds
from benchmarks.product import Product, event

FLOOD = 6000
AT_ONCE = 200
LANES = 100
PACED, PER_SECOND = 500, 100


async def rate_and_delay(bench: Bench) -> GoalResult:
    """Nothing else runs: the one deployment that may (``limits.deployments``) waits."""
    rounds = Rounds()
    for _ in range(bench.rounds):
        async with bench.on_farm(1, VESEMIR_LIMITS__DEPLOYMENTS="1") as product:
            waiting = event("first-1", recipe="wait")
            await product.requester.deploy(waiting)
            await product.steps_running(1)
            paced = await _paced(product)  # before the flood, whose answers take a while to be published
            rounds.add("vesemir", **paced, **{"events/s": await _flood(product)})
            await product.requester.control("cancel", waiting["deployment_id"])
            await product.requester.event(waiting["deployment_id"], "deployment.finished", seconds=60)
    checks = [
        Check(
            "events validated, stored and acknowledged per second",
            rounds.median("vesemir", "events/s"),
            1500,
            at_least=True,
        ),
        Check(f"deployment.accepted p99 at {PER_SECOND}/s", rounds.median("vesemir", "accepted p99 ms"), 25, "ms"),
    ]
    return GoalResult(6, "intake of deploy events in one instance", rounds.lines(), checks)


async def _flood(product: Product) -> float:
    """Events per second from the first insert to the last, while the queue is never empty."""
    bodies = [
        json.dumps({**event("first-1"), "application": f"lane{number % LANES}"}).encode() for number in range(FLOOD)
    ]
    await product.stand_still()
    gate = asyncio.Semaphore(AT_ONCE)

    async def publish(body: bytes) -> None:
        async with gate:
            await product.requester.publish(body, reply_to="nobody.reads")

    await product.requester.declare("nobody.reads")
    await asyncio.gather(*map(publish, bodies))  # the instance stands still for less than a host waits for its beat
    before = await product.accepted()
    await product.go_on()
    first = await product.accepted_more_than(before)
    started = time.monotonic()
    last = await product.accepted_more_than(before + FLOOD - 1)
    return (last - first) / (time.monotonic() - started)


async def _paced(product: Product) -> dict[str, float]:
    """From publishing to ``deployment.accepted``, in milliseconds, at an even rate."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    published: dict[str, float] = {}

    async def one(number: int) -> None:
        body = {**event("first-1"), "application": f"paced{number % LANES}"}
        await asyncio.sleep(max(0.0, begun + number / PER_SECOND - loop.time()))
        published[body["deployment_id"]] = time.time()
        await product.requester.deploy(body)

    await asyncio.gather(*map(one, range(PACED)))
    delays = sorted(
        [
            ((await product.requester.event(each, "deployment.accepted", seconds=60)).at - at) * 1000
            for each, at in published.items()
        ]
    )
    return {"accepted p50 ms": delays[len(delays) // 2], "accepted p99 ms": delays[int(len(delays) * 0.99)]}
