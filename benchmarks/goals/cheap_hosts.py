"""Goals 4 and 8: what only the daemon costs, against a server that costs nearly nothing per host."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.model import Check, GoalResult, Rounds
from benchmarks.product import event

RUNNING, CONNECTING = 200, 500
SIZES = (50, 500, 5000)
LARGEST_ROUNDS = 2
"""Most of a minute each."""


async def loop_lag(bench: Bench) -> GoalResult:
    """200 targets run while 500 connect and do their steps: how late the daemon's timers come."""
    rounds = Rounds()
    output = bench.folder / "lags.json"
    with bench.cheap() as cheap:
        for _ in range(bench.rounds):
            output.unlink(missing_ok=True)
            command = [sys.executable, "-m", "benchmarks.lagging", str(output)]
            async with bench.on_cheap(cheap, 1, RUNNING, CONNECTING, command=command) as product:
                await product.deploy(event("first-1"))
                waiting = event(f"first-{RUNNING}", recipe="wait")
                await product.requester.deploy(waiting)
                await product.steps_running(RUNNING)
                product.instances[0].signal(signal.SIGUSR1)
                await product.deploy(event(f"first-{CONNECTING}"))
                product.instances[0].signal(signal.SIGUSR1)
                lags = sorted(await written(output))
                await product.requester.control("cancel", waiting["deployment_id"])
                await product.requester.event(waiting["deployment_id"], "deployment.finished", seconds=60)
            milliseconds = [lag * 1000 for lag in lags]
            rounds.add(
                "vesemir",
                **{
                    "p50 ms": milliseconds[len(lags) // 2],
                    "p99 ms": milliseconds[int(len(lags) * 0.99)],
                    "p99.9 ms": milliseconds[int(len(lags) * 0.999)],
                    "max ms": milliseconds[-1],
                    "samples": len(lags),
                },
            )
    checks = [Check("p99.9 of the loop's lag", rounds.median("vesemir", "p99.9 ms"), 50, "ms")]
    return GoalResult(4, f"loop lag while {CONNECTING} targets connect and {RUNNING} run", rounds.lines(), checks)


async def written(output: Path) -> list[float]:
    async with asyncio.timeout(30):
        while not output.exists():
            await asyncio.sleep(0.02)
    lags: list[float] = json.loads(output.read_text())
    return lags


async def cost_per_target(bench: Bench) -> GoalResult:
    """The daemon's CPU per target, from 50 to 5,000 targets in one deployment."""
    rounds = Rounds()
    with bench.cheap() as cheap:
        async with bench.on_cheap(cheap, 1, *SIZES) as product:
            await product.deploy(event("first-1"))
            for number in range(bench.rounds):
                for size in SIZES if number < LARGEST_ROUNDS else SIZES[:-1]:
                    # As many targets for each size, so that each is measured as long; the largest at least as long.
                    count = max(1, SIZES[1] // size)
                    rollouts = [await product.deploy(event(f"first-{size}")) for _ in range(count)]
                    cpu = sum(rollout.daemon_cpu for rollout in rollouts)
                    if any(rollout.succeeded != size for rollout in rollouts):
                        raise RuntimeError(f"not every one of {size} targets succeeded")
                    rounds.add(
                        f"{size} targets",
                        **{
                            "CPU ms/target": cpu / count / size * 1000,
                            "wall s": sum(rollout.wall for rollout in rollouts) / count,
                            "memory MB": product.peak_mb(),
                        },
                    )
    growth = rounds.ratio(f"{SIZES[-1]} targets", f"{SIZES[0]} targets", "CPU ms/target")
    checks = [Check(f"cost per target, {SIZES[-1]} / {SIZES[0]} targets", growth, 1.1)]
    return GoalResult(8, "cost per target from 50 to 5,000 targets", rounds.lines(), checks)
