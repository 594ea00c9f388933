"""``vesemir check`` logs in to each jump host, through those before it, and says what came of each."""

import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.jump_site import JumpSite, jump_site, logins
from tests.integration.postgres_server import database, postgres_server
from tests.integration.ssh_server import Sshd, free_port, sshd_running
from tests.integration.test_cli_instances import READ, Consuming, consuming
from tests.integration.test_cli_record import Run, run

from vesemir.adapters.ssh import jump_check
from vesemir.adapters.ssh.jump_check import JumpLook, look_at_jumps
from vesemir.cli.check_lines import CheckProblem
from vesemir.cli.jump_lines import jump_lines
from vesemir.domain.target import Target
from vesemir.settings import Settings

__all__ = ["consuming", "database", "postgres_server", "run"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JumpSite]:
    with jump_site(tmp_path_factory.mktemp("checked") / "site", "bastion1", "bastion2") as running:
        yield running


def host(name: str, server: Sshd, *, port: int = 0, jump: str = "") -> str:
    said = f'variables = {{ vesemir_jump = "{jump}" }}\n' if jump else ""
    return f'[hosts.{name}]\naddress = "127.0.0.1"\nport = {port or server.port}\nuser = "{server.user}"\n{said}'


async def looks(site: JumpSite, ways: Mapping[str, Target | None]) -> list[JumpLook]:
    return (await look_at_jumps(site.settings(), ways, site.find))[0]


async def test_a_line_for_each_and_one_that_is_down_hides_none(
    site: JumpSite, run: Run, consuming: Consuming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = site.jumps["bastion1"], site.jumps["bastion2"]
    inventory = (
        host("bastion1", first)
        + host("bastion2", second)
        + host("web1", site.box, jump="bastion1,bastion2")
        + host("web2", site.box, jump="none")
    )
    consuming(READ)
    file = tmp_path / "inventory.toml"
    monkeypatch.setenv("VESEMIR_SSH__CLIENT_KEY", str(site.box.client_key))
    monkeypatch.setenv("VESEMIR_SSH__KNOWN_HOSTS", str(site.known_hosts))
    file.write_text(inventory)
    before = logins(first), logins(second), logins(site.box)
    result = await run("check")
    assert result.exit_code == 0, result.output
    passes = ", and it passes connections on (web1 answers)"
    assert [line for line in result.stdout.splitlines() if "jumps" in line] == [
        f"ok    jumps      bastion1 (127.0.0.1:{first.port}): logged in as {first.user}",
        f"ok    jumps      bastion2 (127.0.0.1:{second.port}) through bastion1: logged in as {second.user}{passes}",
    ]
    assert (logins(first), logins(second), logins(site.box)) == (before[0] + 1, before[1] + 1, before[2])

    monkeypatch.setenv("VESEMIR_SSH__JUMP", f"{first.user}@127.0.0.1:{first.port}")
    down = free_port()
    file.write_text(f"{inventory}{host('dead', first, port=down)}{host('web3', site.box, jump='dead,bastion2')}")
    result = await run("check")
    assert result.exit_code == 1
    told = [" ".join(line.split()) for line in result.stdout.splitlines() if "jumps" in line]
    assert [line.split()[0] for line in told] == ["ok", "ok", "ok", "FAIL", "FAIL"], result.output
    assert f"ok jumps 127.0.0.1 (127.0.0.1:{first.port}): logged in as {first.user}" in told[0]
    assert f"dead (127.0.0.1:{down}) cannot be reached: Connection refused; check that it is up" in told[3]
    assert told[4].endswith(") through dead: not tried, because dead before it is not available")


async def test_a_refused_login_and_a_refused_passage(site: JumpSite, tmp_path: Path) -> None:
    allowed = site.jumps["bastion2"].folder / "authorized_keys"
    kept = allowed.read_text()
    allowed.write_text("")
    try:
        (look,) = await looks(site, {"bastion2": None})
    finally:
        allowed.write_text(kept)
    assert not look.ok
    assert f"refuses the login of {site.box.user}: check that" in look.text
    with sshd_running(tmp_path / "strict", first="AllowTcpForwarding no") as strict:
        shutil.copy(site.box.folder / "authorized_keys", strict.folder / "authorized_keys")
        site.inventory["strict"] = replace(strict.target, name="strict")
        known = tmp_path / "known_hosts"
        known.write_text(site.known_hosts.read_text() + strict.known_hosts.read_text())
        settings = site.box.settings(known_hosts=known)
        (look,), _ = await look_at_jumps(settings, {"strict": site.target("a", "strict")}, site.find)
        assert not look.ok
        assert "it forwards no connection (" in look.text
        assert "AllowTcpForwarding" in look.text


async def test_a_host_behind_it_that_is_down_is_not_its_fault(site: JumpSite) -> None:
    away = replace(site.target("away", "bastion1"), port=free_port())
    (look,) = await looks(site, {"bastion1": away})
    assert look.ok
    assert look.text.endswith("and it passes connections on (away did not answer)")


async def test_time_and_number_are_limited(site: JumpSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jump_check, "SECONDS", 0.5)
    monkeypatch.setattr(jump_check, "MOST", 2)

    with socket.create_server(("127.0.0.1", 0)) as mute:
        site.inventory["mute"] = Target("mute", "127.0.0.1", mute.getsockname()[1])
        ways = dict.fromkeys(("mute", "bastion1", "bastion2"))
        (silent, well), left = await look_at_jumps(site.settings(), ways, site.find)
    assert (silent.ok, well.ok, left) == (False, True, 1)
    assert "not finished within 0.5 s" in silent.text


def test_wrong_words_for_a_chef_server() -> None:
    cluster = {"url": "https://chef", "client_name": "v", "client_key": "/k"}
    chef = {**cluster, "fixed_variables": {"vesemir_jump": "b1,b1"}}
    settings = Settings.model_validate({"inventory": {"chef": chef}})
    (line,) = jump_lines(settings)
    assert isinstance(line, CheckProblem)
    assert line == "vesemir_jump in fixed_variables of a Chef server: 'b1,b1' names a jump host twice"
