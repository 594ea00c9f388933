"""The lab's jump host, without the lab's servers: boxes behind it are reached through it, and in no other way."""

import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.ssh_sessions import key, shell, ticket

from vesemir.adapters.inventory import StaticInventory
from vesemir.adapters.ssh import SshHosts
from vesemir.domain.selector import GroupSelector
from vesemir.lab.boxes import start_boxes
from vesemir.lab.documents import lab_json, write_documents
from vesemir.lab.ending import end
from vesemir.lab.places import Places
from vesemir.lab.programs import find_programs
from vesemir.lab.roster import Roster
from vesemir.lab.topology import LabTopology, Wanted, plan
from vesemir.settings import SshSettings

pytestmark = pytest.mark.lab


@dataclass(frozen=True, slots=True)
class BastionLab:
    topology: LabTopology
    inventory: StaticInventory

    def settings(self) -> SshSettings:
        topology = self.topology
        return SshSettings(user=topology.user, client_key=topology.client_key, known_hosts=topology.known_hosts)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[BastionLab]:
    places = Places.of(tmp_path / "lab", token="0" * 32)
    places.claim()
    places.make()
    topology = plan(places, Wanted(1, bastion=True))
    write_documents(topology)
    roster = Roster.new(places.processes, token="0" * 32)
    try:
        await start_boxes(topology, find_programs(chef=False, machines=False), roster)
        yield BastionLab(topology, StaticInventory.load(places.inventory, warn=pytest.fail))
    finally:
        roster.disown()
        end(roster)


async def test_boxes_behind_the_jump_host(lab: BastionLab) -> None:
    described = lab_json(lab.topology, [])
    jumped = {box["name"]: box for box in described["boxes"] if box.get("jump") == described["bastion"]["name"]}
    assert list(jumped) == ["jumped1", "jumped2"]
    for box in jumped.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((box["address"], box["port"]), timeout=5)
    async with SshHosts.started(lab.settings(), find_host=lab.inventory.host) as hosts:
        for target in await lab.inventory.resolve(GroupSelector(("jumped",))):
            assert target.address == jumped[target.name]["address"]
            async with hosts.open(target, ticket()) as host:
                assert (await host.run(key(), shell("echo in"))).output == b"in\n"
                answer = await host.http_get(target.variables["health_url"], timeout=5)
                assert json.loads(answer.body)["box"] == target.name
                restart = shell(f"{target.variables['systemctl']} restart shop && echo restarted")
                assert (await host.run(key("restart"), restart)).output.endswith(b"restarted\n")
