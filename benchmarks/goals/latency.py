"""Goal 7: from publishing to the first byte of the first step, on an idle instance."""

import time

from benchmarks.bench import Bench
from benchmarks.model import Check, GoalResult, Line, Series
from benchmarks.product import event

TRIES = 60


async def first_byte(bench: Bench) -> GoalResult:
    """The step says when it began, by the machine's clock that publisher and host share."""
    delays = []
    async with bench.on_farm(1) as product:
        await product.deploy(event("first-1", recipe="stamp"))
        for _ in range(TRIES):
            body = event("first-1", recipe="stamp")
            published = time.time()
            await product.requester.deploy(body)
            await product.requester.event(body["deployment_id"], "deployment.finished", seconds=60)
            (step,) = product.requester.events(body["deployment_id"], "step.finished")
            delays.append((float(step.body["output"]) - published) * 1000)
    delays.sort()
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    figures = {"p50 ms": Series((p50,)), "p99 ms": Series((p99,)), "min ms": Series((delays[0],))}
    checks = [Check("p50", p50, 60, "ms"), Check("p99", p99, 150, "ms")]
    return GoalResult(7, "idle instance: publish to first byte of the first step", [Line("vesemir", figures)], checks)
