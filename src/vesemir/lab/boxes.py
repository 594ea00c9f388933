"""The boxes: a folder tree each, an sshd each, and the service manager that runs their application."""

import asyncio
import json
import os
import shlex
import subprocess
from collections.abc import Sequence
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
    for box in topology.all_hosts:
        _furnish(box)
    await make_keys(topology, programs)
    for box in topology.served:
        first_release(box.app_root)
    for box in topology.all_hosts:
        _configure_sshd(box, topology, roster)
    _make_sshd_folder()
    servers = [_sshd(box, programs) for box in topology.hosts]
    services = _services("services", topology.boxes, topology, programs)
    manager, *children = roster.start([services, *servers])
    if topology.bastion is not None:
        await _start_bastion(topology.bastion, topology, programs, roster)
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


async def _start_bastion(bastion: Box, topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """It and everything behind it is one program, because they share a network that this machine is not in."""
    inside = [_services("jumped", topology.jumped, topology, programs)]
    inside += [_sshd(box, programs) for box in topology.jumped]
    asked = [[box.address, port] for box in topology.jumped for port in (box.port, box.app_port)]
    sshd = [str(programs.sshd), "-i", "-E", str(bastion.root / "log" / "sshd"), "-f", str(_sshd_config(bastion))]
    listed = {
        "listen": [bastion.address, bastion.port],
        "sshd": sshd,
        "inside": [{"words": list(each.argv), "log": str(each.log)} for each in inside],
        "answers": asked,
    }
    folder = topology.places.within("programs")
    (folder / "bastion.py").write_text(program("bastion.py"))
    (folder / "bastion.json").write_text(json.dumps(listed, indent=1))
    words = [str(programs.python), "-I", "-S", str(folder / "bastion.py"), str(folder / "bastion.json")]
    log = topology.places.log / "bastion.log"
    (child,) = roster.start([RosterProgram("bastion", words, log=log, environment={"PATH": PATH})])
    what = "the jump host with the boxes behind it (`--bastion`)"
    await until(speaks_ssh(bastion.address, bastion.port), what=what, child=child, log=log, timeout=_START_SECONDS)


def _install_systemctl(boxes: Sequence[Box], topology: LabTopology, programs: Programs, socket: Path) -> None:
    folder = topology.places.within("programs")
    (folder / "systemctl.py").write_text(program("systemctl.py"))
    for box in boxes:
        words = shlex.join([str(programs.python), "-I", "-S", str(folder / "systemctl.py"), str(socket), box.name])
        box.systemctl.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        box.systemctl.chmod(0o755)


def _configure_sshd(box: Box, topology: LabTopology, roster: Roster) -> None:
    _sshd_config(box).write_text(
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


def _sshd_config(box: Box) -> Path:
    return box.root / "etc" / "ssh" / "sshd_config"


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
    words = [str(programs.sshd), "-D", "-e", "-f", str(_sshd_config(box))]
    return RosterProgram(f"{box.name}/sshd", words, log=box.root / "log" / "sshd", environment={"PATH": PATH})


def _services(name: str, boxes: Sequence[Box], topology: LabTopology, programs: Programs) -> RosterProgram:
    """One program is the service manager of many boxes: hundreds of them must fit on a small machine."""
    socket = topology.places.socket(f"{name}.sock")
    _install_systemctl(boxes, topology, programs, socket)
    folder = topology.places.within("programs")
    (folder / "services.py").write_text(program("services.py"))
    listed = folder / f"{name}.json"
    listed.write_text(json.dumps([_service(box, programs) for box in boxes], indent=1))
    words = [str(programs.python), "-I", "-S", str(folder / "services.py"), str(listed), str(socket)]
    return RosterProgram(name, words, log=topology.places.log / f"{name}.log", environment={"PATH": PATH})


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
