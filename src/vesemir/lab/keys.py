"""The keys of a lab: one per box, one for the client, and the file in which the client has all host keys pinned."""

import asyncio
from pathlib import Path

from vesemir.lab.places import LabError
from vesemir.lab.programs import Programs
from vesemir.lab.topology import Box, LabTopology

_KEYGENS_AT_ONCE = 4


async def make_keys(topology: LabTopology, programs: Programs) -> None:
    """Write them all; the folder of each box's host key must be there."""
    gate = asyncio.Semaphore(_KEYGENS_AT_ONCE)

    async def generate(file: Path, comment: str) -> None:
        async with gate:
            words = (str(programs.ssh_keygen), "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file))
            child = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
            if await child.wait() != 0:
                raise LabError(f"ssh-keygen could not write {file}")

    async with asyncio.TaskGroup() as group:
        group.create_task(generate(topology.client_key, "vesemir-lab"))
        for box in topology.all_hosts:
            group.create_task(generate(host_key(box), box.name))
    authorized_keys(topology).write_text(topology.client_key.with_suffix(".pub").read_text())
    lines = [f"[{box.address}]:{box.port} {_public_key(box)}\n" for box in topology.all_hosts]
    topology.known_hosts.write_text("".join(lines))


def host_key(box: Box) -> Path:
    return box.root / "etc" / "ssh" / "ssh_host_ed25519_key"


def authorized_keys(topology: LabTopology) -> Path:
    return topology.places.within("keys") / "authorized_keys"


def _public_key(box: Box) -> str:
    algorithm, key, _ = host_key(box).with_suffix(".pub").read_text().split(" ", 2)
    return f"{algorithm} {key}"
