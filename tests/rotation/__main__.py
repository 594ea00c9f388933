"""``python -m tests.rotation``: each credential is rotated while a deployment begins every second; none may fail.

In a lab of its own, with two instances whose secrets come from files. After each rotation all connections of that kind
are ended, so that everything has to log in again; the last one also ends what the old SSH key may do.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncssh
from tests.chaos.arena import Arena, Deployment, until
from tests.chaos.servers import Lab, lab_up

DEPLOY_SECONDS = 1.0
BETWEEN_SECONDS = 3.0
"""Deployments that begin before, during and after each rotation."""


def with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


class Rotation:
    """The credentials of one installation, as files in ``folder``."""

    def __init__(self, arena: Arena, folder: Path) -> None:
        self.arena = arena
        self.folder = folder
        self.user = arena.name
        self.asked: list[Deployment] = []

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
        self.write("ssh_key", await asyncio.to_thread(Path(self.lab.described["client_key"]).read_text))
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
        key = asyncssh.generate_private_key("ssh-ed25519")
        public, keys = key.export_public_key().decode(), sorted(self.lab.folder.glob("**/authorized_keys"))
        assert keys
        for file in keys:
            file.write_text(file.read_text() + public)
        self.write("ssh_key", key.export_private_key().decode())
        self.reload()
        await asyncio.sleep(BETWEEN_SECONDS)
        for file in keys:
            file.write_text(public)


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


async def rotated(folder: Path) -> bool:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(lab_up(folder / "lab", boxes=2))
        arena = await stack.enter_async_context(Arena.opened(lab))
        rotation = Rotation(arena, folder)
        await rotation.prepare()
        await arena.crew(2)
        steady = asyncio.create_task(rotation.deploy())
        for step in (rotation.broker, rotation.database, rotation.token, rotation.ssh):
            await asyncio.sleep(BETWEEN_SECONDS)
            before = len(rotation.asked)
            await step()
            print(f"{step.__name__}: rotated; {len(rotation.asked) - before} deployments began meanwhile", flush=True)
        await asyncio.sleep(BETWEEN_SECONDS)
        assert not steady.done()
        steady.cancel()
        results = [await arena.result(each) for each in rotation.asked]
        failed = [result for result in results if result["status"] != "succeeded"]
        print(f"{len(results)} deployments: {dict(Counter(result['status'] for result in results))}")
        for result in failed:
            print(json.dumps(result)[:2000])
        return not failed and all(instance.running for instance in arena.instances)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="vesemir-rotation-") as name:
        Path(name).chmod(0o755)  # the lab's servers are other users
        return 0 if asyncio.run(rotated(Path(name))) else 1


if __name__ == "__main__":
    sys.exit(main())
