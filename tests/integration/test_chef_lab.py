"""``vesemir lab up --chef``: a Chef server with a node for each box, and a deployment whose hosts are found by tags."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vesemir.adapters.chef import ChefInventory
from vesemir.adapters.inventory import StaticInventory
from vesemir.domain.selector import ChefSelector, GroupSelector
from vesemir.settings import Settings

pytestmark = pytest.mark.lab

COMMAND = str(Path(sys.executable).with_name("vesemir"))
BOXES = 2


def vesemir(
    *words: str, env: Mapping[str, str] | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("VESEMIR_")} | dict(env or {})
    return subprocess.run(
        [COMMAND, *words], input=given, env=own, capture_output=True, text=True, timeout=150, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("chef") / "lab"
    started = vesemir("lab", "up", "--dir", str(folder), "--boxes", str(BOXES), "--chef", "--detach")
    if started.returncode and "needs goiardi" in started.stderr:
        pytest.skip("goiardi is not installed (script/bootstrap installs it)")
    try:
        assert started.returncode == 0, started.stderr
        yield folder
    finally:
        ended = vesemir("lab", "down", "--dir", str(folder))
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def lab(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "lab.json").read_text()))


@contextmanager
def daemon(lab: Mapping[str, Any], log: Path, **more: str) -> Iterator[None]:
    """One instance, healthy; ended in good order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith("VESEMIR_")}
    environment = own | lab["env"] | {"VESEMIR_HTTP__PORT": str(port), "VESEMIR_INSTANCE": "chef-test"} | more
    with log.open("wb") as out:
        process = subprocess.Popen([COMMAND, "run"], env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 40
        while not _healthy(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)  # refused until it listens; there is nothing to wait on before that
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def event(folder: Path, *words: str) -> str:
    printed = vesemir("lab", "event", "--dir", str(folder), "--chef", *words)
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


async def test_every_box_is_a_node_that_says_what_the_static_inventory_says(
    lab: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab["chef"] is not None
    assert set(lab["chef"]) == {"url", "client_name", "client_key"}
    for name, value in lab["env"].items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    static = StaticInventory.load(folder / "inventory.toml", warn=pytest.fail)
    async with ChefInventory.opened(settings.inventory, warn=pytest.fail) as chef:
        assert chef is not None
        for tag, count in (("shop-web", BOXES), ("shop-lb", 1)):
            nodes = await chef.resolve(ChefSelector(tags=(tag,), environment="production"))
            hosts = await static.resolve(GroupSelector((tag,)))
            assert len(nodes) == count
            for node, host in zip(nodes, hosts, strict=True):
                assert (node.name, node.address, node.port, node.user) == (
                    host.name,
                    host.address,
                    host.port,
                    host.user,
                )
                assert node.variables == host.variables
                assert node.source == "chef lab: cloud.local_ipv4"


def test_a_release_arrives_on_boxes_that_chef_finds(lab: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    """The demo's deployment, planned and then done, with boxes and load balancer found by their tags."""
    asked = event(folder)
    with daemon(lab, tmp_path / "daemon.log"):
        planned = vesemir("plan", "--file", "-", "--json", env=lab["env"], given=asked)
        assert planned.returncode == 0, planned.stderr
        plan = json.loads(planned.stdout)["plan"]
        assert [(each["name"], each["source"], each["server"]) for each in plan["targets"]] == [
            (f"web{number}", "chef lab: cloud.local_ipv4", f"shop/web{number}") for number in range(1, BOXES + 1)
        ]
        assert plan["load_balancers"] == ["lb1"]
        done = vesemir("deploy", "--file", "-", "--follow", "--json", env=lab["env"], given=asked)
        assert done.returncode == 0, done.stdout + done.stderr
        for box in lab["boxes"]:
            assert Path(box["app_root"], "current").readlink() == Path("releases/2.0.0")


NOT_GIVEN: list[tuple[dict[str, Any], str]] = [
    ({"targets": {"chef": {"tags": ["shop-wbe"]}}}, "targets.none_found"),
    ({"targets": {"chef": {"query": "tags:*"}}}, "request.forbidden"),
    ({"targets": {"chef": {"tags": ["shop-web"], "cluster": "east"}}}, "request.invalid"),
    ({"rollout": {"min_targets": BOXES + 1}}, "targets.too_few"),
]


def test_what_chef_cannot_give_is_no_success(lab: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    with daemon(lab, tmp_path / "daemon.log"):
        for change, code in NOT_GIVEN:
            asked = json.dumps(json.loads(event(folder)) | change)
            done = vesemir("deploy", "--file", "-", "--follow", "--json", env=lab["env"], given=asked)
            assert done.returncode != 0, code
            assert code in done.stdout + done.stderr


def test_a_deployment_that_chef_refuses_to_help_fails_with_its_advice(
    lab: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    with daemon(lab, tmp_path / "daemon.log", VESEMIR_INVENTORY__CHEF__CLIENT_NAME="nobody"):
        done = vesemir("deploy", "--file", "-", "--follow", "--json", env=lab["env"], given=event(folder))
    assert done.returncode != 0
    assert "targets.inventory_denied" in done.stdout
    assert "does not know the client nobody" in done.stdout


def test_the_event_stays_on_the_static_inventory_unless_chef_is_asked_for(folder: Path) -> None:
    plain = json.loads(vesemir("lab", "event", "--dir", str(folder)).stdout)
    assert plain["targets"] == {"inventory": {"groups": ["shop-web"]}}
    assert json.loads(event(folder))["targets"] == {"chef": {"tags": ["shop-web"], "environment": "production"}}
    assert "haproxy" not in json.loads(event(folder, "--recipe", "lab-script", "--set", "script=true"))


def test_check_asks_the_chef_server(lab: dict[str, Any]) -> None:
    checked = vesemir("check", "--before-start", env=lab["env"])
    assert checked.returncode == 0, checked.stdout
    assert f"the Chef server lab ({lab['chef']['url']}) answers vesemir" in checked.stdout


def test_the_clients_key_is_private(lab: dict[str, Any]) -> None:
    assert Path(lab["chef"]["client_key"]).stat().st_mode & 0o077 == 0


def test_a_second_up_finds_the_lab_with_its_chef_server(folder: Path) -> None:
    again = vesemir("lab", "up", "--dir", str(folder), "--chef", "--detach")
    assert again.returncode == 0, again.stderr
    assert "up already" in again.stdout
