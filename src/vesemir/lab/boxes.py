"""The boxes: a folder tree each, an sshd each, and the service manager that runs their application."""

import asyncio
import json
import os
import shlex
import subprocess
from pathlib import Path

from vesemir.lab.artifacts import first_release
from vesemir.lab.keys import authorized_keys, host_key, make_keys
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import serves, speaks_ssh, until
from vesemir.lab.resources import program, template
from vesemir.lab.roster import TOKEN, Roster, RosterProgram
from vesemir.lab.topology import APPLICATION, Box, LabTopology

_START_SECONDS = 90.0
_ASKED_AT_ONCE = 8
_SSHD_FOLDER = Path("/run/sshd")


async def start_boxes(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Build every box and start it; returns when each sshd and each application answers."""
    for box in topology.hosts:
        _furnish(box)
    await make_keys(topology, programs)
    socket = topology.places.socket("services.sock")
    _install_systemctl(topology, programs, socket)
    for box in topology.boxes:
        first_release(box.app_root)
    for box in topology.hosts:
        _configure_sshd(box, topology, roster)
    _make_sshd_folder()
    servers = [_sshd(box, programs) for box in topology.hosts]
    services = _services(topology, programs, socket)
    manager, *children = roster.start([services, *servers])
    gate = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def answers(box: Box, child: subprocess.Popen[bytes], log: Path) -> None:
        async with gate:
            await until(
                speaks_ssh(box.address, box.port),
                what=f"{box.name}'s sshd",
                child=child,
                log=log,
                timeout=_START_SECONDS,
            )
            if topology.balancer_of(box) is None:
                what = f"{box.name}'s application"
                await until(
                    serves(box.address, box.app_port),
                    what=what,
                    child=manager,
                    log=services.log,
                    timeout=_START_SECONDS,
                )

    async with asyncio.TaskGroup() as group:
        for box, child, server in zip(topology.hosts, children, servers, strict=True):
            group.create_task(answers(box, child, server.log))


def _furnish(box: Box) -> None:
    for part in ("bin", "etc/ssh", "home", "log", "run", "var/lib/vesemir"):
        (box.root / part).mkdir(parents=True)


def _install_systemctl(topology: LabTopology, programs: Programs, socket: Path) -> None:
    """The boxes' programs are copied into the lab, so that they are files wherever the package lies."""
    folder = topology.places.within("programs")
    for name in ("services.py", "systemctl.py"):
        (folder / name).write_text(program(name))
    for box in topology.boxes:
        words = shlex.join([str(programs.python), "-I", "-S", str(folder / "systemctl.py"), str(socket), box.name])
        box.systemctl.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        box.systemctl.chmod(0o755)


def _configure_sshd(box: Box, topology: LabTopology, roster: Roster) -> None:
    (box.root / "etc" / "ssh" / "sshd_config").write_text(
        template(
            "sshd_config",
            NAME=box.name,
            ADDRESS=box.address,
            PORT=str(box.port),
            HOST_KEY=str(host_key(box)),
            PID_FILE=str(box.root / "run" / "sshd.pid"),
            AUTHORIZED_KEYS=str(authorized_keys(topology)),
            USE_PAM="yes" if _locked(topology.user) else "no",
            MARK=f"{TOKEN}={roster.token}",
            HOME=str(box.root / "home"),
        )
    )


def _locked(user: str) -> bool:
    """Whether the account's password is locked by a ``!``: without PAM, sshd then refuses keys too (sshd(8))."""
    try:
        entries = Path("/etc/shadow").read_text().splitlines()
    except OSError:  # an ordinary user's sshd cannot read it either, and so refuses nobody
        return False
    return any(entry.startswith(f"{user}:!") for entry in entries)


def _make_sshd_folder() -> None:
    """root's sshd wants its empty folder for privilege separation; systemd makes it for the machine's own."""
    if os.geteuid() == 0:
        _SSHD_FOLDER.mkdir(mode=0o755, exist_ok=True)


def _sshd(box: Box, programs: Programs) -> RosterProgram:
    words = [str(programs.sshd), "-D", "-e", "-f", str(box.root / "etc" / "ssh" / "sshd_config")]
    return RosterProgram(f"{box.name}/sshd", words, log=box.root / "log" / "sshd", environment={"PATH": PATH})


def _services(topology: LabTopology, programs: Programs, socket: Path) -> RosterProgram:
    """One program is the service manager of all boxes: hundreds of them must fit on a small machine."""
    folder = topology.places.within("programs")
    listed = folder / "services.json"
    listed.write_text(json.dumps([_service(box, programs) for box in topology.boxes], indent=1))
    words = [str(programs.python), "-I", "-S", str(folder / "services.py"), str(listed), str(socket)]
    return RosterProgram("services", words, log=topology.places.log / "services.log", environment={"PATH": PATH})


def _service(box: Box, programs: Programs) -> dict[str, object]:
    """What services.py is told of a box's application. It passes the lab's token on to it by itself."""
    return {
        "box": box.name,
        "name": APPLICATION,
        "command": str(box.app_root / "current" / "run"),
        "folder": str(box.app_root / "current"),
        "log": str(box.root / "log" / APPLICATION),
        "environment": {
            "PATH": PATH,
            "PYTHON": str(programs.python),
            "APPLICATION": APPLICATION,
            "BOX_NAME": box.name,
            "ADDRESS": box.address,
            "PORT": str(box.app_port),
        },
    }
