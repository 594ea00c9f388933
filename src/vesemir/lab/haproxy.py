"""The lab's HAProxy in front of the boxes, in master-worker mode so that it can be reloaded as in production."""

import asyncio
import csv

from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import until
from vesemir.lab.resources import template
from vesemir.lab.roster import Program, Roster
from vesemir.lab.topology import BACKEND, Topology

_START_SECONDS = 60.0
_FEW_BOXES = 50
_FORCED_MAINT, _FORCED_DRAIN = 0x01, 0x08
"""Bits of srv_admin_state, set by the runtime socket (management guide, 9.3, ``show servers state``)."""


async def start_haproxy(topology: Topology, programs: Programs, roster: Roster) -> None:
    """Start it; returns when its checks have found every box up."""
    home = topology.places.within("haproxy")
    log = topology.places.log / "haproxy.log"
    configuration = home / "haproxy.cfg"
    state = home / "server-state"
    state.write_text("1\n")  # the version line of a state file that knows no server yet
    configuration.write_text(
        template(
            "haproxy.cfg",
            SOCKET=str(topology.haproxy_socket),
            STATE=str(state),
            ADDRESS=topology.address,
            PORT=str(topology.http_port),
            # Contract section 7 wants 500 ms or faster; hundreds of boxes on one machine get no more than that.
            INTERVAL="300ms" if len(topology.boxes) <= _FEW_BOXES else "500ms",
            SERVERS="\n".join(f"    server {box.name} {box.address}:{box.app_port}" for box in topology.boxes),
        )
    )
    (child,) = roster.start(
        [
            Program(
                "haproxy", [str(programs.haproxy), "-W", "-f", str(configuration)], log=log, environment={"PATH": PATH}
            )
        ]
    )

    async def all_up() -> bool:
        states = await server_states(str(topology.haproxy_socket))
        return len(states) == len(topology.boxes) and all(state == "UP" for state in states.values())

    await until(all_up, what="HAProxy", child=child, log=log, timeout=_START_SECONDS)


async def server_states(socket: str) -> dict[str, str]:
    """Each server of the backend with the status that ``show stat`` gives it (management guide, 9.1)."""
    rows = csv.DictReader((await _asked(socket, "show stat")).removeprefix("# ").splitlines())
    return {
        row["svname"]: row["status"]
        for row in rows
        if row["pxname"] == BACKEND and row["svname"] not in {"BACKEND", "FRONTEND"}
    }


async def out_of_traffic(socket: str) -> list[str]:
    """Servers that somebody has put into ``maint`` or ``drain`` (``show servers state``: srv_admin_state)."""
    _, header, *lines = (await _asked(socket, f"show servers state {BACKEND}")).strip().splitlines()
    rows = [dict(zip(header.removeprefix("# ").split(), line.split(), strict=False)) for line in lines]
    return [row["srv_name"] for row in rows if int(row["srv_admin_state"]) & (_FORCED_MAINT | _FORCED_DRAIN)]


async def _asked(socket: str, command: str) -> str:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(f"{command}\n".encode())
        return (await reader.read()).decode()
    finally:
        writer.close()
