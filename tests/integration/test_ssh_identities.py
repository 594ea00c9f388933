"""Certificates that expire and are renewed, keys with passphrases, agents, several identities, and a CA for hosts."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.integration.ssh_certificates import Authority
from tests.integration.ssh_server import Sshd, make_key, sshd_running
from tests.integration.ssh_sessions import key, shell, ticket, until

from vesemir.adapters.ssh import identities
from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.adapters.ssh.keys import check_client_key
from vesemir.domain.failure import FailedError, FailureCode, VesemirError
from vesemir.domain.target import Target
from vesemir.settings import SshSettings


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Sshd]:
    """It knows one plain key, and all whom the CA has signed."""
    folder = tmp_path_factory.mktemp("identities") / "box"
    with sshd_running(folder, first=f"TrustedUserCAKeys {authority.public}") as running:
        yield running


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A key that no host knows without a certificate."""
    return make_key(tmp_path / "signed")


def run(words: Sequence[str]) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


async def refusal(settings: SshSettings, target: Target) -> str:
    with pytest.raises(FailedError) as failed:
        async with SshHosts.started(settings) as hosts, hosts.login(target, ticket()):
            pass
    assert failed.value.failure.code is FailureCode.SSH_AUTH_FAILED
    return failed.value.failure.message


async def test_a_certificate_beside_the_key_and_one_elsewhere(
    box: Sshd, authority: Authority, signed: Path, tmp_path: Path
) -> None:
    certificate = authority.sign_user(signed, box.user)
    async with SshHosts.started(box.settings(client_key=signed)) as hosts, hosts.login(box.target, ticket()):
        pass
    elsewhere = certificate.rename(tmp_path / "elsewhere")
    settings = box.settings(client_key=signed, client_certificate=elsewhere)
    async with SshHosts.started(settings) as hosts, hosts.login(box.target, ticket()):
        pass
    assert "(TrustedUserCAKeys)" in await refusal(settings, replace(box.target, user="nobody"))


async def test_a_certificate_that_expires_in_the_middle_is_renewed_on_disk(
    box: Sshd, authority: Authority, signed: Path
) -> None:
    """The open connection goes on, new ones are made before, and the one that came too early waits for the new one."""
    authority.sign_user(signed, box.user, seconds=2)
    expired = time.time() + 2
    async with SshHosts.started(box.settings(client_key=signed)) as hosts, hosts.open(box.target, ticket()) as host:
        await until(lambda: time.time() > expired)
        waiting = asyncio.create_task(_login(hosts, box.target))
        assert (await host.run(key(), shell("echo on"))).output == b"on\n"
        assert not waiting.done()
        authority.sign_user(signed, box.user, serial=2)
        await waiting
        assert (await host.run(key("next"), shell("echo on"))).output == b"on\n"
    assert "ID user2 (serial 2)" in box.log()


async def test_one_that_ends_during_a_login_is_waited_for_too(
    box: Sshd, authority: Authority, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is valid when the login begins, and the host finds it expired: by a second, or by another clock."""
    authority.sign_user(signed, box.user, seconds=-1)
    ended = identities.load_identity(identities.IdentityFiles.default(box.settings(client_key=signed)))
    refusals = box.log().count("Certificate invalid: expired")
    monkeypatch.setattr(identities, "time", SimpleNamespace(time=lambda: ended.valid_before - 1))
    async with SshHosts.started(box.settings(client_key=signed)) as hosts:
        waiting = asyncio.create_task(_login(hosts, box.target))
        await until(lambda: box.log().count("Certificate invalid: expired") > refusals)
        assert not waiting.done()
        authority.sign_user(signed, box.user)
        await waiting


async def _login(hosts: SshHosts, target: Target) -> None:
    async with hosts.login(target, ticket()):
        pass


async def test_one_that_expired_long_ago_says_so(box: Sshd, authority: Authority, signed: Path) -> None:
    certificate = authority.sign_user(signed, box.user, seconds=-3600)
    text = await refusal(box.settings(client_key=signed), box.target)
    assert f"certificate {certificate} expired at 20" in text
    assert "renew it there" in text
    with pytest.raises(VesemirError, match="expired at"):
        check_client_key(box.settings(client_key=signed))


async def test_a_renewal_that_is_half_done_is_waited_for(
    box: Sshd, authority: Authority, signed: Path, tmp_path: Path
) -> None:
    """A new key with the certificate of the old one: the old pair is used until both are there."""
    authority.sign_user(signed, box.user)
    async with SshHosts.started(box.settings(client_key=signed)) as hosts:
        await _login(hosts, box.target)
        make_key(tmp_path / "new").rename(signed)
        (tmp_path / "new.pub").rename(f"{signed}.pub")
        await _login(hosts, box.target)
        authority.sign_user(signed, box.user, serial=9)
        await _login(hosts, box.target)
    assert "ID user9 (serial 9)" in box.log()


@pytest.mark.parametrize("form", ["RFC4716", "PKCS8"])
async def test_a_key_with_a_passphrase(box: Sshd, tmp_path: Path, form: str) -> None:
    locked = tmp_path / "locked"
    shutil.copy(box.client_key, locked)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "correct horse", "-f", str(locked)]
    run([*change, *(["-m", form] if form == "PKCS8" else [])])
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery staple\n")
    settings = box.settings(client_key=locked, client_key_passphrase_file=tmp_path / "passphrase")
    assert "ssh-ed25519" in check_client_key(settings)
    async with SshHosts.started(settings) as hosts:
        await _login(hosts, box.target)
    for changes in ({}, {"client_key_passphrase_file": tmp_path / "wrong"}):
        text = await refusal(box.settings(client_key=locked, **changes), box.target)
        assert "ssh.client_key_passphrase_file" in text


@contextmanager
def agent(socket: Path, *keys: Path) -> Iterator[None]:
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        try:
            while not socket.exists():
                assert process.poll() is None
                time.sleep(0.01)
            environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True, env=environment)
            yield
        finally:
            process.terminate()


async def test_an_agent_where_the_operator_allows_it(
    box: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    with agent(socket, box.client_key):
        for setting in (True, socket):
            async with SshHosts.started(box.settings(client_key=tmp_path / "none", agent=setting)) as hosts:
                await _login(hosts, box.target)
        assert "cannot be read" in await refusal(box.settings(client_key=tmp_path / "none"), box.target)
    missing = await refusal(box.settings(agent=tmp_path / "gone"), box.target)
    assert f"no SSH agent listens at {tmp_path / 'gone'}" in missing


async def test_each_host_with_the_identity_that_the_inventory_names(
    box: Sshd, authority: Authority, signed: Path
) -> None:
    stranger = make_key(signed.with_name("stranger"))
    authority.sign_user(signed, box.user)
    identities = {"production": {"key": signed, "user": box.user}, "empty": {"key": stranger}}
    settings = box.settings(user="nobody", identities=identities)

    def target(name: str) -> Target:
        return replace(box.target, user="", variables={**box.target.variables, "vesemir_identity": name})

    async with SshHosts.started(settings) as hosts:
        await _login(hosts, target("production"))
    assert str(stranger) in await refusal(settings, target("empty"))
    assert "add [ssh.identities.staging]" in await refusal(settings, target("staging"))


@pytest.mark.parametrize(
    ("line", "name", "trusted"),
    [
        ("*.example.com", "web1.example.com", True),
        ("*.example.com", "web2.example.com", False),
        ("*.example.com", "127.0.0.1", False),
        ("*", "127.0.0.1", True),
        ("*.example.org", "web1.example.com", False),
    ],
)
async def test_hosts_whose_keys_a_ca_has_signed(
    authority: Authority, tmp_path: Path, line: str, name: str, *, trusted: bool
) -> None:
    """One line for all hosts: a certificate must have the host's name in the inventory, or its address."""
    certificate = authority.sign_host(make_key(tmp_path / "host_key"), name)
    known = tmp_path / "known"
    known.write_text(f"@cert-authority {line} {authority.public.read_text()}")
    first = f"HostCertificate {certificate}"
    with sshd_running(tmp_path / "box", first=first, host_key_of=tmp_path) as box:
        target = replace(box.target, name="web1.example.com")
        async with SshHosts.started(box.settings(known_hosts=known)) as hosts:
            if trusted:
                await _login(hosts, target)
                return
            with pytest.raises(FailedError) as failed:
                await _login(hosts, target)
    assert failed.value.failure.code is FailureCode.SSH_HOST_KEY_MISMATCH
