"""Secrets from files: read again when they change, kept where the new file is of no use, never shown."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.engine.world import Lines

from vesemir.adapters.observe import add_secret, redact
from vesemir.adapters.secret_file import SecretFile
from vesemir.secret_files import SecretFiles
from vesemir.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("first-password\n")
    return file


def test_a_new_secret_is_read_and_hidden(file: Path) -> None:
    secret = SecretFile("amqp.url", "first-password", file, log=Lines(), hide=add_secret)
    file.write_text("amqp://user:new-password-1@broker/\n")
    secret.refresh()
    assert (secret.current, secret.problem) == ("amqp://user:new-password-1@broker/", "")
    assert "new-password-1" not in redact("the password is new-password-1")


@pytest.mark.parametrize(("text", "reason"), [("", "is empty"), (None, "cannot be read: No such file")])
def test_a_file_of_no_use_keeps_the_old_secret_and_says_so_once(file: Path, text: str | None, reason: str) -> None:
    log = Lines()
    secret = SecretFile("postgres.dsn", "first-password", file, log=log)
    file.unlink()
    if text is not None:
        file.write_text(text)
    for _ in range(3):
        secret.refresh()
    assert secret.current == "first-password"
    assert secret.problem.startswith(f"postgres.dsn: {file} {reason}")
    assert len(log.of("error")) == 1
    file.write_text("second-password")
    secret.refresh()
    assert (secret.current, secret.problem) == ("second-password", "")


async def test_a_refused_secret_is_looked_up_once_more(file: Path) -> None:
    secret = SecretFile("amqp.url", "first-password", file, log=Lines())
    assert await secret.renewed("first-password") is None
    await asyncio.to_thread(file.write_text, "second-password")
    assert await secret.renewed("first-password") == "second-password"
    assert await secret.renewed("first-password") == "second-password"


async def test_what_no_file_has_stays() -> None:
    secret = SecretFile.fixed("amqp.url", "given")
    assert await secret.renewed("given") is None
    assert secret.current == "given"


def test_every_secret_of_the_settings_follows_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {
        "AMQP__URL": "amqp://a@b/",
        "POSTGRES__DSN": "postgresql://a@b/c",
        "HTTP__TOKEN": "t0",
        "SECRETS__KEY": "k" * 32,
    }
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "absent.toml"))
    for name, text in names.items():
        (tmp_path / name).write_text(text)
        monkeypatch.delenv(f"VESEMIR_{name}", raising=False)
        monkeypatch.setenv(f"VESEMIR_{name}_FILE", str(tmp_path / name))
    secrets = SecretFiles(Settings(), log=Lines())
    assert secrets.token is not None
    assert secrets.seal is not None
    sealed = secrets.seal.close("d1", {"a": "b"})
    (tmp_path / "AMQP__URL").write_text("amqp://a:other-password@b/")
    (tmp_path / "POSTGRES__DSN").write_text("postgresql://a:other-password@b/c")
    (tmp_path / "HTTP__TOKEN").write_text("t1\nt0\n")
    (tmp_path / "SECRETS__KEY").write_text("too short")
    secrets.refresh()
    assert secrets.problem.startswith(f"secrets.key: {tmp_path / 'SECRETS__KEY'} must have at least 32 characters")
    (tmp_path / "SECRETS__KEY").write_text(f"{'n' * 32}\n{'k' * 32}\n")
    secrets.refresh()
    assert secrets.problem == ""
    assert secrets.amqp_url.current == "amqp://a:other-password@b/"
    assert secrets.postgres_dsn.current == "postgresql://a:other-password@b/c"
    assert secrets.token().split() == ["t1", "t0"]
    assert secrets.seal.open("d1", sealed) == {"a": "b"}
    assert secrets.seal.close("d1", {})[1:5] != sealed[1:5]
