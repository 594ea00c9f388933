"""The credentials of one installation of a lab, each rotated as docs/operations.md has it."""

import asyncio
import os
import secrets
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncssh
from tests.chaos.arena import Arena, Deployment, until
from tests.chaos.servers import Lab

DEPLOY_SECONDS = 1.0
BETWEEN_SECONDS = 3.0
"""Deployments that begin before, during and after each rotation."""


def with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


class Rotation:
    """They are files in ``folder``; ``user`` is a user of the broker and a role of the database."""

    def __init__(self, arena: Arena, folder: Path, *, user: str) -> None:
        self.arena = arena
        self.folder = folder
        self.user = user
        self.asked: list[Deployment] = []
        self._authorized = ""

    @property
    def lab(self) -> Lab:
        return self.arena.lab

    def write(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.chmod(0o600)
        new.replace(self.folder / name)

    async def prepare(self) -> None:
        """A user of the broker and a role of the database that are this arena's alone."""
        await self.lab.control("add_user", self.user, "first")
        await self.lab.control("set_permissions", self.user, ".*", ".*", ".*")
        self.write("amqp_url", with_login(self.lab.amqp_url, self.user, "first"))
        owner = urlsplit(self.arena.dsn).username
        await self.arena.record.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD 'first' IN ROLE {owner}")
        self.write("dsn", with_login(self.arena.dsn, self.user, "first"))
        self.write("token", "first")
        self._authorized = await asyncio.to_thread(self._new_key)
        files = {"AMQP__URL": "amqp_url", "POSTGRES__DSN": "dsn", "HTTP__TOKEN": "token"}
        self.arena.variables |= {f"VESEMIR_{name}_FILE": str(self.folder / file) for name, file in files.items()}
        self.arena.variables["VESEMIR_SSH__CLIENT_KEY"] = str(self.folder / "ssh_key")

    async def deploy(self) -> None:
        while True:
            self.asked.append(await self.arena.deploy(boxes=1, seconds=0.3))
            await asyncio.sleep(DEPLOY_SECONDS)

    def reload(self) -> None:
        for instance in self.arena.instances:
            os.kill(instance.pid, signal.SIGHUP)

    # --- the rotations, each as docs/operations.md has it

    async def broker(self) -> None:
        password = secrets.token_hex(8)
        await self.lab.control("change_password", self.user, password)
        self.write("amqp_url", with_login(self.lab.amqp_url, self.user, password))
        await self.lab.control("close_all_user_connections", self.user, "rotated")

    async def database(self) -> None:
        password = secrets.token_hex(8)
        await self.arena.record.execute(f"ALTER ROLE {self.user} PASSWORD '{password}'")
        self.write("dsn", with_login(self.arena.dsn, self.user, password))
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1"
        assert await self.arena.record.fetchval(ended, self.user)

    async def token(self) -> None:
        self.write("token", "second\nfirst\n")
        self.reload()
        await self.answered({"first": 200, "second": 200})
        self.write("token", "second")
        self.reload()
        await self.answered({"first": 401, "second": 200})

    async def answered(self, expected: Mapping[str, int]) -> None:
        def right() -> bool:
            ports = [instance.port for instance in self.arena.instances]
            return all(status(port, token) == wanted for port in ports for token, wanted in expected.items())

        await until(right, seconds=10, what=f"the API answers {expected}")

    async def ssh(self) -> None:
        old, self._authorized = self._authorized, await asyncio.to_thread(self._new_key)
        self.reload()
        await asyncio.sleep(BETWEEN_SECONDS)
        for file in self._key_files():
            await asyncio.to_thread(file.write_text, file.read_text().replace(old, ""))

    def _new_key(self) -> str:
        """One that every box lets in beside the others; its line there."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        public = key.export_public_key().decode()
        for file in self._key_files():
            with file.open("a") as keys:
                keys.write(public)
        self.write("ssh_key", key.export_private_key().decode())
        return public

    def _key_files(self) -> list[Path]:
        found = sorted(self.lab.folder.glob("**/authorized_keys"))
        assert found
        return found


def status(port: int, token: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/deployments", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
