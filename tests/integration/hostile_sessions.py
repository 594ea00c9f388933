"""What the tests with hostile hosts share: the server, targets by attack, and a watch on what they cost."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.hostile_server import ADDRESS

from vesemir.domain.target import Target
from vesemir.settings import SshSettings

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
TICK_SECONDS = 0.002


@dataclass
class Hostile:
    """A running server; ``ports`` by name."""

    folder: Path
    ports: dict[str, int]

    def target(self, user: str = "honest", *, port: str = "ssh", name: str = "") -> Target:
        return Target(name=name or user, address=ADDRESS, port=self.ports[port], user=user, variables={})

    def settings(self, **changes: Any) -> SshSettings:
        files = {"client_key": self.folder / "client_key", "known_hosts": self.folder / "known_hosts"}
        return SshSettings.model_validate({"user": "x", "python": "python3", **files, **changes})


@contextlib.contextmanager
def hostile_running(folder: Path) -> Iterator[Hostile]:
    """Start one; its standard input is its life."""
    folder.mkdir(parents=True)
    words = [sys.executable, "-m", "tests.integration.hostile_server", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 30
        while not (folder / "ports").exists():
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the hostile server did not start: {(folder / 'log').read_text()}")
            time.sleep(0.02)
        lines = (folder / "ports").read_text().splitlines()
        yield Hostile(folder, {line.split()[0]: int(line.split()[1]) for line in lines})
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Cost:
    """What something cost while it was watched: the longest time for which the loop did one thing (in processor time
    of its thread: another program on the machine is nobody's fault here), and the most memory beyond the beginning."""

    longest: float = 0.0
    grown_mb: float = 0.0
    samples: list[float] = field(default_factory=list)


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Cost]:
    cost = Cost()
    begun = _memory_mb()

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            cost.samples.append(time.thread_time() - before)
            cost.longest = max(cost.longest, cost.samples[-1])
            cost.grown_mb = max(cost.grown_mb, _memory_mb() - begun)

    watching = asyncio.create_task(watch())
    try:
        yield cost
    finally:
        watching.cancel()
        await asyncio.wait({watching})


def _memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB
