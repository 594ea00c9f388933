"""One lab of real servers for the chaos suite: up, down, and each server stopped and started again by process id."""

import asyncio
import json
import os
import pwd
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

import vesemir

COMMAND = str(Path(sys.executable).with_name("vesemir"))
"""The installed command, as a user runs it."""

START_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(slots=True)
class Restartable:
    """A server of the lab: how it was started, so that it can be started again."""

    pid: int
    words: list[str]
    environment: dict[str, str]
    folder: str
    user: int
    groups: list[int]
    child: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def seen(cls, pid: int) -> "Restartable":
        place = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
        pairs = [item.partition(b"=") for item in (place / "environ").read_bytes().split(b"\0") if item]
        words = [word.decode() for word in (place / "cmdline").read_bytes().split(b"\0") if word]
        if words[0].startswith("sshd: "):  # it writes its state over its words
            words = words[0].removeprefix("sshd: ").partition(" [listener]")[0].split()
        return cls(
            pid=pid,
            words=words,
            environment={name.decode(): value.decode() for name, _, value in pairs},
            folder=str((place / "cwd").readlink()),
            user=int(status["Uid"].split()[1]),
            groups=[int(status["Gid"].split()[1]), *map(int, status["Groups"].split())],
        )

    def start(self, log: Path, words: Sequence[str] | None = None) -> None:
        with log.open("ab") as out:
            self.child = subprocess.Popen(
                words or self.words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
                user=self.user if os.geteuid() == 0 else None,
                group=self.groups[0] if os.geteuid() == 0 else None,
                extra_groups=self.groups[1:] if os.geteuid() == 0 else None,
            )
        self.pid = self.child.pid


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Every process under ``pid``, by their parents."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                    int(entry.name)
                )
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


@dataclass
class Lab:
    """A lab that is up. ``described`` is its ``lab.json``."""

    folder: Path
    described: dict[str, Any]
    _servers: dict[str, Restartable] = field(default_factory=dict)

    @property
    def bytecode(self) -> dict[str, str]:
        """Instances are started hundreds of times: they compile their modules once, into a folder of the lab's."""
        return {"PYTHONPYCACHEPREFIX": str(self.folder.parent / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}

    @property
    def boxes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.described["boxes"]
        return found

    @property
    def amqp_url(self) -> str:
        return str(self.described["amqp_url"])

    def dsn(self, database: str) -> str:
        parts = urlsplit(self.described["postgres_dsn"])
        return str(urlunsplit(parts._replace(path=f"/{database}")))

    def state_folder(self, box: str) -> Path:
        return self.folder / "boxes" / box / "var" / "lib" / "vesemir"

    def server(self, name: str) -> Restartable:
        """``rabbitmq``, ``postgres``, ``haproxy``, ``web1/sshd`` …"""
        if name not in self._servers:
            entries = json.loads((self.folder / "processes.json").read_text())["entries"]
            pid = next(entry["pid"] for entry in entries if entry["name"] == name)
            self._servers[name] = Restartable.seen(pid)
        return self._servers[name]

    async def stop(self, name: str, how: signal.Signals = signal.SIGTERM, *, tree: bool = False) -> None:
        """Signal it and wait until it has gone. ``tree``: its descendants too, at the same moment."""
        server = self.server(name)
        victims = [server.pid, *(descendants(server.pid) if tree else [])]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        async with asyncio.timeout(STOP_SECONDS):
            while any(alive(pid) for pid in victims):
                if server.child is not None:
                    server.child.poll()
                await asyncio.sleep(0.02)

    async def start(self, name: str, *, ready: Mapping[str, Any] | None = None) -> None:
        """Start it again as it was started; returns when its port answers."""
        server = self.server(name)
        server.start(self.folder / "log" / f"chaos-{name.replace('/', '-')}.log")
        host, port = self._address(name) if ready is None else (ready["host"], ready["port"])
        if name == "postgres":
            await self._postgres_answers()
        else:
            await listening(host, port)

    def _address(self, name: str) -> tuple[str, int]:
        if name == "rabbitmq":
            parts = urlsplit(self.amqp_url)
        elif name == "postgres":
            parts = urlsplit(self.described["postgres_dsn"])
        elif name == "haproxy":
            parts = urlsplit(self.described["http_url"])
        else:
            box = next(box for box in self.boxes if box["name"] == name.partition("/")[0])
            return str(box["address"]), int(box["port"])
        return str(parts.hostname), int(parts.port or 0)

    async def _postgres_answers(self) -> None:
        async with asyncio.timeout(START_SECONDS):
            while True:
                with suppress(OSError, asyncpg.PostgresError):
                    connection = await asyncpg.connect(self.dsn("postgres"), timeout=5)
                    await connection.close()
                    return
                await asyncio.sleep(0.1)

    async def control(self, *words: str) -> None:
        """``rabbitmqctl``; two to five seconds."""
        environment = self.server("rabbitmq").environment
        child = await asyncio.create_subprocess_exec(
            "/usr/lib/rabbitmq/bin/rabbitmqctl", *words,
            env={**environment, "HOME": environment["HOME"]}, user=self.server("rabbitmq").user,
            group=self.server("rabbitmq").groups[0],
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(words)} failed: {printed.decode()}")

    async def new_database(self) -> str:
        """An empty database, migrated; its address."""
        name = f"chaos_{secrets.token_hex(4)}"
        connection = await asyncpg.connect(self.dsn("postgres"), timeout=30)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        environment = {**os.environ, **self.described["env"], **self.bytecode, "VESEMIR_POSTGRES__DSN": self.dsn(name)}
        child = await asyncio.create_subprocess_exec(
            COMMAND, "migrate", env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        if await child.wait() != 0:
            raise RuntimeError("vesemir migrate failed")
        return self.dsn(name)


async def listening(host: str, port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Account:
    """An ordinary user of the machine, and an interpreter that he may run."""

    name: str
    uid: int
    gid: int
    python: str

    @classmethod
    def found(cls) -> "Account | None":
        for entry in pwd.getpwall():
            if entry.pw_uid < 1000 or entry.pw_uid >= 60000 or entry.pw_shell.endswith(("nologin", "false")):
                continue
            for python in (sys.executable, "/usr/bin/python3"):
                with suppress(OSError, subprocess.CalledProcessError):
                    subprocess.run(
                        [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                        cwd="/", user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], check=True,
                        stderr=subprocess.DEVNULL,
                    )  # fmt: skip
                    return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, python)
        return None

    def words(self, folder: Path) -> list[str]:
        """What comes before ``lab …`` so that this user runs it, with the same packages."""
        packages = [str(Path(vesemir.__file__).parents[1]), *(each for each in sys.path if "site-packages" in each)]
        return [
            "setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--reset-env",
            "env", f"HOME={folder}", f"PYTHONPATH={':'.join(packages)}", "PYTHONDONTWRITEBYTECODE=1",
            self.python, "-c", "from vesemir.cli import main; main()",
        ]  # fmt: skip


@asynccontextmanager
async def lab_up(folder: Path, *, boxes: int, account: Account | None = None, ha: bool = False) -> AsyncIterator[Lab]:
    """``vesemir lab up --detach``, and down at the end with whatever was started again in between."""
    words = [COMMAND] if account is None else account.words(folder.parent)
    if account is not None:
        os.chown(folder.parent, account.uid, account.gid)

    async def lab(*own: str) -> None:
        child = await asyncio.create_subprocess_exec(
            *words, "lab", *own, "--dir", str(folder), cwd=folder.parent,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"vesemir lab {own[0]} failed: {said.decode()}")

    await lab("up", "--boxes", str(boxes), *(["--ha"] if ha else []), "--detach")
    made = Lab(folder, json.loads((folder / "lab.json").read_text()))
    try:
        yield made
    finally:
        for server in made._servers.values():
            if server.child is not None and server.child.poll() is None:
                server.child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    server.child.wait(20)
        await lab("down")
