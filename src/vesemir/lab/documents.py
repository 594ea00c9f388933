"""The files that a lab writes for others: ``lab.json``, the settings, the inventory and its own recipe."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vesemir.lab.artifacts import Artifact
from vesemir.lab.places import LabError, Places
from vesemir.lab.resources import template
from vesemir.lab.topology import APPLICATION, BACKEND, CHEF_CLIENT, ENVIRONMENT, SOCKETS, Box, LabTopology

LEASE_SECONDS = 10
TARGET_GROUP = "shop-web"
BALANCER_GROUP = "shop-lb"
BARE_GROUP = "bare"
JUMPED_GROUP = "jumped"
"""Groups of the static inventory, and tags on the Chef server."""
PACE = {"start_seconds": "45", "stable_seconds": "0"}
"""For all targets: its application answers within a second or never, and who tries out a rollout does not wait."""


def write_documents(topology: LabTopology) -> None:
    """Everything but ``lab.json``, which is written last of all."""
    places = topology.places
    (places.within("recipes") / "lab-script.toml").write_text(template("lab-script.toml"))
    places.inventory.write_text(inventory(topology))
    write_private(places.record_key, secrets.token_hex(32))
    write_private(places.settings, settings(topology))


def write_private(file: Path, text: str) -> None:
    """Readable by its owner alone, whole or not at all: passwords stand in it."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:  # noqa: PTH123
        out.write(text)
    beside.rename(file)


def lab_json(topology: LabTopology, artifacts: Sequence[Artifact]) -> dict[str, Any]:
    """Contract section 7: where everything is; and ``balancers``, of which there may be several."""
    first = topology.balancers[0]
    return {
        "amqp_url": topology.amqp_url,
        **({"amqp_urls": list(topology.amqp_urls)} if topology.brokers else {}),
        "postgres_dsn": topology.postgres_dsn,
        "http_url": topology.http_url(first),
        "haproxy_socket": str(first.socket),
        "balancers": [
            {
                "name": balancer.box.name,
                "address": balancer.box.address,
                "port": balancer.box.port,
                "http_url": topology.http_url(balancer),
                "haproxy_socket": str(balancer.socket),
            }
            for balancer in topology.balancers
        ],
        "backend": BACKEND,
        "application": APPLICATION,
        "environment": ENVIRONMENT,
        "boxes": [_box(box, topology) for box in topology.served],
        "artifacts": [asdict(artifact) for artifact in artifacts],
        "client_key": str(topology.client_key),
        "known_hosts": str(topology.known_hosts),
        "chef": chef(topology),
        "env": environment(topology),
        **({"machines": True} if topology.machines else {}),
        **({"bare": [_host(box, topology) for box in topology.bare]} if topology.bare else {}),
        **({"bastion": _host(topology.bastion, topology)} if topology.bastion else {}),
    }


def _box(box: Box, topology: LabTopology) -> dict[str, str | int]:
    """``jump`` is there for those that are reached only through it."""
    jump = {"jump": topology.bastion.name} if topology.bastion and box in topology.jumped else {}
    return _host(box, topology) | {"app_root": str(box.app_root)} | jump


def _host(box: Box, topology: LabTopology) -> dict[str, str | int]:
    return {
        "name": box.name,
        "address": box.address,
        "port": box.port,
        "user": topology.user,
        "root": str(box.root),
    }


def chef(topology: LabTopology) -> dict[str, str] | None:
    """How to ask the Chef server; None without one."""
    if topology.chef_port is None:
        return None
    return {"url": topology.chef_url, "client_name": CHEF_CLIENT, "client_key": str(topology.chef_key)}


def chef_rules(topology: LabTopology) -> dict[str, list[str]]:
    """What the lab's nodes may say that a node may not by default: they live on loopback, and each has a state folder
    and a service manager of its own."""
    if topology.chef_port is None:
        return {}
    return {"allowed_networks": [box.address for box in topology.hosts], "allowed_variables": ["*"]}


def environment(topology: LabTopology) -> dict[str, str]:
    """What ``vesemir run`` needs. The settings file says it all too, so that it alone is enough for a person."""
    reported = (chef(topology) or {}) | {key: json.dumps(value) for key, value in chef_rules(topology).items()}
    asked = {f"VESEMIR_INVENTORY__CHEF__{key.upper()}": value for key, value in reported.items()}
    return {
        "VESEMIR_CONFIG": str(topology.places.settings),
        "VESEMIR_AMQP__URL": topology.amqp_url,
        **({"VESEMIR_AMQP__URLS": ",".join(topology.amqp_urls)} if topology.brokers else {}),
        "VESEMIR_POSTGRES__DSN": topology.postgres_dsn,
        "VESEMIR_SSH__USER": topology.user,
        "VESEMIR_SSH__CLIENT_KEY": str(topology.client_key),
        "VESEMIR_SSH__KNOWN_HOSTS": str(topology.known_hosts),
        "VESEMIR_INVENTORY__FILE": str(topology.places.inventory),
        "VESEMIR_HAPROXY__SOCKET": str(topology.balancers[0].socket),
        "VESEMIR_LEASE__SECONDS": str(LEASE_SECONDS),
        "VESEMIR_SECRETS__KEY_FILE": str(topology.places.record_key),
        **asked,
    }


def settings(topology: LabTopology) -> str:
    """``vesemir.toml``."""
    tables: dict[str, dict[str, object]] = {
        "amqp": {"url": topology.amqp_url} | ({"urls": list(topology.amqp_urls)} if topology.brokers else {}),
        "postgres": {"dsn": topology.postgres_dsn},
        "ssh": {
            "user": topology.user,
            "client_key": str(topology.client_key),
            "known_hosts": str(topology.known_hosts),
        },
        "inventory": {"file": str(topology.places.inventory)},
        "haproxy": {"socket": str(topology.balancers[0].socket)},
        "lease": {"seconds": LEASE_SECONDS},
        "recipes": {"folders": [str(topology.places.within("recipes"))]},
        "artifacts": {"roots": [str(topology.places.within("artifacts"))]},
        "secrets": {"key_file": str(topology.places.record_key)},
    }
    if asked := chef(topology):
        tables["inventory.chef"] = {"name": "lab", **asked, **chef_rules(topology)}
    return "# Written by `vesemir lab up`; the next one writes it anew.\n" + _toml(tables)


def inventory(topology: LabTopology) -> str:
    """``inventory.toml``: the boxes in one group, the load balancers in another."""
    tables: dict[str, dict[str, object]] = {
        f"groups.{TARGET_GROUP}": {"hosts": [f"web[1:{len(topology.boxes)}]"]},
        f"groups.{BALANCER_GROUP}": {"hosts": [balancer.box.name for balancer in topology.balancers]},
        f"groups.{TARGET_GROUP}.variables": dict(PACE),
    }
    if topology.bare:
        tables[f"groups.{BARE_GROUP}"] = {"hosts": [box.name for box in topology.bare]}
    if topology.bastion:
        tables[f"groups.{JUMPED_GROUP}"] = {"hosts": [box.name for box in topology.jumped]}
        tables[f"groups.{JUMPED_GROUP}.variables"] = {**PACE, "vesemir_jump": topology.bastion.name}
    for box in topology.all_hosts:
        tables[f"hosts.{box.name}"] = {"address": box.address, "port": box.port, "user": topology.user}
        tables[f"hosts.{box.name}.variables"] = dict(host_variables(topology, box))
    return "# The lab's hosts. Written by `vesemir lab up`; the next one writes it anew.\n" + _toml(tables)


def host_variables(topology: LabTopology, box: Box) -> dict[str, str]:
    """What recipes and Vesemir itself need to know of a box, whichever inventory tells them."""
    return _of_machine(topology, box) if topology.machines else _of_box(topology, box)


def _of_machine(topology: LabTopology, box: Box) -> dict[str, str]:
    """Paths as they are on the machine; what is not said is as on any host."""
    own = {"root": "/", "zone": box.zone}
    balancer = topology.balancer_of(box)
    if balancer is not None:
        return {"haproxy_socket": f"{SOCKETS}/{balancer.socket.name}", **own}
    if box in topology.bare:
        return own
    return {"app_root": f"/srv/{APPLICATION}", "health_url": box.health_url, "systemctl_sudo": "true", **own}


def _of_box(topology: LabTopology, box: Box) -> dict[str, str]:
    own = {"root": str(box.root), "zone": box.zone, "vesemir_state_dir": str(box.state_dir)}
    balancer = topology.balancer_of(box)
    if balancer is not None:
        return {"haproxy_socket": str(balancer.socket), **own}
    if box == topology.bastion:
        return own
    return {
        "app_root": str(box.app_root),
        "health_url": box.health_url,
        "systemctl": str(box.systemctl),
        "service": APPLICATION,
        "log_file": str(box.root / "log" / APPLICATION),
        **own,
    }


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Strings, whole numbers and lists of strings: JSON writes those as TOML does."""
    parts = []
    for name, values in tables.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        parts.append("\n".join((f"\n[{name}]", *lines)))
    return "\n".join(parts) + "\n"


def read_lab(places: Places) -> dict[str, Any]:
    """``lab.json`` of a lab that is up. Raises ``LabError`` when there is none."""
    try:
        found: dict[str, Any] = json.loads(places.lab_json.read_text())
    except FileNotFoundError:
        raise LabError(
            f"no lab is up in {places.folder}: start one with `vesemir lab up --dir {places.folder}`"
        ) from None
    except (OSError, ValueError) as error:
        raise LabError(f"{places.lab_json} cannot be read ({error}); run `vesemir lab down` and `up` again") from error
    return found
