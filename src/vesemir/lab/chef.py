"""The lab's Chef server: goiardi, which verifies signatures, with everything in memory and a node for each box."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vesemir.adapters.chef.signing import signed_headers
from vesemir.lab.documents import BALANCER_GROUP, BARE_GROUP, PACE, TARGET_GROUP, host_variables, write_private
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import exchange, until
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import APPLICATION, CHEF_CLIENT, ENVIRONMENT, Box, LabTopology

_START_SECONDS = 60.0
_CALL_SECONDS = 30.0
_WRITERS = 4
_ADMIN = "admin"
"""The user that goiardi makes at its first start, with its key in the configuration's folder."""


async def start_chef(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Start it and fill it; returns when it has Vesemir's client and all nodes."""
    assert programs.goiardi is not None  # noqa: S101 -- looked for when a Chef server is wanted
    home = topology.places.within("chef")
    home.chmod(0o700)
    log = topology.places.log / "chef.log"
    words = (
        str(programs.goiardi), "--use-auth", f"--ipaddress={topology.address}", f"--hostname={topology.address}",
        f"--port={topology.chef_port}", f"--conf-root={home}", "--disable-webui", "--log-level=warning",
    )  # fmt: skip
    program = RosterProgram("chef", words, log=log, environment={"PATH": PATH, "HOME": str(home)}, cwd=home)
    (child,) = roster.start([program])

    async def answers() -> bool:
        assert topology.chef_port is not None  # noqa: S101 -- as above
        asked = b"GET /nodes HTTP/1.0\r\n\r\n"
        return await exchange(topology.address, topology.chef_port, say=asked, hear=8) == b"HTTP/1.0"

    await until(answers, what="the Chef server", child=child, log=log, timeout=_START_SECONDS)
    key = load_pem_private_key((home / f"{_ADMIN}.pem").read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)  # noqa: S101 -- goiardi makes no other
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS)) as session:
        await _fill(topology, _Administrator(topology.chef_url, key, session))


async def _fill(topology: LabTopology, administrator: "_Administrator") -> None:
    made = await administrator.post("/clients", {"name": CHEF_CLIENT, "create_key": True})
    write_private(topology.chef_key, made["private_key"])
    await administrator.post("/environments", _environment(ENVIRONMENT))
    gate = asyncio.Semaphore(_WRITERS)

    async def add(box: Box) -> None:
        async with gate:
            await administrator.post("/nodes", node_of(topology, box, now=time.time()))

    async with asyncio.TaskGroup() as group:
        for box in topology.hosts:
            group.create_task(add(box))


class _Administrator:
    """May create things."""

    def __init__(self, url: str, key: RSAPrivateKey, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._key = key
        self._session = session

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        content = json.dumps(body).encode()
        headers = signed_headers(self._key, "POST", path, content, client_name=_ADMIN, moment=datetime.now(UTC)) | {
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        try:
            async with self._session.post(f"{self._url}{path}", data=content, headers=headers) as answer:
                if answer.status != 201:  # noqa: PLR2004 -- Created
                    raise LabError(f"the Chef server refuses {path} ({answer.status}): {await answer.text()}")
                made: dict[str, Any] = await answer.json()
                return made
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LabError(f"the Chef server does not take {path}: {error!r}") from error


def _environment(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "json_class": "Chef::Environment",
        "chef_type": "environment",
        "cookbook_versions": {},
        "default_attributes": {},
        "override_attributes": {},
    }


def node_of(topology: LabTopology, box: Box, *, now: float) -> dict[str, Any]:
    """The box as its chef-client would report it at ``now`` (seconds since 1970): what ohai finds, and its tags.

    What Vesemir's settings look for by default is under ``vesemir``: port, user, and the host's variables.
    """
    tag, recipe = _part(topology, box)
    variables = {**host_variables(topology, box), **(PACE if tag == TARGET_GROUP else {})}
    name = f"{box.name}.{APPLICATION}.lab.example"
    return {
        "name": box.name,
        "chef_type": "node",
        "json_class": "Chef::Node",
        "chef_environment": ENVIRONMENT,
        "run_list": [f"recipe[{recipe}]"],
        "normal": {
            "tags": [tag],
            "vesemir": {"port": box.port, "user": topology.user, "variables": variables},
        },
        "default": {},
        "override": {},
        "automatic": {
            "hostname": box.name,
            "fqdn": name,
            "domain": name.partition(".")[2],
            "ipaddress": box.address,
            "cloud": {"local_ipv4": box.address, "local_hostname": name, "provider": "lab"},
            "platform": "debian",
            "platform_family": "debian",
            "os": "linux",
            "recipes": [recipe, f"{recipe}::default"],
            "roles": [],
            "ohai_time": now,
        },
    }


def _part(topology: LabTopology, box: Box) -> tuple[str, str]:
    """The tag that finds it, and the recipe that made it what it is."""
    if topology.balancer_of(box) is not None:
        return BALANCER_GROUP, f"{APPLICATION}-balancer"
    if box in topology.bare:
        return BARE_GROUP, BARE_GROUP
    return TARGET_GROUP, f"{APPLICATION}-web"
