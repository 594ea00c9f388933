"""A jump host of an arena's own, a real sshd: its boxes are reached through it, until it is killed."""

import asyncio
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.chaos.arena import Arena, until
from tests.chaos.servers import alive, descendants
from tests.integration.ssh_server import Sshd, end_with_sessions, sshd_running, wait_for_port


class Bastion:
    def __init__(self, sshd: Sshd) -> None:
        self._sshd = sshd
        self._process = sshd.process

    def logins(self) -> int:
        return self._sshd.log().count("Accepted publickey")

    async def kill(self) -> None:
        """SIGKILL to all of it at once; returns when it is gone."""
        victims = [self._process.pid, *descendants(self._process.pid)]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)
        await until(lambda: not any(map(alive, victims)), seconds=20, what="the bastion is gone")

    async def start(self) -> None:
        """At the same place again; returns when it answers."""
        words = [str(word) for word in self._sshd.process.args]  # type: ignore[union-attr]
        self._process = subprocess.Popen(words)  # noqa: ASYNC220
        log = self._sshd.folder / "sshd.log"
        await asyncio.to_thread(wait_for_port, self._sshd.port, self._process, log, address=self._sshd.address)

    def end(self) -> None:
        end_with_sessions(self._process)


async def behind_bastion(arena: Arena) -> tuple[Bastion, dict[str, str]]:
    """The bastion, and the variables of an instance that reaches every box through it."""
    folder = arena.logs / f"{arena.name}-bastion-{len(list(arena.logs.glob('*-bastion-*')))}"
    sshd = await asyncio.to_thread(arena.stack.enter_context, sshd_running(folder, first="MaxStartups 10:30:100"))
    bastion = Bastion(sshd)
    arena.stack.callback(bastion.end)
    lab = arena.lab.described
    public = await asyncio.to_thread(Path(f"{lab['client_key']}.pub").read_text)
    (folder / "authorized_keys").write_text(public)
    known = await asyncio.to_thread(Path(lab["known_hosts"]).read_text)
    (folder / "known").write_text(known + sshd.known_hosts.read_text())
    (folder / "inventory.toml").write_text(_inventory(arena, sshd))
    return bastion, {
        "VESEMIR_INVENTORY__FILE": str(folder / "inventory.toml"),
        "VESEMIR_SSH__KNOWN_HOSTS": str(folder / "known"),
    }


def _inventory(arena: Arena, bastion: Sshd) -> str:
    tables = [f'[hosts.bastion]\naddress = "{bastion.address}"\nport = {bastion.port}\nuser = "{bastion.user}"\n']
    for box in arena.lab.boxes:
        own = {
            "root": box["root"],
            "vesemir_state_dir": str(arena.lab.state_folder(box["name"])),
            "vesemir_jump": "bastion",
        }
        place = f'address = "{box["address"]}"\nport = {box["port"]}\nuser = "{box["user"]}"\n'
        tables.append(f"[hosts.{box['name']}]\n{place}[hosts.{box['name']}.variables]\n")
        tables += [f"{name} = {json.dumps(value)}\n" for name, value in own.items()]
    return "".join(tables)
