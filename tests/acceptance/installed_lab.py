"""A lab started by the installed command, known by its ``lab.json`` alone (contract section 7)."""

import copy
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.acceptance.patience import until
from tests.acceptance.web import page

COMMAND = str(Path(sys.executable).with_name("vesemir"))
SECONDS = 180

WORKING = ("2.0.0", "1.0.0", "2.1.0")
"""Releases of the lab that work on every box."""

Event = dict[str, Any]


def vesemir(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=own_environment(env or {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"vesemir {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def own_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The caller's, without settings of another installation."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VESEMIR_")} | dict(more)


@dataclass(frozen=True)
class Server:
    """A server of HAProxy as its runtime socket shows it."""

    status: str
    weight: int
    admin: int

    @property
    def is_drained(self) -> bool:
        """Whatever its checks say, which the status shows first: SRV_ADMF_FDRAIN of HAProxy's management guide."""
        return bool(self.admin & 0x08)

    @property
    def takes_traffic(self) -> bool:
        return self.status.startswith(("UP", "no check")) and self.weight > 0

    @property
    def is_back(self) -> bool:
        """Ready, passing its checks, with all of its weight."""
        return self.status == "UP" and self.weight == 100


class Lab(Mapping[str, Any]):
    """``lab["amqp_url"]`` and so on are those of ``lab.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wording: dict[str, Any] = json.loads((folder / "lab.json").read_text())
        self._printed: dict[tuple[str, str], Event] = {}

    def __getitem__(self, name: str) -> Any:
        return self._wording[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._wording)

    def __len__(self) -> int:
        return len(self._wording)

    # --- events -----------------------------------------------------------------------------------------------------

    def event(self, version: str = "2.0.0", recipe: str = "release", **changes: Any) -> Event:
        """What ``vesemir lab event`` prints, under a new id, with ``changes`` of its members."""
        key = (version, recipe)
        if key not in self._printed:
            needed = ("--set", "script=true") if recipe == "lab-script" else ()
            printed = vesemir(
                "lab", "event", "--dir", str(self.folder), "--version", version, "--recipe", recipe, *needed
            )
            self._printed[key] = json.loads(printed)
        if "rollout" in changes:
            changes["rollout"] = {"min_healthy_seconds": 0, **changes["rollout"]}
        return copy.deepcopy(self._printed[key]) | {"deployment_id": f"acc-{secrets.token_hex(8)}"} | changes

    def script(self, script: str, *boxes: str, parameters: Mapping[str, Any] | None = None, **changes: Any) -> Event:
        """A deployment of ``lab-script`` on some boxes, in a lane of its own."""
        event = self.event(recipe="lab-script", application=f"app-{secrets.token_hex(4)}")
        event["parameters"] = {"script": script, **(parameters or {})}
        event["targets"] = {"hosts": list(boxes or self.names)}
        return event | changes

    @property
    def haproxy_part(self) -> Event:
        """How this lab's servers are taken out of traffic."""
        return dict(self.event()["haproxy"])

    # --- boxes ------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        return [box["name"] for box in self["boxes"]]

    def box(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(box for box in self["boxes"] if box["name"] == name)
        return found

    def root(self, name: str) -> Path:
        return Path(self.box(name)["root"])

    def app_root(self, name: str) -> Path:
        return Path(self.box(name)["app_root"])

    def current(self, name: str) -> str:
        """The release that the box's link points to."""
        return (self.app_root(name) / "current").resolve().name

    def serves(self, name: str) -> dict[str, str]:
        """What the box itself answers, past HAProxy, which knows where its application listens."""
        rows = self._table("show servers state " + self["backend"])
        row = next(row for row in rows if row["srv_name"] == name)
        told: dict[str, str] = page(f"http://{row['srv_addr']}:{row['srv_port']}/")
        return told

    def artifact(self, version: str) -> dict[str, str]:
        found: dict[str, str] = next(each for each in self["artifacts"] if each["version"] == version)
        return found

    def other_version(self) -> str:
        """A release that no box runs at this moment."""
        running = {self.current(name) for name in self.names}
        return next(version for version in WORKING if version not in running)

    def mend(self) -> None:
        """Every box serves a release that works, and gets its traffic; at least one such release is on none."""
        mixed = {self.current(name) for name in self.names} >= set(WORKING)
        for name in self.names:
            if self.current(name) not in WORKING or (mixed and self.current(name) != "1.0.0"):
                (self.app_root(name) / "current").unlink()
                (self.app_root(name) / "current").symlink_to("releases/1.0.0")
                self._restart(name)
            elif not self._runs(name):
                self._restart(name)
            server = f"{self['backend']}/{name}"
            self.haproxy(f"set server {server} weight 100%; set server {server} state ready")
        until(lambda: all(server.is_back for server in self.servers().values()), what="every server is UP at 100 %")

    def _runs(self, name: str) -> bool:
        words = [self.root(name) / "bin" / "systemctl", "is-active", "--quiet", "shop"]
        return subprocess.run(words, check=False, timeout=60).returncode == 0

    def _restart(self, name: str) -> None:
        subprocess.run([self.root(name) / "bin" / "systemctl", "restart", "shop"], check=True, timeout=60)

    # --- HAProxy ----------------------------------------------------------------------------------------------------

    def haproxy(self, command: str) -> str:
        """The answer of the runtime socket."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            line.connect(self["haproxy_socket"])
            line.sendall(f"{command}\n".encode())
            return b"".join(iter(partial(line.recv, 65536), b"")).decode()

    def servers(self) -> dict[str, Server]:
        rows = self._table("show stat", separator=",")
        states = {row["srv_name"]: row for row in self._table(f"show servers state {self['backend']}")}
        return {
            row["svname"]: Server(row["status"], int(row["weight"]), int(states[row["svname"]]["srv_admin_state"]))
            for row in rows
            if row["pxname"] == self["backend"] and row["svname"] in states
        }

    def sessions(self, server: str) -> int:
        """How many requests it has at this moment."""
        rows = self._table("show stat", separator=",")
        return sum(int(row["scur"]) for row in rows if (row["pxname"], row["svname"]) == (self["backend"], server))

    def _table(self, command: str, separator: str = " ") -> list[dict[str, str]]:
        """The rows below the line that begins with a hash, by its names."""
        lines = self.haproxy(command).splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("# "))
        names = lines[start][2:].split(separator)
        return [dict(zip(names, line.split(separator), strict=False)) for line in lines[start + 1 :] if line]


class Held:
    """A script that goes on only when it is let go; ``before`` and ``after`` are lines around that."""

    def __init__(self, lab: Lab, *, before: str = "", after: str = "") -> None:
        self._lab = lab
        self._name = f"held-{secrets.token_hex(6)}"
        self.script = "\n".join(
            [
                before,
                f'echo "$BOX_NAME" > "$BOX_ROOT/{self._name}-there"',
                f'while [ ! -e "$BOX_ROOT/{self._name}-go" ]; do sleep 0.05; done',
                after,
            ]
        )

    def wait(self, box: str) -> None:
        """Until the script runs on that box."""
        until((self._lab.root(box) / f"{self._name}-there").exists, what=f"the script runs on {box}")

    def is_at(self, box: str) -> bool:
        return (self._lab.root(box) / f"{self._name}-there").exists()

    def let_go(self, *boxes: str) -> None:
        """All boxes if none is named."""
        for box in boxes or self._lab.names:
            (self._lab.root(box) / f"{self._name}-go").touch()


def processes_with(mark: str) -> Sequence[int]:
    """Living processes whose command line or environment has ``mark``; not this one."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            continue
        if mark.encode() in said and not dead:
            found.append(int(folder.name))
    return found
