"""What the lab decides and writes before anything runs."""

import hashlib
import io
import json
import socket
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from vesemir.lab.accounts import Account
from vesemir.lab.artifacts import BROKEN_VERSION, VERSIONS, pack, release_files, write_artifacts
from vesemir.lab.documents import PACE, environment, inventory, lab_json, settings
from vesemir.lab.event import deploy_event
from vesemir.lab.network import MOST_BALANCERS, MOST_BOXES, LabPorts, Slice
from vesemir.lab.node_programs import program_of, remember
from vesemir.lab.nodes import nodes_json
from vesemir.lab.places import LONGEST_SOCKET_PATH, LabError, Places
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterEntry, RosterProgram
from vesemir.lab.topology import Balancer, Box, LabTopology, ServerNode


@pytest.fixture
def topology(tmp_path: Path) -> LabTopology:
    def box(name: str, last: int) -> Box:
        return Box(name, f"127.9.8.{last}", 2222, 8000, tmp_path / "boxes" / name, zone="a")

    return LabTopology(
        places=Places.of(tmp_path, token="0" * 32),
        user="someone",
        password="secret",
        address="127.9.8.1",
        amqp_port=1,
        epmd_port=2,
        distribution_port=3,
        postgres_port=4,
        balancers=(
            Balancer(box("lb1", 9), "haproxy", 5, tmp_path / "sockets" / "haproxy.sock"),
            Balancer(box("lb2", 10), "haproxy2", 6, tmp_path / "sockets" / "haproxy2.sock"),
        ),
        boxes=(box("web1", 11), box("web2", 12)),
    )


def test_an_archive_is_the_same_bytes_each_time_and_has_its_files_at_the_top() -> None:
    first, second = pack(release_files("2.0.0")), pack(release_files("2.0.0"))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["VERSION", "app.py", "run"]
        assert archive.getmember("run").mode == 0o755
        assert archive.getmember("run").mtime == 0


def test_the_digest_and_url_of_an_artifact_are_those_of_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    made = write_artifacts(folder)
    assert [artifact.version for artifact in made] == list(VERSIONS)
    assert len({artifact.sha256 for artifact in made}) == len(VERSIONS)
    for artifact in made:
        url = urlsplit(artifact.url)
        assert url.scheme == "file"
        assert hashlib.sha256(Path(unquote(url.path)).read_bytes()).hexdigest() == artifact.sha256


def test_addresses_are_loopback_and_all_different() -> None:
    net = Slice.of(Path("/somewhere/.lab"))
    addresses = [
        net.servers,
        *(net.balancer(number) for number in range(1, MOST_BALANCERS + 1)),
        *(net.box(number) for number in range(1, MOST_BOXES + 1)),
    ]
    assert len(set(addresses)) == len(addresses)
    assert all(socket.inet_aton(address)[0] == 127 for address in addresses)
    assert Slice.of(Path("/elsewhere/.lab")) != net


def test_a_port_in_use_is_not_given_out() -> None:
    wanted = LabPorts(seed=7).free(["127.0.0.1"])
    with socket.create_server(("127.0.0.1", wanted)):
        assert LabPorts(seed=7).free(["127.0.0.1"]) != wanted
        assert LabPorts(seed=7).free(["127.3.2.1"]) == wanted, "another address has the port free"


def test_a_socket_path_that_would_be_too_long_goes_to_the_spare_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * LONGEST_SOCKET_PATH)
    places = Places.of(deep, token="feedfacefeed0000")
    try:
        path = places.socket("haproxy.sock")
        assert path == places.spare / "haproxy.sock"
        assert len(str(path)) <= LONGEST_SOCKET_PATH
        assert places.spare.stat().st_mode & 0o777 == 0o711
    finally:
        places.spare.rmdir()


def test_a_folder_with_other_peoples_files_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(LabError, match="postgres"):
        Places.of(tmp_path, token="").claim()


def test_a_path_that_configuration_files_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="characters"):
        Places.of(tmp_path / 'a"b', token="")


def test_lab_json_has_what_the_contract_names(topology: LabTopology, tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    found = lab_json(topology, write_artifacts(tmp_path / "artifacts"))
    assert set(found) == {
        "amqp_url", "postgres_dsn", "http_url", "haproxy_socket", "balancers", "backend", "application", "environment",
        "boxes", "artifacts", "client_key", "known_hosts", "chef", "env",
    }  # fmt: skip
    assert set(found["boxes"][0]) == {"name", "address", "port", "user", "root", "app_root"}
    assert [box["name"] for box in found["boxes"]] == ["web1", "web2"], "the load balancers are none of them"
    first, second = found["balancers"]
    assert (first["http_url"], first["haproxy_socket"]) == (found["http_url"], found["haproxy_socket"])
    assert (second["name"], second["http_url"]) == ("lb2", "http://127.9.8.1:6/")
    assert all(isinstance(value, str) for value in found["env"].values())
    assert json.loads(json.dumps(found)) == found


def test_a_lab_of_nodes_names_all_of_them(topology: LabTopology, tmp_path: Path) -> None:
    brokers = tuple(ServerNode(f"rabbit{n}", "127.9.8.1", 10 + n, tmp_path / f"rabbit{n}", 20 + n) for n in (1, 2, 3))
    databases = tuple(ServerNode(f"postgres{n}", "127.9.8.1", 30 + n, tmp_path / f"postgres{n}") for n in (1, 2))
    several = replace(topology, amqp_port=11, postgres_port=31, brokers=brokers, databases=databases)
    (tmp_path / "artifacts").mkdir()
    found = lab_json(several, write_artifacts(tmp_path / "artifacts"))
    assert [urlsplit(url).port for url in found["amqp_urls"]] == [11, 12, 13]
    assert found["postgres_dsn"].endswith("@127.9.8.1:31,127.9.8.1:32/vesemir?target_session_attrs=read-write")
    assert found["env"]["VESEMIR_AMQP__URLS"].split(",") == found["amqp_urls"]
    assert tomllib.loads(settings(several))["amqp"]["urls"] == found["amqp_urls"]
    roster = Roster(tmp_path / "roster", token="", boot="", owner=None)
    roster.entries = [RosterEntry(node.name, 100 + node.port, 0) for node in (*brokers, *databases)]
    nodes = nodes_json(several, roster)
    assert nodes["rabbitmq_nodes"][2] == {
        "name": "rabbit3", "address": "127.9.8.1", "port": 13, "pid": 113, "data": str(tmp_path / "rabbit3" / "mnesia"),
    }  # fmt: skip
    assert nodes["postgres_nodes"][1]["data"] == str(tmp_path / "postgres2" / "cluster")
    assert nodes_json(topology, roster) == {}


def test_how_a_node_was_started_is_read_back_as_it_was(tmp_path: Path) -> None:
    places = Places.of(tmp_path, token="0" * 32)
    account = Account("rabbitmq", 105, 106, (106, 107))
    first = RosterProgram("rabbit1", ["server", "-x"], log=tmp_path / "log", environment={"A": "b"}, account=account)
    second = RosterProgram("postgres1", ["postgres"], log=tmp_path / "log", cwd=tmp_path, stop="SIGINT")
    for program in (first, second):
        remember(places, program)
    assert [program_of(places, name) for name in ("rabbit1", "postgres1")] == [first, second]


def test_inventory_and_settings_are_toml_that_says_the_same_as_the_environment(topology: LabTopology) -> None:
    hosts = tomllib.loads(inventory(topology))
    assert hosts["groups"] == {
        "shop-web": {"hosts": ["web[1:2]"], "variables": PACE},
        "shop-lb": {"hosts": ["lb1", "lb2"]},
    }
    assert hosts["hosts"]["web2"]["variables"]["health_url"] == "http://127.9.8.12:8000/"
    for balancer in topology.balancers:
        assert hosts["hosts"][balancer.box.name]["variables"]["haproxy_socket"] == str(balancer.socket)
    tables, variables = tomllib.loads(settings(topology)), environment(topology)
    for name in ("amqp.url", "postgres.dsn", "ssh.user", "ssh.client_key", "inventory.file", "lease.seconds"):
        table, key = name.split(".")
        assert str(tables[table][key]) == variables[f"VESEMIR_{table.upper()}__{key.upper()}"]


LAB = {
    "application": "shop",
    "environment": "production",
    "backend": "shop",
    "artifacts": [{"version": "2.0.0", "url": "file:///a", "sha256": "ab"}],
}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "lab-script.toml").write_text(template("lab-script.toml"))
    return Places.of(tmp_path, token="")


def test_an_event_for_a_release_carries_its_artifact_and_moves_traffic(places: Places) -> None:
    made = deploy_event(places, LAB, version="2.0.0", recipe="release", given=["keep_releases=3"])
    assert made["parameters"] == {"artifact_url": "file:///a", "artifact_sha256": "ab", "keep_releases": 3}
    assert made["haproxy"]["drain_seconds"] == 5
    assert "weight" not in made["haproxy"]
    assert made["rollout"] == {"concurrency": 1, "min_healthy_seconds": 0}
    again = deploy_event(places, LAB, version="2.0.0", recipe="release", given=[])
    assert again["deployment_id"] != made["deployment_id"]


def test_a_plain_event_has_nothing_that_the_release_before_refuses(places: Places) -> None:
    made = deploy_event(places, LAB, version="2.0.0", recipe="release", given=[], plain=True)
    assert made["rollout"] == {"concurrency": 1}


def test_an_event_for_a_script_keeps_text_as_text(places: Places) -> None:
    given = ["script=echo a=b; true", "argument=12", "idempotent=false"]
    made = deploy_event(places, LAB, version="2.0.0", recipe="lab-script", given=given)
    assert made["parameters"] == {"script": "echo a=b; true", "argument": "12", "idempotent": False}
    assert "haproxy" not in made


@pytest.mark.parametrize(
    ("recipe", "version", "given", "says"),
    [
        ("lab-script", "2.0.0", [], "--set script="),
        ("lab-script", "2.0.0", ["script"], "KEY=VALUE"),
        ("lab-script", "2.0.0", ["script=x", "idempotent=maybe"], "boolean"),
        ("lab-script", "2.0.0", ["script=x", "other=1"], "no parameter 'other'"),
        ("release", BROKEN_VERSION, [], "has no release"),
        ("nothing", "2.0.0", [], "lab-script"),
    ],
)
def test_a_wrong_wish_is_refused_with_what_would_be_right(
    places: Places, recipe: str, version: str, given: list[str], says: str
) -> None:
    with pytest.raises(LabError, match=says):
        deploy_event(places, LAB, version=version, recipe=recipe, given=given)
