"""What logs and metrics cost: their share of the daemon's CPU while it deploys to 300 targets, in one run.

python -m benchmarks.observing measures three deployments of five steps to 300 targets; /metrics is read every 5 s.

Exit status 1 if the share is 5 % or more. Whatever the daemon writes and measures by default is on; the hosts are a
cheap server, so the daemon's own work is all there is to hide behind.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos.servers import lab_up

from benchmarks.bench import Bench
from benchmarks.product import Product, event

TARGETS, LIMIT = 300, 0.05
SCRAPE_SECONDS = 5.0
"""A Prometheus asks every 15 s or so."""


async def main(given: argparse.Namespace) -> int:
    shares = []
    with tempfile.TemporaryDirectory(prefix="vesemir-observing-") as scratch:
        folder = Path(scratch)
        async with lab_up(folder / "lab", boxes=1) as lab:
            bench = Bench(folder, given.rounds, lab, None, {})  # type: ignore[arg-type]  # no farm, no peers
            output = folder / "costs.json"
            command = [sys.executable, "-m", "benchmarks.observed", str(output)]
            with bench.cheap() as cheap:
                async with bench.on_cheap(cheap, 1, given.targets, command=command) as product:
                    await product.deploy(event("first-1"))
                    print(f"{'':10} {'CPU of the daemon':>18} {'logs':>16} {'metrics':>16} {'share':>8}")
                    for number in range(1, given.rounds + 1):
                        shares.append(
                            _told(number, await _measured(product, given.targets, output), detail=given.detail)
                        )
                        output.unlink()
    median = sorted(shares)[len(shares) // 2]
    word = "under" if median < LIMIT else "NOT under"
    print(f"logs and metrics: {median:.1%} of the CPU of a {given.targets}-target deployment, {word} {LIMIT:.0%}")
    return 0 if median < LIMIT else 1


async def _measured(product: Product, targets: int, output: Path) -> Mapping[str, Any]:
    """One window around one deployment, read like a Prometheus in a hurry."""
    (instance,) = product.instances
    scraping = asyncio.create_task(_scrape(product))
    instance.signal(signal.SIGUSR1)
    rollout = await product.deploy(event(f"first-{targets}"))
    instance.signal(signal.SIGUSR1)
    scraping.cancel()
    if rollout.succeeded != targets:
        raise RuntimeError(f"{rollout.succeeded} of {targets} targets succeeded: {rollout.result['failure']}")
    deadline = time.monotonic() + 60
    while not output.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the daemon did not write what it cost")
        await asyncio.sleep(0.02)
    found: Mapping[str, Any] = json.loads(output.read_text())
    return found


async def _scrape(product: Product) -> None:
    (instance,) = product.instances
    while True:
        with suppress(OSError):
            await instance.measure("vesemir_ssh_sessions")
        await asyncio.sleep(SCRAPE_SECONDS)


def _told(number: int, costs: Mapping[str, Any], *, detail: bool) -> float:
    cpu, seconds, calls = costs["cpu"], costs["seconds"], costs["calls"]
    share = sum(seconds.values()) / cpu
    parts = []
    for kind in ("log", "metrics"):
        names = [name for name in seconds if name.split()[0] == kind]
        milliseconds = sum(seconds[name] for name in names) * 1000
        parts.append(f"{milliseconds:.0f} ms, {sum(calls[name] for name in names)} calls")
    print(f"round {number:<4} {cpu:>16.2f} s {parts[0]:>22} {parts[1]:>22} {share:>8.1%}", flush=True)
    if detail:
        for name, spent in sorted(seconds.items(), key=lambda each: -each[1]):
            each = spent / calls[name] * 1e6
            print(f"           {name:<28} {spent * 1000:>8.1f} ms {calls[name]:>7} calls {each:>7.1f} µs")
    return float(share)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="deployments measured (default 3)")
    parser.add_argument("--targets", type=int, default=TARGETS, metavar="N", help=f"of each (default {TARGETS})")
    parser.add_argument("--detail", action="store_true", help="what each kind of call cost")
    given = parser.parse_args()
    if given.rounds < 1 or given.targets < 1:
        parser.error("--rounds and --targets must be at least 1")
    return given


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(arguments())))
    except KeyboardInterrupt:
        sys.exit(130)
