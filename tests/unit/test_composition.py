"""An instance is built whole, with nothing outside that answers; and whatever it was built of is closed again."""

import ast
import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from loguru import logger

from vesemir import service
from vesemir.adapters.amqp import AmqpBroker
from vesemir.adapters.observe.logs import EngineLog
from vesemir.composition import built_parts
from vesemir.domain.failure import VesemirError
from vesemir.engine.deployment.worker import Worker
from vesemir.settings import Settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """Of an instance that may listen on any port, and whose broker and database are not there."""
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "absent.toml"))
    monkeypatch.setenv("VESEMIR_AMQP__URL", "amqp://guest:guest@127.0.0.1:1/")
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", "postgresql://vesemir@127.0.0.1:1/vesemir")
    monkeypatch.setenv("VESEMIR_HTTP__HOST", "127.0.0.1")
    monkeypatch.setenv("VESEMIR_HTTP__PORT", "0")
    key, known_hosts = tmp_path / "id_ed25519", tmp_path / "known_hosts"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    key.chmod(0o600)
    known_hosts.touch()
    monkeypatch.setenv("VESEMIR_SSH__CLIENT_KEY", str(key))
    monkeypatch.setenv("VESEMIR_SSH__KNOWN_HOSTS", str(known_hosts))
    yield Settings()
    logger.configure(extra={})


async def test_nothing_outside_needs_to_be_there(settings: Settings) -> None:
    async with built_parts(settings, instance="here/1") as (outside, engine):
        assert isinstance(outside.log, EngineLog)
        assert {part.name for part in outside.health.parts} >= {"database", "broker.publish", "broker.consume"}
        assert engine.worker.in_work == 0


@pytest.mark.usefixtures("settings")
async def test_a_part_that_cannot_be_built_is_named_and_the_others_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("VESEMIR_HTTP__PORT", str(taken.getsockname()[1]))
        with pytest.raises(VesemirError, match=r"http\.port"):
            async with built_parts(Settings(), instance="here/1"):
                pass


async def test_a_stop_lets_no_further_target_begin_while_the_last_messages_are_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is slow, or an insert that waits, takes seconds."""
    began = asyncio.Event()
    drain, stop_consuming = Worker.drain, AmqpBroker.stop_consuming

    async def told(worker: Worker, seconds: float) -> None:
        began.set()
        await drain(worker, seconds)

    async def slow(broker: AmqpBroker, *, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await began.wait()
        await stop_consuming(broker, seconds=seconds)

    monkeypatch.setattr(Worker, "drain", told)
    monkeypatch.setattr(AmqpBroker, "stop_consuming", slow)
    async with service.Service.built(settings, instance="here/1") as instance:
        instance.stop()
        await instance.run()
    assert began.is_set()


def test_the_service_makes_no_part_of_its_own() -> None:
    """Its constructor takes what was built; but for its own two events it calls nothing."""
    tree = ast.parse(Path(service.__file__).read_text(encoding="utf-8"))
    (made,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    assert {ast.unparse(node) for node in ast.walk(made) if isinstance(node, ast.Call)} == {"asyncio.Event()"}
