"""A private PgBouncer on loopback in front of the tests' PostgreSQL.

``pooled(dsn, mode)`` is one that runs, in the mode that it is asked for; ``through(dsn)`` leads through it. As root it
runs as user ``postgres``, since it refuses root. It serves every database of the server, and the user of the DSN.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.integration.postgres_server import as_postgres, free_port

_CONFIGURATION = """
[databases]
* = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
max_client_conn = 1000
default_pool_size = {pool_size}
server_login_retry = 1
{more}
"""
_START_SECONDS = 10.0
_STOP_SECONDS = 10.0


class PoolMode(StrEnum):
    """When a client gives its connection to the server back."""

    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


@dataclass(slots=True)
class PgBouncer:
    """One PgBouncer. ``start`` and ``stop`` may be called again and again: its port stays.

    ``settings`` are lines of its ``[pgbouncer]`` section.
    """

    server_dsn: str
    """Of any database of the server behind it."""
    mode: PoolMode
    settings: tuple[str, ...] = ()
    pool_size: int = 60
    password: str | None = None
    """That it asks for, if it is not the server's."""
    port: int = field(default_factory=free_port)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="vesemir-pgbouncer-")))
    _process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        return self.through(urlsplit(self.server_dsn)._replace(path=f"/{database}", query="").geturl())

    def through(self, dsn: str) -> str:
        """The same database, as the same user, through it."""
        parts = urlsplit(dsn)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    async def start(self) -> None:
        """Returns when it listens."""
        self._process = self._begun()
        async with asyncio.timeout(_START_SECONDS):
            while not await self._listens():
                if self._process.poll() is not None:
                    raise RuntimeError(self.log())
                await asyncio.sleep(0.02)

    def _begun(self) -> subprocess.Popen[bytes]:
        configuration = self.write()
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [_program(), configuration], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                cwd=self.folder, **as_postgres(),
            )  # fmt: skip

    def write(self) -> Path:
        """Its files, for a start or a reload; the configuration's."""
        server = urlsplit(self.server_dsn)
        text = _CONFIGURATION.format(
            host=server.hostname, server_port=server.port, port=self.port, folder=self.folder, mode=self.mode,
            pool_size=self.pool_size, more="\n".join(self.settings),
        )  # fmt: skip
        password = server.password or "" if self.password is None else self.password
        (self.folder / "users").write_text(f'"{server.username}" "{password}"\n', encoding="utf-8")
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(text, encoding="utf-8")
        if os.geteuid() == 0:
            for each in (self.folder, *self.folder.iterdir()):
                shutil.chown(each, "postgres", "postgres")
        return configuration

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def stop(self, how: signal.Signals = signal.SIGQUIT, *, patience: float = _STOP_SECONDS) -> None:
        """SIGQUIT: at once. SIGINT: when no client needs a connection, as ``systemctl restart`` does. SIGKILL: a crash.

        Killed when it takes longer than ``patience`` seconds, as systemd does. SIGTERM means at once before 1.23, and
        since then when no client is left.
        """
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


def _program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/bin")
    if found is None:
        pytest.skip("PgBouncer is not installed (script/bootstrap installs it)")
    return found


@asynccontextmanager
async def pooled(
    server_dsn: str, mode: PoolMode, *settings: str, pool_size: int = 60, password: str | None = None
) -> AsyncIterator[PgBouncer]:
    """One that runs."""
    pooler = PgBouncer(server_dsn, mode, settings, pool_size, password)
    try:
        await pooler.start()
        yield pooler
    finally:
        pooler.stop()
        shutil.rmtree(pooler.folder)
