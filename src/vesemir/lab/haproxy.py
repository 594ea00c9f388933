"""The lab's HAProxies in front of the boxes, in master-worker mode so that they can be reloaded as in production."""

import asyncio
import csv
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesemir.lab.base_tree import DEPLOY_ID
from vesemir.lab.places import LabError, Places
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import until
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram, tail
from vesemir.lab.topology import BACKEND, Balancer, LabTopology

_START_SECONDS = 60.0
_BETWEEN_TRIES_SECONDS = 0.03
_FEW_BOXES = 50
_FORCED_MAINT, _FORCED_DRAIN = 0x01, 0x08
"""Bits of srv_admin_state, set by the runtime socket (management guide, 9.3, ``show servers state``)."""


async def start_balancers(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Start each; returns when the checks of all have found every box up."""
    async with asyncio.TaskGroup() as group:
        for balancer in topology.balancers:
            group.create_task(_start(balancer, topology, programs, roster))


async def _start(balancer: Balancer, topology: LabTopology, programs: Programs, roster: Roster) -> None:
    log = topology.places.log / f"{balancer.program}.log"
    configuration = topology.places.within("haproxy") / f"{balancer.program}.cfg"
    state = _state_file(topology.places, balancer.program)
    state.write_text("1\n")  # the version line of a state file that knows no server yet
    configuration.write_text(
        template(
            "haproxy.cfg",
            SOCKET=str(balancer.socket),
            # In a lab of machines it is reached by who logs in to the load balancer's, who is not root.
            ACCESS=f"660 gid {DEPLOY_ID}" if topology.machines else "600",
            STATE=str(state),
            ADDRESS=topology.address,
            PORT=str(balancer.http_port),
            # Contract section 7 wants 500 ms or faster; hundreds of boxes on one machine get no more than that.
            INTERVAL="300ms" if len(topology.boxes) <= _FEW_BOXES else "500ms",
            SERVERS="\n".join(f"    server {box.name} {box.address}:{box.app_port}" for box in topology.boxes),
        )
    )
    words = [str(programs.haproxy), "-W", "-f", str(configuration)]
    (child,) = roster.start([RosterProgram(balancer.program, words, log=log, environment={"PATH": PATH})])

    async def all_up() -> bool:
        states = await server_states(str(balancer.socket))
        return len(states) == len(topology.boxes) and all(state == "UP" for state in states.values())

    await until(all_up, what="HAProxy", child=child, log=log, timeout=_START_SECONDS)


def _state_file(places: Places, program: str) -> Path:
    return places.within("haproxy") / f"{program}.state"


async def reload_balancer(places: Places, lab: Mapping[str, Any], name: str | None) -> str:
    """As ``systemctl reload haproxy`` with ``config/haproxy/``: dump the state, then start a new worker.

    Returns the load balancer's name when the new process answers. The old one ends when its requests have.
    """
    known = [balancer["name"] for balancer in lab["balancers"]]
    if name is not None and name not in known:
        raise LabError(f"the lab has no load balancer {name!r}; it has {', '.join(known)}")
    number = 0 if name is None else known.index(name)
    socket, program = lab["balancers"][number]["haproxy_socket"], "haproxy" if number == 0 else f"haproxy{number + 1}"
    roster = Roster.read(places.processes)
    master = (
        next((entry for entry in roster.entries if entry.name == program and entry.alive), None) if roster else None
    )
    if master is None:
        raise LabError(f"HAProxy of {known[number]} does not run: take the lab down with `vesemir lab down`, then up")
    log = places.log / f"{program}.log"
    before, loads = await _process_id(socket), _loads(log)
    _state_file(places, program).write_text(await ask(socket, "show servers state"))
    os.kill(master.pid, signal.SIGUSR2)
    try:
        async with asyncio.timeout(_START_SECONDS):
            # The master may lose the next signal while it is still at this one: it says when it is done.
            while _loads(log) == loads or await _process_id(socket) in {before, None}:  # noqa: ASYNC110 -- not ours
                await asyncio.sleep(_BETWEEN_TRIES_SECONDS)
    except TimeoutError:
        raise LabError(f"HAProxy was not reloaded; {log} says:\n{tail(log)}") from None
    return str(lab["balancers"][number]["name"])


def _loads(log: Path) -> int:
    """How often the master has loaded its configuration."""
    return log.read_text(errors="replace").count("Loading success")


async def _process_id(socket: str) -> str | None:
    """None while nobody answers."""
    try:
        lines = (await ask(socket, "show info")).splitlines()
    except OSError:
        return None
    return next((line.removeprefix("Pid: ") for line in lines if line.startswith("Pid: ")), None)


async def server_states(socket: str) -> dict[str, str]:
    """Each server of the backend with the status that ``show stat`` gives it (management guide, 9.1)."""
    rows = csv.DictReader((await ask(socket, "show stat")).removeprefix("# ").splitlines())
    return {
        row["svname"]: row["status"]
        for row in rows
        if row["pxname"] == BACKEND and row["svname"] not in {"BACKEND", "FRONTEND"}
    }


async def out_of_traffic(socket: str) -> list[str]:
    """Servers that somebody has put into ``maint`` or ``drain`` (``show servers state``: srv_admin_state)."""
    _, header, *lines = (await ask(socket, f"show servers state {BACKEND}")).strip().splitlines()
    rows = [dict(zip(header.removeprefix("# ").split(), line.split(), strict=False)) for line in lines]
    return [row["srv_name"] for row in rows if int(row["srv_admin_state"]) & (_FORCED_MAINT | _FORCED_DRAIN)]


async def ask(socket: str, command: str) -> str:
    """What the runtime socket answers."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(f"{command}\n".encode())
        return (await reader.read()).decode()
    finally:
        writer.close()
