"""The service managers of a lab's boxes, one per box, in one program: what systemd is on a real host.

It reads ``services.json`` (box, service, command, folder, environment, log), starts every service, and then does what
the boxes' ``systemctl`` asks over a Unix socket: one line ``BOX VERB SERVICE``, answered by an exit status and text.
A service is started in a session of its own, as with ``Type=simple``: it counts as started when its program runs.
To stop one, its process group gets SIGTERM, and SIGKILL when it is still there after the grace.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STOP_SECONDS = 10.0
_MARK = {name: value for name, value in os.environ.items() if name.startswith("VESEMIR_LAB_")}
"""What `vesemir lab down` knows its processes by; every service carries it."""


class BoxService:
    """One service of one box."""

    def __init__(self, name: str, *, command: str, folder: str, environment: dict[str, str], log: str) -> None:
        self.name = name
        self.command = command
        self.folder = folder
        self.environment = environment
        self.log = log
        self.state = "inactive"
        self.since = time.time()
        self.exit_status: int | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.ended = asyncio.Event()
        self.lock = asyncio.Lock()
        """One change at a time, as a job of systemd."""
        self._watched = -1

    def launch(self) -> str:
        """Start it; returns what went wrong, or nothing."""
        try:
            with Path(self.log).open("ab") as log:
                self.child = subprocess.Popen(
                    [self.command],
                    cwd=self.folder,
                    env={**self.environment, **_MARK},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            self._became("failed")
            return f"Job for {self.name}.service failed: {self.command}: {error.strerror}"
        self.ended.clear()
        self._watched = os.pidfd_open(self.child.pid)
        asyncio.get_running_loop().add_reader(self._watched, self._collect, self.child)
        self._became("active")
        return ""

    def _collect(self, child: subprocess.Popen[bytes]) -> None:
        """Its main program ended: whatever it left in its group ends with it."""
        asyncio.get_running_loop().remove_reader(self._watched)
        os.close(self._watched)
        self._kill_group(signal.SIGKILL)
        self.exit_status = child.wait()
        self.child = None
        self._became("inactive" if self.exit_status in {0, -signal.SIGTERM} else "failed")
        self.ended.set()

    async def halt(self) -> None:
        """Stop it and wait until it has ended."""
        if self.child is not None:
            self._kill_group(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self.ended.wait()
            except TimeoutError:
                self._kill_group(signal.SIGKILL)
                await self.ended.wait()
        self._became("inactive")

    def _kill_group(self, number: signal.Signals) -> None:
        assert self.child is not None  # noqa: S101 -- both callers have looked; not yet collected, so the id is ours
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def _became(self, state: str) -> None:
        self.state = state
        self.since = time.time()

    # What systemctl asks: each returns the exit status and the text.

    async def start(self) -> tuple[int, str]:
        async with self.lock:
            trouble = "" if self.child is not None else self.launch()
        return (1 if trouble else 0), trouble

    async def stop(self) -> tuple[int, str]:
        async with self.lock:
            await self.halt()
        return 0, ""

    async def restart(self) -> tuple[int, str]:
        async with self.lock:
            await self.halt()
            trouble = self.launch()
        return (1 if trouble else 0), trouble

    async def is_active(self) -> tuple[int, str]:
        return (0 if self.state == "active" else 3), self.state

    async def status(self) -> tuple[int, str]:
        pid = "" if self.child is None else f"\n   Main PID: {self.child.pid}"
        ended = "" if self.exit_status is None else f"\n  Last exit: {self.exit_status}"
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        text = f"{self.name}.service - {self.command}\n     Active: {self.state} since {since}{pid}{ended}"
        return (0 if self.state == "active" else 3), text


async def answer(services: dict[tuple[str, str], BoxService], line: str) -> tuple[int, str]:
    """Do what one line asks: exit status and text of systemctl(1)."""
    box, verb, name = (*line.split(" ", 2), "", "")[:3]
    service = services.get((box, name))
    if service is None:
        return _not_found(verb, name)
    if verb == "cat":
        return 0, f"# {name}.service of {box}\nExecStart={service.command}"
    verbs = {
        "start": service.start,
        "stop": service.stop,
        "restart": service.restart,
        "is-active": service.is_active,
        "status": service.status,
    }
    if verb not in verbs:
        return 1, f"Unknown command verb '{verb}'."
    return await verbs[verb]()


def _not_found(verb: str, name: str) -> tuple[int, str]:
    if verb == "is-active":
        return 3, "inactive"
    if verb == "cat":
        return 1, f"No files found for {name}.service."
    if verb == "status":
        return 4, f"Unit {name}.service could not be found."
    return 5, f"Failed to {verb} {name}.service: Unit {name}.service not found."


async def serve(services: dict[tuple[str, str], BoxService], path: str) -> None:
    """Start everything, answer until SIGTERM, stop everything."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readline()).decode(errors="replace").strip()
            code, text = await answer(services, line)
            writer.write(f"{code}\n{text}".encode())
            await writer.drain()
        except (ConnectionError, asyncio.LimitOverrunError, ValueError):
            pass  # the caller went away; what it asked for is done all the same
        finally:
            writer.close()

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    for service in services.values():
        await service.start()
    server = await asyncio.start_unix_server(talk, path)
    os.chmod(path, 0o600)  # noqa: PTH101 -- quick, and only here
    print(f"{len(services)} services started", flush=True)
    await stopping.wait()
    server.close()
    await asyncio.gather(*(service.stop() for service in services.values()))


def main() -> None:
    file, path = sys.argv[1:]
    services = {}
    for each in json.loads(Path(file).read_text()):
        box, name = each.pop("box"), each.pop("name")
        services[box, name] = BoxService(name, **each)
    asyncio.run(serve(services, path))


if __name__ == "__main__":
    main()
