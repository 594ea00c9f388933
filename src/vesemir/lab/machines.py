"""Machines: boxes that boot a systemd of their own in a container, with their own root tree, accounts, sshd and sudo.

systemd-nspawn without registration and without a private network: the machines share this one's loopback addresses,
each has its own, and nothing in them listens anywhere else. What is told to a real host by its administrator is written
into the tree before it boots.
"""

import asyncio
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from vesemir.lab.artifacts import first_release
from vesemir.lab.base_tree import DEPLOY_ID, base_tree, clear_unfinished
from vesemir.lab.cgroups import has_hierarchies, in_groups, make_groups, remove_groups
from vesemir.lab.keys import authorized_keys, make_keys
from vesemir.lab.mounts import mount_tree, unmount_below
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import serves, speaks_ssh, until
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import APPLICATION, DEPLOY_USER, SOCKETS, Box, LabTopology

BOOTED = "/systemd"
"""What the names of machines end in, in the roster."""

SHUTDOWN_SECONDS = 30.0
"""How long all machines together may take to shut down in good order."""

_START_SECONDS = 180.0
_NSPAWN = Path("/run/systemd/nspawn")
"""systemd-nspawn makes an empty folder in each of its folders there for each container, and leaves it where /run is on
a disk, or where it is ended in the middle; since 256 one of them is a mount (unix-export)."""


def refuse_elsewhere() -> None:
    """Raises ``LabError`` where machines cannot be: it says why, and what to do."""
    if os.geteuid() != 0:
        raise LabError(
            "only root can boot machines (mounts, control groups): run `sudo vesemir lab up --systemd`, or leave "
            "--systemd out for boxes without one"
        )
    if not has_hierarchies():
        raise LabError(
            "no control groups are mounted here (a container without them?), and systemd cannot boot without; leave "
            "--systemd out for boxes without one"
        )


async def start_machines(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Build every machine and boot it; returns when each sshd and each application answers."""
    base = await base_tree(programs, roster, log=topology.places.log / "debootstrap.log")
    for box in topology.hosts:
        mount_tree(base, box.root)
    await make_keys(topology, programs)
    for box in topology.hosts:
        _furnish(box, topology)
    for box in topology.boxes:
        _install_application(box)
    booting = [_booting(box, topology, programs, roster) for box in topology.hosts]
    children = roster.start(booting)

    async def answers(box: Box, child: subprocess.Popen[bytes], log: Path) -> None:
        asked = speaks_ssh(box.address, box.port)
        await until(asked, what=f"{box.name}'s sshd", child=child, log=log, timeout=_START_SECONDS)
        if box in topology.boxes:
            asked = serves(box.address, box.app_port)
            await until(asked, what=f"{box.name}'s application", child=child, log=log, timeout=_START_SECONDS)

    async with asyncio.TaskGroup() as group:
        for box, child, program in zip(topology.hosts, children, booting, strict=True):
            group.create_task(answers(box, child, program.log))


def _furnish(box: Box, topology: LabTopology) -> None:
    """Name, sshd, and who may log in."""
    etc = box.root / "etc"
    (etc / "hostname").write_text(f"{box.name}\n")
    names = "".join(f"{other.address} {other.name}\n" for other in topology.hosts)
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    (etc / "ssh" / "sshd_config.d" / "lab.conf").write_text(
        template("sshd_machine.conf", NAME=box.name, ADDRESS=box.address, PORT=str(box.port))
    )
    home = box.root / "home" / DEPLOY_USER
    keys = home / ".ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700)
    keys.write_text(authorized_keys(topology).read_text())
    keys.chmod(0o600)
    for path in (keys.parent, keys):
        os.chown(path, DEPLOY_ID, DEPLOY_ID)


def _install_application(box: Box) -> None:
    """The first release, its unit, and the one thing that a deployment of it needs root for."""
    first_release(box.app_root)
    for path in (box.app_root, *box.app_root.rglob("*")):
        os.chown(path, DEPLOY_ID, DEPLOY_ID, follow_symlinks=False)
    units = box.root / "etc" / "systemd" / "system"
    (units / f"{APPLICATION}.service").write_text(
        template(
            "shop.service",
            APPLICATION=APPLICATION,
            APP_ROOT=f"/srv/{APPLICATION}",
            NAME=box.name,
            ADDRESS=box.address,
            PORT=str(box.app_port),
        )
    )
    (units / "multi-user.target.wants" / f"{APPLICATION}.service").symlink_to(f"../{APPLICATION}.service")
    rule = box.root / "etc" / "sudoers.d" / APPLICATION
    rule.write_text(template("sudoers", DEPLOY=DEPLOY_USER, APPLICATION=APPLICATION))
    rule.chmod(0o440)


def _booting(box: Box, topology: LabTopology, programs: Programs, roster: Roster) -> RosterProgram:
    """systemd-nspawn(1): SIGTERM has it shut the machine down in good order."""
    assert programs.nspawn is not None  # noqa: S101 -- looked for when machines are wanted
    words = [
        str(programs.nspawn), "--quiet", f"--directory={box.root}",
        f"--machine={_prefix(roster.token)}{box.name}", f"--hostname={box.name}", "--register=no",
        "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe",
    ]  # fmt: skip
    balancer = topology.balancer_of(box)
    if balancer is not None:
        words.append(f"--bind={_escaped(balancer.socket.parent)}:{SOCKETS}")
    groups = make_groups(roster.token, box.name)
    log = topology.places.log / f"{box.name}.log"
    return RosterProgram(
        f"{box.name}{BOOTED}", in_groups(groups, [*words, "--boot"]), log=log, environment={"PATH": PATH}
    )


def _prefix(token: str) -> str:
    return f"lab-{token[:6]}-"


def clear_after(token: str, boxes: Path) -> None:
    """What machines that have ended leave outside of their lab's folder, and the mounts in it."""
    unmount_below(boxes)
    remove_groups(token)
    clear_unfinished(token)
    for folder in _NSPAWN.glob(f"*/{_prefix(token)}*"):
        unmount_below(folder)
        with suppress(OSError):
            folder.rmdir()


def _escaped(path: Path) -> str:
    """A path in --bind, where colons part the words."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
