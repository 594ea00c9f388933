"""``python -m tests.hostile_fleet [--targets N]``: a deployment to N hosts, 10 of them hostile, each in another way.

The others succeed, the daemon's memory stays below 200 MB, and its event loop is late by less than 100 ms (p99.9).
The healthy hosts are one cheap server; broker and database are a lab's. Ends with 1 if one of that does not hold.
"""

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import cheap
from benchmarks.goals.cheap_hosts import written
from benchmarks.product import Product, event
from tests.chaos.servers import lab_up
from tests.integration.hostile_frames import STEPS
from tests.integration.hostile_sessions import Hostile, hostile_running

MOST_MB = 200.0
MOST_LAG_MS = 100.0
TARGET_SECONDS = 40.0
"""``timeouts.target``: for those that only make others wait."""


def _step(name: str) -> str:
    return f"step-{list(STEPS).index(name)}"


ATTACKS: Mapping[str, tuple[str, str]] = {
    "output as fast as it can": ("flood", "ssh"),
    "a greeting's place in packets of a byte": ("drip", "ssh"),
    "the smallest packets as fast as it can, and no end of the step": ("storm", "ssh"),
    "output that is announced and kept": ("keeps", "ssh"),
    "2,000 announcements": (_step("many announcements"), "ssh"),
    "numbers of 30 digits": (_step("30 digits"), "ssh"),
    "an end with too few fields": (_step("too few fields"), "ssh"),
    "a claim that the lease is lost": ("epoch", "ssh"),
    "banners without end": ("banners", "ssh"),
    "one line without end before SSH": ("x", "one_long_line"),
}
"""What the host does: its login user, and the port of the hostile server."""


@contextmanager
def healthy(folder: Path) -> Iterator[int]:
    """The cheap server; its port."""
    folder.mkdir(parents=True)
    words = [sys.executable, "-m", "benchmarks.cheap", str(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdin=subprocess.PIPE, stderr=log) as server:
        try:
            while not (folder / "port").exists():
                if server.poll() is not None:
                    raise RuntimeError(f"the cheap server ended: {(folder / 'log').read_text()}")
                time.sleep(0.02)
            yield int((folder / "port").read_text())
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(30)


def inventory(targets: int, port: int, hostile: Hostile) -> str:
    """Every tenth of the first hosts is hostile, as long as there are attacks."""
    lines = ["[groups.first-1]", 'hosts = ["good000"]', "[groups.fleet]"]
    hosts = {f"good{number:03d}": (cheap.ADDRESS, port, "root") for number in range(targets - len(ATTACKS))}
    for number, (user, place) in enumerate(ATTACKS.values()):
        hosts[f"evil{number:03d}"] = ("127.0.0.1", hostile.ports[place], user)
    lines.append(f"hosts = {sorted(hosts, key=lambda name: name[4:])!r}".replace("'", '"'))
    for name, (address, at, user) in hosts.items():
        lines += [f"[hosts.{name}]", f'address = "{address}"', f"port = {at}", f'user = "{user}"']
        lines += [f"[hosts.{name}.variables]", 'vesemir_state_dir = "/nowhere"']
    return "\n".join(lines)


async def measure(folder: Path, targets: int) -> int:
    lags_file = folder / "lags.json"
    with healthy(folder / "cheap") as port, hostile_running(folder / "hostile") as hostile:
        keys = folder / "cheap"
        known = folder / "known_hosts"
        known.write_text((keys / "known_hosts").read_text() + (folder / "hostile" / "known_hosts").read_text())
        settings = {
            "VESEMIR_SSH__CLIENT_KEY": str(keys / "client_key"),
            "VESEMIR_SSH__KNOWN_HOSTS": str(known),
            "VESEMIR_SSH__USER": "root",
        }
        async with (
            lab_up(folder / "lab", boxes=1) as lab,
            Product.running(
                lab,
                folder / "product",
                inventory=inventory(targets, port, hostile),
                settings=settings,
                command=[sys.executable, "-m", "benchmarks.lagging", str(lags_file)],
            ) as product,
        ):
            await product.deploy(event("first-1"))
            before = product.peak_mb()
            product.instances[0].signal(signal.SIGUSR1)
            rollout = await product.deploy(
                event(
                    "fleet",
                    rollout={"concurrency": "100%", "max_failures": "100%"},
                    timeouts={"target": TARGET_SECONDS, "step": TARGET_SECONDS},
                )
            )
            product.instances[0].signal(signal.SIGUSR1)
            lags = sorted(await written(lags_file))
            log = product.instances[0].log.read_text()
            return report(rollout.result, targets, lags=lags, memory=(before, product.peak_mb()), log=log)


def report(result: Mapping[str, Any], targets: int, *, lags: list[float], memory: tuple[float, float], log: str) -> int:
    by_name = {each["name"]: each for each in result["targets"]}
    for number, what in enumerate(ATTACKS):
        host = by_name[f"evil{number:03d}"]
        code = host["failure"]["code"] if host["failure"] else "-"
        print(f"  {what:<64} {host['status']:<12} {code:<24} {host['duration_seconds']:6.1f} s")
    good = [each for name, each in by_name.items() if name.startswith("good")]
    done = sum(each["status"] == "succeeded" for each in good)
    slowest = max(each["duration_seconds"] for each in good)
    evil = sum(each["status"] == "succeeded" for name, each in by_name.items() if name.startswith("evil"))
    late = lags[int(len(lags) * 0.999)] * 1000
    metrics = result["metrics"]
    print(f"healthy hosts succeeded: {done} of {targets - len(ATTACKS)}, the slowest after {slowest:.1f} s")
    print(f"hostile hosts succeeded: {evil} of {len(ATTACKS)}; takeovers: {metrics['takeovers']}")
    print(f"memory: {memory[0]:.0f} MB before, {memory[1]:.0f} MB at most ({MOST_MB:g} allowed)")
    print(f"loop lag: p99.9 {late:.1f} ms ({MOST_LAG_MS:g} allowed), max {lags[-1] * 1000:.1f} ms, {len(lags)} samples")
    print(f"tracebacks in the log: {log.count('Traceback')}")
    kept = (
        done == targets - len(ATTACKS)
        and not evil
        and not metrics["takeovers"]
        and memory[1] < MOST_MB
        and late < MOST_LAG_MS
        and "Traceback" not in log
    )
    print("ok" if kept else "BROKEN")
    return 0 if kept else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile_fleet", description=__doc__)
    parser.add_argument("--targets", type=int, default=100, help="hosts in all, 10 of them hostile (100)")
    arguments = parser.parse_args()
    if arguments.targets <= len(ATTACKS):
        parser.error(f"--targets must be more than {len(ATTACKS)}")
    with tempfile.TemporaryDirectory(prefix="vesemir-hostile-") as folder:
        Path(folder).chmod(0o755)
        return asyncio.run(measure(Path(folder), arguments.targets))


if __name__ == "__main__":
    raise SystemExit(main())
