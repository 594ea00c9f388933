"""A lab with a cluster of brokers and a standby database: its nodes fall and come back, and nothing of it is left."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vesemir.adapters.amqp.nodes import answering
from vesemir.adapters.postgres.servers import Servers
from vesemir.adapters.postgres.timelines import OldPrimaryError, Timelines, timeline_of
from vesemir.settings import AmqpSettings

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


class HaLab:
    """Runs ``vesemir lab`` for one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "vesemir.cli.lab", *words, "--dir", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "lab.json").read_text())
        return found


async def writable(lab: HaLab, timelines: Timelines) -> tuple[int, int]:
    """The port of the server that an instance would write to, and its timeline."""
    connection = await Servers(lab.described["postgres_dsn"], timelines).connect(timeout=10)
    try:
        port = await connection.fetchval("SELECT inet_server_port()")
        found = await timeline_of(connection)
    finally:
        connection.terminate()
    assert found is not None
    return int(port), found.number


def up(lab: HaLab) -> int:
    amqp = AmqpSettings.model_validate({"urls": lab.described["amqp_urls"], "connect_timeout_seconds": 6})
    return len(asyncio.run(answering(amqp, name="test"))[0])


def until_up(lab: HaLab, number: int) -> None:
    deadline = time.monotonic() + 60
    while up(lab) != number:
        assert time.monotonic() < deadline, f"{number} nodes never answered"


def test_nodes_fall_and_come_back_and_a_standby_takes_over(tmp_path: Path) -> None:
    lab = HaLab(tmp_path / "lab")
    try:
        lab.run("up", "--ha", "--boxes", "1", "--detach")
        _brokers(lab)
        _databases(lab)
        assert "rabbit3" in lab.run("down")
    finally:
        lab.run("down")
    assert not [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if str(lab.folder) in _words(entry)]


def _brokers(lab: HaLab) -> None:
    described = lab.described
    names = [node["name"] for node in described["rabbitmq_nodes"]]
    assert names == ["rabbit1", "rabbit2", "rabbit3"]
    assert described["amqp_url"] == described["amqp_urls"][0]
    assert all(set(node) == {"name", "address", "port", "pid", "data"} for node in described["rabbitmq_nodes"])
    lab.run("node", "partition", "rabbit3")
    until_up(lab, 2)  # the minority pauses, and sends its clients away
    lab.run("node", "heal", "rabbit3")
    until_up(lab, 3)


def _databases(lab: HaLab) -> None:
    known = Timelines()
    primary, standby = lab.described["postgres_nodes"]
    assert asyncio.run(writable(lab, known)) == (primary["port"], 1)
    lab.run("node", "stop", "postgres1")
    assert "postgres2 is the primary now" in lab.run("promote")
    assert asyncio.run(writable(lab, known)) == (standby["port"], 2)
    lab.run("node", "start", "postgres1")
    assert lab.described["postgres_nodes"][0]["pid"] != primary["pid"]
    assert asyncio.run(writable(lab, known)) == (standby["port"], 2)
    assert asyncio.run(writable(lab, Timelines())) == (standby["port"], 2), "a process that knows nothing yet"
    lab.run("node", "partition", "postgres2")
    with pytest.raises(OldPrimaryError):  # the old primary alone answers: better none than that one
        asyncio.run(writable(lab, known))
    assert "there is no node web1" in lab.run("node", "stop", "web1", status=1)
    assert "promoted already" in lab.run("promote", status=1)


def _words(entry: Path) -> str:
    try:
        return entry.read_bytes().decode(errors="replace")
    except OSError:
        return ""
