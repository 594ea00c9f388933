"""Goal 10: one, two and three instances on one broker and database."""

import asyncio
import time

from benchmarks.bench import Bench
from benchmarks.model import Check, GoalResult, Rounds
from benchmarks.product import event

INSTANCES = (1, 2, 3)
DEPLOYMENTS = 200
AT_ONCE = 50


async def instances(bench: Bench) -> GoalResult:
    """Small deployments, each in a lane of its own: two steps on one host that costs nearly nothing."""
    rounds = Rounds()
    with bench.cheap() as cheap:
        for _ in range(bench.rounds):
            for count in INSTANCES:
                async with bench.on_cheap(cheap, 1, instances=count) as product:
                    await product.deploy(event("first-1"))
                    gate = asyncio.Semaphore(AT_ONCE)

                    async def one(gate: asyncio.Semaphore = gate, product: object = product) -> None:
                        async with gate:
                            body = event("first-1")
                            await product.requester.deploy(body)  # type: ignore[attr-defined]
                            await product.requester.event(  # type: ignore[attr-defined]
                                body["deployment_id"], "deployment.finished", seconds=300
                            )

                    before, started = product.cpu(), time.monotonic()
                    await asyncio.gather(*(one() for _ in range(DEPLOYMENTS)))
                    wall = time.monotonic() - started
                    rounds.add(
                        f"{count} instances",
                        **{
                            "CPU ms/deployment": (product.cpu() - before) / DEPLOYMENTS * 1000,
                            "deployments/s": DEPLOYMENTS / wall,
                        },
                    )
    checks = [
        Check(
            f"CPU per deployment, {count} instances / 1",
            rounds.ratio(f"{count} instances", "1 instances", "CPU ms/deployment"),
            1.15,
        )
        for count in INSTANCES[1:]
    ]
    note = (
        "broker, database and hosts share the cores with the instances: throughput cannot scale, flat CPU can be seen"
    )
    return GoalResult(10, "two and three instances on one broker and database", rounds.lines(), checks, [note])
