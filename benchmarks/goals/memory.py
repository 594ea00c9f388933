"""Goal 5: memory with a thousand targets that each print a megabyte."""

from benchmarks.bench import Bench
from benchmarks.model import Check, GoalResult, Rounds
from benchmarks.product import event

SIZE = 1000


async def of_a_thousand(bench: Bench) -> GoalResult:
    rounds = Rounds()
    async with bench.on_farm(1, SIZE) as product:
        await product.deploy(event("first-1"))
        start = product.peak_mb()
        rollout = await product.deploy(event(f"first-{SIZE}", recipe="megabyte"))
        if rollout.succeeded != SIZE:
            raise RuntimeError(f"only {rollout.succeeded} of {SIZE} targets succeeded: {rollout.result['failure']}")
        rounds.add(
            "vesemir",
            **{
                "peak MB": product.peak_mb(),
                "peak before MB": start,
                "wall s": rollout.wall,
                "output MB": rollout.result["metrics"]["output_bytes"] / 1e6,
            },
        )
    checks = [Check("peak memory of the daemon", rounds.median("vesemir", "peak MB"), 120, "MB")]
    return GoalResult(5, "1,000 targets in one deployment, each printing 1 MB", rounds.lines(), checks)
