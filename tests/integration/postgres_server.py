"""A private PostgreSQL for a test run (temporary folder, free loopback port) and a fresh database per test.

Import the fixtures into a test module: ``from tests.integration.postgres_server import database, postgres_server``. The
server starts once per test run whichever module asks first. As root it runs as user ``postgres``, which refuses root.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from vesemir.adapters.postgres import migrate

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
synchronous_commit = on
full_page_writes = off
max_connections = 200
shared_buffers = 64MB
log_min_messages = warning
"""
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0


def _binaries() -> Path:
    """The newest installed server: Debian keeps them outside PATH."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True
    )
    if not folders:
        pytest.skip("no PostgreSQL server is installed (script/bootstrap installs it)")
    return folders[0]


@dataclass(slots=True)
class PostgresServer:
    """One server. ``start`` and ``stop`` may be called again and again: the port and the contents stay."""

    folder: Path
    port: int
    binaries: Path
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def dsn(self, database: str) -> str:
        return f"postgresql://vesemir@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """initdb, and the configuration of a server that may lose everything."""
        contents = self.folder / "contents"
        self._run(
            "initdb", "-D", str(contents), "-U", "vesemir", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        with (contents / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(_CONFIGURATION + f"port = {self.port}\n")

    def copy_of(self, primary: "PostgresServer") -> None:
        """A hot standby of that one, which runs."""
        contents = self.folder / "contents"
        self._run(
            "pg_basebackup", "-d", primary.dsn("postgres"), "-D", str(contents), "-R", "--checkpoint=fast", "--no-sync"
        )
        with (contents / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"port = {self.port}\n")

    def start(self) -> None:
        """Returns when it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "contents"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **as_postgres(),
            )  # fmt: skip
        try:
            finished(self._answers())
        except BaseException:
            self.stop(signal.SIGQUIT)
            raise

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast shutdown; SIGQUIT: as in a crash."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(_STOP_SECONDS)

    async def make_database(self, template: str) -> str:
        """A fresh database made from ``template``; its name."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    async def drop_database(self, name: str) -> None:
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, sql: str, database: str = "postgres") -> None:
        connection = await asyncpg.connect(self.dsn(database), timeout=10)
        try:
            await connection.execute(sql)
        finally:
            await connection.close(timeout=10)

    async def _answers(self) -> None:
        """Connections are refused until it listens, and there is nothing to wait on before that."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                try:
                    return await self.execute("SELECT 1")
                except (OSError, asyncpg.CannotConnectNowError):
                    if self._process is None or self._process.poll() is not None:
                        raise RuntimeError((self.folder / "log").read_text(encoding="utf-8")) from None
                    await asyncio.sleep(0.02)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries / program, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.folder, check=False, **as_postgres(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")


def finished(work: Coroutine[Any, Any, object]) -> None:
    """Runs it in a loop of its own, in a thread: the fixture may be asked for while a test's loop runs."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def as_postgres() -> dict[str, object]:
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_server() -> PostgresServer:
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="vesemir-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    return PostgresServer(folder, free_port(), binaries)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """With a migrated database ``template_vesemir`` to copy."""
    server = new_server()
    try:
        server.initialise()
        server.start()
        finished(server.execute("CREATE DATABASE template_vesemir"))
        finished(migrate(server.dsn("template_vesemir")))
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


_RUNNING = pytest.StashKey[PostgresServer]()


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """Running. Started by the first module that asks for it."""
    running = pytestconfig.stash.get(_RUNNING, None)
    if running is not None:
        yield running
        return
    with running_server() as server:
        pytestconfig.stash[_RUNNING] = server
        yield server


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The DSN of a fresh, migrated database."""
    name = await postgres_server.make_database("template_vesemir")
    yield postgres_server.dsn(name)
    await postgres_server.drop_database(name)
