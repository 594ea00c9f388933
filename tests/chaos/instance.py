"""One ``vesemir run`` as a process of its own, with the environment that the test gives it."""

import asyncio
import json
import os
import random
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos.servers import COMMAND

HEALTHY_SECONDS = 60.0


PORTS = range(12000, 32000)
"""Below those that the kernel gives to outgoing connections: one that was free stays free."""


def free_port() -> int:
    while True:
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", random.choice(PORTS)))
            return int(trial.getsockname()[1])


class Instance:
    """``name`` is what the record's owners begin with."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.port = free_port()
        self._environment = environment
        self.log = log
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        own = {"VESEMIR_INSTANCE": self.name, "VESEMIR_HTTP__PORT": str(self.port), "VESEMIR_LOG__FORMAT": "text"}
        with self.log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                COMMAND, "run",
                env={**os.environ, **self._environment, **own},
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self.process.send_signal(number)

    async def ended(self, seconds: float) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.signal(signal.SIGCONT)
        await self.process.wait()

    async def stop(self, seconds: float = 60) -> int:
        """SIGTERM; its exit status, killed when it takes too long."""
        if not self.running:
            return self.process.returncode or 0
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return await self.ended(seconds)
        except TimeoutError:
            await self.kill()
            return -1

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 when nobody listens."""
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                finally:
                    writer.close()
                return int(head.split()[1]), body.decode()
        except (OSError, IndexError, TimeoutError):
            return 0, ""

    async def health(self, wanted: int, seconds: float = HEALTHY_SECONDS) -> dict[str, Any]:
        """Wait until ``/health`` answers that; the answer."""
        async with asyncio.timeout(seconds):
            while True:
                status, body = await self.get("/health")
                if status == wanted:
                    answer: dict[str, Any] = json.loads(body)
                    return answer
                if not self.running:
                    raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.log}")
                await asyncio.sleep(0.05)

    async def measure(self, name: str) -> float:
        """The sum of a metric's samples."""
        _, text = await self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def memory_kib(self, what: str = "VmHWM") -> int:
        """``VmHWM`` is the peak, ``VmRSS`` what it is now (proc(5))."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
