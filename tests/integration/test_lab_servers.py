"""A lab as its users meet it: every address in ``lab.json`` answers, and what it promises of itself is so."""

import asyncio
import csv
import json
import os
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import asyncssh
import pika
import pytest

from vesemir.contract import MessageProperties, Refusal, parse_deploy_event
from vesemir.domain.request import Timeouts
from vesemir.lab.demo import page
from vesemir.lab.haproxy import out_of_traffic, server_states
from vesemir.settings import Settings

pytestmark = pytest.mark.lab

LAB = (sys.executable, "-m", "vesemir.cli.lab")


def lab(*words: str, timeout: float = 170) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAB, *words], capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """pytest's folder has mode 0700: RabbitMQ's and PostgreSQL's accounts cannot get into it."""
    folder = tmp_path_factory.mktemp("servers") / "lab"
    started = lab("up", "--dir", str(folder), "--boxes", "3", "--detach")
    try:
        assert started.returncode == 0, started.stderr
        yield folder
    finally:
        ended = lab("down", "--dir", str(folder))
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "lab.json").read_text()))


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- the lab's own address
        assert answer.status == 200
        return dict(json.load(answer))


def runtime(found: dict[str, Any], command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(found["haproxy_socket"])
        connection.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


async def ssh(found: dict[str, Any], box: dict[str, Any]) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        box["address"],
        box["port"],
        username=box["user"],
        client_keys=[found["client_key"]],
        known_hosts=found["known_hosts"],
        config=None,
        agent_path=None,
        connect_timeout=10,
    )


def test_the_broker_keeps_messages_in_quorum_queues(found: dict[str, Any]) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(found["amqp_url"]))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("lab-test", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", "lab-test", b"hello")
        _, _, body = next(channel.consume("lab-test", auto_ack=True, inactivity_timeout=20))
        assert body == b"hello"
        channel.queue_delete("lab-test")
    finally:
        connection.close()


async def test_the_database_is_migrated(found: dict[str, Any]) -> None:
    connection = await asyncpg.connect(found["postgres_dsn"], timeout=10)
    try:
        assert await connection.fetchval("SELECT count(*) FROM vesemir_migration") >= 1
    finally:
        await connection.close()


def test_every_box_serves_the_first_release_by_itself_and_through_haproxy(found: dict[str, Any]) -> None:
    names = {box["name"] for box in found["boxes"]}
    assert names == {"web1", "web2", "web3"}
    served = [get(found["http_url"]) for _ in range(6)]
    assert {answer["box"] for answer in served} == names
    assert {(answer["application"], answer["version"]) for answer in served} == {("shop", "1.0.0")}
    assert get(found["http_url"].rstrip("/") + "/health")


def test_servers_have_weight_100_and_are_checked_often(found: dict[str, Any], folder: Path) -> None:
    rows = list(csv.DictReader(runtime(found, "show stat").removeprefix("# ").splitlines()))
    servers = [row for row in rows if row["pxname"] == found["backend"] and row["svname"].startswith("web")]
    assert [(row["status"], row["weight"], row["check_rise"]) for row in servers] == [("UP", "100", "2")] * 3
    assert "inter 300ms" in (folder / "haproxy" / "haproxy.cfg").read_text()
    assert runtime(found, "set server shop/web1 weight 50%") == "\n", "level admin"
    assert runtime(found, "set server shop/web1 weight 100%") == "\n"


async def test_a_drained_server_is_known_as_out_of_traffic(found: dict[str, Any]) -> None:
    """``lab demo`` tells by this where HAProxy sends its traffic."""
    path = found["haproxy_socket"]
    assert await out_of_traffic(path) == []
    for state, expected in (("drain", ["web2"]), ("maint", ["web2"]), ("ready", [])):
        assert runtime(found, f"set server shop/web2 state {state}") == "\n"
        assert await out_of_traffic(path) == expected
    async with asyncio.timeout(20):
        while await server_states(path) != dict.fromkeys(("web1", "web2", "web3"), "UP"):  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.02)
    served = {await page(found["http_url"]) for _ in range(6)}
    assert served == {("web1", "1.0.0"), ("web2", "1.0.0"), ("web3", "1.0.0")}


async def test_every_box_lets_in_the_key_and_has_its_own_identity(found: dict[str, Any]) -> None:
    keys = set()
    for box in found["boxes"]:
        async with asyncio.timeout(20), await ssh(found, box) as connection:
            key = connection.get_server_host_key()
            assert key is not None
            keys.add(key.public_data)
            answer = await connection.run(f"{box['root']}/bin/systemctl is-active shop")
            assert (answer.exit_status, answer.stdout) == (0, "active\n")
    assert len(keys) == len(found["boxes"])


def test_a_box_has_its_release_as_a_deployment_leaves_it(found: dict[str, Any]) -> None:
    for box in found["boxes"]:
        assert Path(box["app_root"], "current").readlink() == Path("releases/1.0.0")
        assert Path(box["app_root"]).is_relative_to(box["root"])


@pytest.fixture
def balancer(folder: Path) -> dict[str, Any]:
    return dict(tomllib.loads((folder / "inventory.toml").read_text())["hosts"]["lb1"])


async def test_the_balancers_runtime_socket_is_reached_over_ssh(
    found: dict[str, Any], balancer: dict[str, Any]
) -> None:
    async with asyncio.timeout(20), await ssh(found, balancer) as connection:
        reader, writer = await connection.open_unix_connection(balancer["variables"]["haproxy_socket"])
        writer.write(b"show info\n")
        assert b"HAProxy" in await reader.read()


@pytest.mark.parametrize(
    "words",
    [
        ("--version", "2.0.0"),
        ("--version", "3.0.0-broken", "--set", "keep_releases=3"),
        ("--recipe", "lab-script", "--set", "script=true", "--set", "idempotent=false", "--set", "argument=x y"),
    ],
)
def test_an_event_is_valid_as_it_is_printed(folder: Path, words: tuple[str, ...]) -> None:
    printed = lab("event", "--dir", str(folder), *words)
    assert printed.returncode == 0, printed.stderr
    caps = Timeouts(deployment=3600, target=3600, step=3600)
    body = printed.stdout.encode()
    parsed = parse_deploy_event(
        body, max_bytes=1024 * 1024, caps=caps, namespace="vesemir", properties=MessageProperties()
    )
    assert not isinstance(parsed, Refusal), parsed


def test_an_event_for_a_script_needs_the_script(folder: Path) -> None:
    refused = lab("event", "--dir", str(folder), "--recipe", "lab-script")
    assert refused.returncode == 1
    assert "--set script=" in refused.stderr
    assert refused.stdout == ""


def test_the_variables_are_all_that_the_settings_need(
    found: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in found["env"].items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.lease.seconds == 10
    assert settings.amqp.url.get_secret_value() == found["amqp_url"]
    assert settings.postgres.dsn.get_secret_value() == found["postgres_dsn"]
    assert settings.artifacts.roots == (folder / "artifacts",)
    assert [(place / "lab-script.toml").exists() for place in settings.recipes.folders] == [True]
    shell = lab("env", "--dir", str(folder))
    sourced = subprocess.run(
        ["/bin/sh", "-c", f"{shell.stdout}\nenv"], capture_output=True, text=True, check=True, env={}, timeout=10
    )
    assert set(found["env"].items()) <= {tuple(line.split("=", 1)) for line in sourced.stdout.splitlines()}


def test_a_second_up_says_that_the_lab_is_up(found: dict[str, Any], folder: Path) -> None:
    again = lab("up", "--dir", str(folder), "--detach")
    assert again.returncode == 0
    assert "up already, with 3 boxes" in again.stdout
    assert json.loads((folder / "lab.json").read_text()) == found


def test_passwords_and_keys_are_private(found: dict[str, Any], folder: Path) -> None:
    for file in (folder / "lab.json", folder / "vesemir.toml", folder / "processes.json", Path(found["client_key"])):
        assert file.stat().st_mode & 0o077 == 0, file
        assert file.stat().st_uid == os.geteuid()
