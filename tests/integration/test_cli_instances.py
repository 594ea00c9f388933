"""That nobody works is said: by ``status`` first, and by ``check`` with exit status 1; and who works, by both."""

import json
from collections.abc import Callable
from pathlib import Path

import asyncpg
import asyncssh
import pytest
from tests.integration.postgres_server import database, postgres_server
from tests.integration.test_cli_record import Run, accept, begin, run, store

from vesemir.adapters.amqp.requester import QueueDepth
from vesemir.adapters.postgres import PostgresStore
from vesemir.engine.ports.store import InstanceReport
from vesemir.settings import AmqpSettings

__all__ = ["database", "postgres_server", "run", "store"]

READ = {"vesemir.deployments": 1, "vesemir.control": 1}
UNREAD = {"vesemir.deployments": 0, "vesemir.control": 0}
Consuming = Callable[[dict[str, int | None]], None]


def report(name: str = "a/1", *, in_work: int = 0, stopped: bool = False) -> InstanceReport:
    return InstanceReport(name, "0.2.0", in_work, draining=stopped, stopped=stopped)


async def fall_silent(database: str, name: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE instance SET renewed_at = renewed_at - interval '1 hour' WHERE name = $1", name)
    await connection.close()


@pytest.fixture
def consuming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Consuming:
    """``consuming({queue: consumers})`` is what the broker answers; None for a queue that is not there."""
    key, known_hosts, inventory = tmp_path / "key", tmp_path / "known_hosts", tmp_path / "inventory.toml"
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(key)
    key.chmod(0o600)
    known_hosts.write_text(f"127.0.0.1 {made.export_public_key().decode()}")
    inventory.write_text('[hosts.web1]\naddress = "127.0.0.1"\n')
    monkeypatch.setenv("VESEMIR_SSH__CLIENT_KEY", str(key))
    monkeypatch.setenv("VESEMIR_SSH__KNOWN_HOSTS", str(known_hosts))
    monkeypatch.setenv("VESEMIR_INVENTORY__FILE", str(inventory))

    def answer(consumers: dict[str, int | None]) -> None:
        async def depths(settings: AmqpSettings, *, name: str) -> dict[str, QueueDepth | None]:
            del settings, name
            found = {queue: None if number is None else QueueDepth(3, number) for queue, number in consumers.items()}
            return {**found, "vesemir.rejected": QueueDepth(0, 0)}

        async def no_problems(settings: AmqpSettings, *, name: str) -> dict[str, str]:
            del settings, name
            return {}

        monkeypatch.setattr("vesemir.cli.consumers.depths", depths)
        monkeypatch.setattr("vesemir.cli.consumers.input_problems", no_problems)

    return answer


async def test_status_lists_the_instances(store: PostgresStore, run: Run) -> None:
    assert "No instance has been seen yet." in (await run("status", "--instances")).stdout
    assert json.loads((await run("status", "--instances", "--json")).stdout) == []
    await store.report_instance(report(in_work=2))
    await store.report_instance(report("b/2", stopped=True))
    shown = (await run("status", "--instances")).stdout.splitlines()
    assert [line.split()[:3] for line in shown[1:3]] == [["a/1", "0.2.0", "working"], ["b/2", "0.2.0", "stopped"]]
    assert shown[3] == "(instances of 0.1 are not listed)"
    first, second = json.loads((await run("status", "--instances", "--json")).stdout)
    assert (first["name"], first["in_work"], second["state"]) == ("a/1", 2, "stopped")
    assert set(first) == {"name", "version", "since", "in_work", "renewed_at", "state"}
    assert (await run("status", "d1", "--instances")).exit_code == 2


async def test_status_says_first_that_nobody_works(store: PostgresStore, run: Run, database: str) -> None:
    await store.report_instance(report())
    await accept(store, "d1", "1.0.0")
    for command in (("status",), ("status", "d1")):
        assert "No instance works" not in (await run(*command)).stdout

    await fall_silent(database, "a/1")
    await store.report_instance(report("b/2", stopped=True))
    for command in (("status",), ("status", "d1")):
        first = (lines := (await run(*command)).stdout.splitlines())[0]
        assert first.startswith("No instance works, and 1 deployment waits: last seen b/2 (0.2.0, stopped) 20"), first
        assert ", a/1 (0.2.0, silent) 20" in first
        assert first.endswith(" (instances of 0.1 are not listed).")
        assert lines[1:5] == [
            "start one, on its host:",
            "    systemctl start vesemir",
            "what the broker says of who consumes:",
            "    vesemir check",
        ]
    told = json.loads((await run("status", "--json")).stdout)
    assert (told["no_instance_works"], len(told["instances"])) == (True, 2)


async def test_a_lease_of_an_instance_of_0_1_is_work(store: PostgresStore, run: Run) -> None:
    """It is not in the table, and works all the same."""
    await begin(store, "d1", "1.0.0")
    assert (await run("status")).stdout.startswith("1 deployment active or waiting:")


async def test_status_of_what_waits_where_nobody_was_ever_seen(store: PostgresStore, run: Run) -> None:
    await accept(store, "d1", "1.0.0")
    assert (await run("status")).stdout.startswith("No instance works, and 1 deployment waits: none was seen yet (")


async def test_check_fails_when_nobody_consumes_though_some_have_run(
    store: PostgresStore, run: Run, consuming: Consuming, database: str
) -> None:
    await store.report_instance(report())
    consuming(READ)
    result = await run("check")
    assert (result.exit_code, "FAIL" in result.stdout) == (0, False), result.output
    await fall_silent(database, "a/1")
    assert (await run("check")).exit_code == 0, "the broker is the truth: one of 0.1 may consume"

    for unread in (UNREAD, {**READ, "vesemir.control": 0}, {**READ, "vesemir.deployments": None}):
        consuming(unread)
        result = await run("check")
        assert result.exit_code == 1
        last = result.stdout.splitlines()[-1]
        assert last.startswith("FAIL  broker     no instance consumes from vesemir."), last
        assert "although some have run (last seen a/1 (0.2.0, silent) 20" in last
        assert "`systemctl start vesemir`" in last
        before = await run("check", "--before-start")
        assert before.exit_code == 0
        assert "warn  broker     no instance consumes from vesemir." in before.stdout


async def test_check_knows_an_instance_of_0_1_by_what_it_claimed(
    store: PostgresStore, run: Run, consuming: Consuming
) -> None:
    await begin(store, "d1", "1.0.0")
    consuming(UNREAD)
    result = await run("check")
    assert (result.exit_code, "although some have run; start one" in result.stdout) == (1, True), result.stdout


@pytest.mark.parametrize("queues", [UNREAD, dict.fromkeys(UNREAD)])
async def test_check_only_warns_where_none_ever_ran(run: Run, consuming: Consuming, queues: dict[str, int]) -> None:
    consuming(queues)
    result = await run("check", "--json")
    assert result.exit_code == 0
    (warning,) = [each for each in json.loads(result.stdout) if each["part"] == "broker" and each["warning"]]
    assert warning["detail"].endswith(": none has run yet; start one with `systemctl start vesemir`")
