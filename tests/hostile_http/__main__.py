"""``python -m tests.hostile_http``: a real daemon, 10,000 connections that mean no good, and what it then still does.

Broker and database are away: the HTTP interface is what is measured, and an instance starts without them. Prints a row
for each attack and ends with status 1 if something that SECURITY.md promises did not hold. About two minutes.
"""

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.instance import Instance
from tests.hostile_http.clients import HALF_A_REQUEST, MALFORMED, NOTHING, SLOW_BODY, BadClients, ask, send

from vesemir.adapters.reloaded_files import WATCH_SECONDS

LIVE = "/health/live"
ADDRESSES = tuple(f"127.0.{number // 200}.{number % 200 + 1}" for number in range(1000))
LONGEST_SECONDS = 1.0
"""For a health check, whatever else goes on (issue 13)."""
PATIENCE_SECONDS = 45.0


@dataclass(slots=True)
class Sight:
    """What was seen during one attack."""

    attack: str
    connections: int
    kept: int
    most_descriptors: int
    megabytes: float
    slowest_check: float
    left: int
    closed_after: float
    broken: list[str] = field(default_factory=list)

    def row(self) -> str:
        cells = (
            self.attack, self.connections, self.kept, self.most_descriptors, f"{self.megabytes:.0f} MB",
            f"{self.slowest_check * 1000:.0f} ms", self.left, f"{self.closed_after:.1f} s",
        )  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


HEADINGS = (
    "attack", "connections", "kept open", "descriptors", "memory",
    "slowest health check", "open at last", "closed after",
)  # fmt: skip


def main() -> int:
    asked = _arguments()
    needed = asked.connections + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    with tempfile.TemporaryDirectory(prefix="vesemir-hostile-") as folder:
        broken = asyncio.run(_measured(Path(folder), asked.connections, asked.descriptors))
    print("\n" + ("\n".join(broken) or "Everything held."))
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile_http", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--descriptors", type=int, default=20_000, help="the daemon's limit; default: 20,000")
    return parser.parse_args()


async def _measured(folder: Path, count: int, descriptors: int) -> list[str]:
    broken: list[str] = []
    print(f"| {' | '.join(HEADINGS)} |\n|{' ---: |' * len(HEADINGS)}", flush=True)
    attacks: Sequence[tuple[str, bytes, Sequence[str]]] = (
        ("half a request, one address", HALF_A_REQUEST, ADDRESSES[:1]),
        (f"half a request, {len(ADDRESSES)} addresses", HALF_A_REQUEST, ADDRESSES),
        ("nothing sent", NOTHING, ADDRESSES[:1]),
        ("a body that does not come", SLOW_BODY, ADDRESSES),
    )
    for attack, sends, source in attacks:
        async with _daemon(folder, descriptors) as instance:
            sight = await asyncio.to_thread(_crowded, instance, attack, count, sends, source)
            print(sight.row(), flush=True)
            broken += sight.broken
    async with _daemon(folder, descriptors) as instance:
        broken += await asyncio.to_thread(_malformed, instance, 3000)
    async with _daemon(folder, descriptors) as instance:
        broken += await asyncio.to_thread(_starved, instance)
    return broken


@asynccontextmanager
async def _daemon(folder: Path, descriptors: int) -> AsyncIterator[Instance]:
    """A ``vesemir run`` of its own, with a folder of recipes that it watches."""
    log = folder / "daemon.log"
    log.unlink(missing_ok=True)
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "known_hosts").touch()
    if not (folder / "key").exists():
        making = await asyncio.create_subprocess_exec(
            "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")
        )
        await making.wait()
    environment = {
        "VESEMIR_AMQP__URL": "amqp://127.0.0.1:1/",
        "VESEMIR_POSTGRES__DSN": "postgresql://127.0.0.1:1/none",
        "VESEMIR_SSH__CLIENT_KEY": str(folder / "key"),
        "VESEMIR_SSH__KNOWN_HOSTS": str(folder / "known_hosts"),
        "VESEMIR_RECIPES__FOLDERS": f'["{folder / "recipes"}"]',
    }
    instance = Instance("hostile", environment, log)
    await instance.start()
    least = min(descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    # Of the daemon only: without privilege no process raises a hard limit again. It looks at it when it has loaded.
    resource.prlimit(instance.pid, resource.RLIMIT_NOFILE, (least, least))
    try:
        await _until(lambda: ask(instance.port, LIVE).status == 200)
        yield instance
    finally:
        if instance.running:
            instance.process.terminate()
        await instance.process.wait()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.1)


def _crowded(instance: Instance, attack: str, count: int, sends: bytes, source: Sequence[str]) -> Sight:
    sight = Sight(attack, count, 0, 0, 0.0, 0.0, 0, 0.0)
    with BadClients(instance.port) as crowd:
        for _ in range(10):
            crowd.grow(count // 10, sends=sends, source=source)
            answer = ask(instance.port, LIVE)
            sight.slowest_check = max(sight.slowest_check, answer.seconds)
            if answer.status != 200:
                sight.broken.append(f"{attack}: a health check was answered with {answer.status}")
            sight.most_descriptors = max(sight.most_descriptors, _descriptors(instance.pid))
            sight.megabytes = max(sight.megabytes, _megabytes(instance.pid))
        sight.kept = crowd.open()
        begun = time.monotonic()
        try:
            crowd.wait_for(0, seconds=PATIENCE_SECONDS)
        except TimeoutError as error:
            sight.broken.append(f"{attack}: {error}")
        sight.closed_after, sight.left = time.monotonic() - begun, crowd.open()
    if sight.slowest_check > LONGEST_SECONDS:
        sight.broken.append(f"{attack}: a health check took {sight.slowest_check:.1f} s")
    if not instance.running:
        sight.broken.append(f"{attack}: the daemon has ended")
    return sight


def _malformed(instance: Instance, count: int) -> list[str]:
    statuses: dict[int, int] = {}
    for number in range(count):
        status = send(instance.port, MALFORMED[number % len(MALFORMED)]).status
        statuses[status] = statuses.get(status, 0) + 1
    text = instance.log.read_text()
    lines, traces = len(text.splitlines()), text.count("Traceback")
    print(f"\n{count} malformed requests: {lines} lines of log, {traces} tracebacks; answers {statuses}")
    broken = [f"malformed requests: {traces} tracebacks in the log"] if traces else []
    return broken + ([f"malformed requests: answers {statuses}"] if any(each >= 500 for each in statuses) else [])


def _starved(instance: Instance) -> list[str]:
    """Not one descriptor is left for longer than two looks at the recipes; then there are some again."""
    own = resource.prlimit(instance.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(instance.pid, resource.RLIMIT_NOFILE, (_descriptors(instance.pid), own[1]))
    time.sleep(2.5 * WATCH_SECONDS)
    resource.prlimit(instance.pid, resource.RLIMIT_NOFILE, own)
    answer = ask(instance.port, LIVE)
    said = instance.log.read_text().count("Too many open files")
    print(
        f"\nno descriptors for {2.5 * WATCH_SECONDS:.0f} s: health check {answer.status}, {said} lines of log name it"
    )
    if not instance.running or answer.status != 200:
        return ["without descriptors: the daemon has ended"]
    return []


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names only, and a lot of them
    except OSError:
        return 0


def _megabytes(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    sys.exit(main())
