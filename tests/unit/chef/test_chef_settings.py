"""Chef servers in the settings, and in the documents of a lab that has one."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vesemir.adapters.chef import clusters_of
from vesemir.lab.chef import node_of
from vesemir.lab.documents import PACE, environment, host_variables, lab_json, settings
from vesemir.lab.places import Places
from vesemir.lab.topology import LabTopology, Wanted, plan
from vesemir.settings import InventorySettings, Settings

CLUSTER = {"url": "https://chef.example.com", "client_name": "vesemir", "client_key": "/k.pem"}


def test_the_environment_alone_sets_a_chef_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "absent.toml"))
    for name, value in CLUSTER.items():
        monkeypatch.setenv(f"VESEMIR_INVENTORY__CHEF__{name.upper()}", value)
    chef = Settings().inventory.chef
    assert chef is not None
    assert (chef.name, chef.url, chef.client_name, chef.client_key) == (
        "default", "https://chef.example.com", "vesemir", Path("/k.pem")
    )  # fmt: skip
    assert chef.address_attributes == ("cloud.local_ipv4", "ipaddress", "fqdn")
    assert not chef.allow_raw_query


def test_the_environment_overrides_a_chef_server_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "vesemir.toml"
    lines = [f'{name} = "{value}"' for name, value in CLUSTER.items()]
    file.write_text("\n".join(["[inventory.chef]", "rows = 7", *lines, "[inventory.chef_clusters.west]", *lines]))
    monkeypatch.setenv("VESEMIR_CONFIG", str(file))
    monkeypatch.setenv("VESEMIR_INVENTORY__CHEF__URL", "http://127.0.0.1:4545")
    found = clusters_of(Settings().inventory)
    assert {name: (cluster.url, cluster.rows) for name, cluster in found.items()} == {
        "default": ("http://127.0.0.1:4545", 7),
        "west": ("https://chef.example.com", 1000),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"url": "chef.example.com"},
        {"url": "ftp://chef.example.com"},
        {"url": "https://user:secret@chef.example.com"},
        {"url": "https://chef.example.com/?q=1"},
        {"client_name": "a\nX-Ops-Sign: x"},
        {"organization": "a/b"},
        {"address_attributes": []},
        {"address_attributes": ["a..b"]},
        {"rows": 0},
        {"clientkey": "/k.pem"},
    ],
)
def test_what_cannot_be_meant_is_an_error(change: dict[str, Any]) -> None:
    InventorySettings.model_validate({"chef": CLUSTER})
    with pytest.raises(ValidationError):
        InventorySettings.model_validate({"chef": CLUSTER | change})


def test_two_chef_servers_do_not_share_a_name() -> None:
    with pytest.raises(ValidationError, match="is named west, and so is one of"):
        InventorySettings.model_validate({"chef": CLUSTER | {"name": "west"}, "chef_clusters": {"west": CLUSTER}})


@pytest.fixture(params=[True, False])
def topology(tmp_path: Path, request: pytest.FixtureRequest) -> LabTopology:
    places = Places.of(tmp_path / "lab", token="0" * 32)
    places.claim()
    places.make()
    return plan(places, Wanted(2, chef=request.param))


def test_a_lab_says_how_to_ask_its_chef_server_if_it_has_one(topology: LabTopology) -> None:
    told = {"url": topology.chef_url, "client_name": "vesemir", "client_key": str(topology.chef_key)}
    has_one = topology.chef_port is not None
    variables = {name: value for name, value in environment(topology).items() if "CHEF" in name}
    assert lab_json(topology, [])["chef"] == (told if has_one else None)
    rules = {"allowed_networks": [box.address for box in topology.hosts], "allowed_variables": ["*"]}
    assert set(variables.values()) == ({*told.values(), *map(json.dumps, rules.values())} if has_one else set())
    tables = tomllib.loads(settings(topology))
    assert tables["inventory"].get("chef") == ({"name": "lab", **told, **rules} if has_one else None)


def test_a_node_of_the_lab_is_found_by_its_tag_and_tells_all_that_is_needed(topology: LabTopology) -> None:
    box, balancer = topology.boxes[0], topology.balancers[0].box
    web, lb = (node_of(topology, each, now=5.0) for each in (box, balancer))
    assert (web["name"], web["normal"]["tags"], lb["normal"]["tags"]) == ("web1", ["shop-web"], ["shop-lb"])
    assert web["chef_environment"] == lb["chef_environment"] == "production"
    assert web["automatic"]["cloud"]["local_ipv4"] == web["automatic"]["ipaddress"] == box.address
    assert web["automatic"]["ohai_time"] == 5.0
    assert web["normal"]["vesemir"] == {
        "port": box.port,
        "user": topology.user,
        "variables": {**host_variables(topology, box), **PACE},
    }
    assert lb["normal"]["vesemir"]["variables"]["haproxy_socket"] == str(topology.balancers[0].socket)
