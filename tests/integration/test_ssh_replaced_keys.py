"""Keys and certificates that are replaced on disk while a login with the old ones is under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.ssh_certificates import Authority
from tests.integration.ssh_server import Sshd, make_key, sshd_running
from tests.integration.ssh_sessions import ticket, until
from tests.integration.tcp_proxy import proxied
from tests.unit.engine.world import Lines

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError
from vesemir.domain.target import Target
from vesemir.engine.ports.observe import SilentMeters


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("replaced") / "box"
    with sshd_running(folder, first=f"TrustedUserCAKeys {authority.public}") as running:
        yield running


class Repeats(SilentMeters):
    """Logins that were tried again."""

    def __init__(self) -> None:
        self.repeated = 0

    def ssh_login_repeated(self) -> None:
        self.repeated += 1


During = Callable[[Callable[[], object]], Awaitable[None]]


@asynccontextmanager
async def held(
    box: Sshd, client_key: Path, log: Lines, meters: Repeats
) -> AsyncIterator[tuple[SshHosts, Target, During]]:
    """The box behind a network that stands still while ``during(change)`` logs in: the change is in between."""
    async with proxied(box.port) as proxy:
        known = client_key.with_name("known_hosts_of_proxy")
        known.write_text(box.known_hosts.read_text().replace(f":{box.port} ", f":{proxy.port} "))
        target = replace(box.target, port=proxy.port)
        settings = box.settings(client_key=client_key, known_hosts=known)

        async with SshHosts.started(settings, log=log, meters=meters) as hosts:

            async def during(change: Callable[[], object]) -> None:
                proxy.blackhole()
                trying = asyncio.create_task(login(hosts, target))
                await until(lambda: proxy.connections > 0)
                await asyncio.to_thread(change)
                proxy.heal()
                await trying

            yield hosts, target, during


async def login(hosts: SshHosts, target: Target) -> None:
    async with hosts.login(target, ticket()):
        pass


async def test_a_key_that_is_replaced_during_a_login_is_read_again(box: Sshd, tmp_path: Path) -> None:
    """On the host and on disk; the login was begun with the old one. Once, counted and logged."""
    used, new = make_key(tmp_path / "used"), make_key(tmp_path / "new")
    allowed = box.folder / "authorized_keys"
    kept = allowed.read_text()
    log, meters = Lines(), Repeats()

    def allow(which: Path) -> None:
        allowed.write_text(kept + Path(f"{which}.pub").read_text())

    def replace_key() -> None:
        allow(new)
        new.rename(used)

    allow(used)
    try:
        async with held(box, used, log, meters) as (hosts, target, during):
            await during(replace_key)
            assert meters.repeated == 1
            (line,) = log.of("warning")
            assert (
                f"box (127.0.0.1:{target.port}) was refused and the files of key and certificate have changed" in line
            )
            await login(hosts, target)
            assert meters.repeated == 1
    finally:
        allowed.write_text(kept)


async def test_a_certificate_that_is_replaced_during_a_login_is_read_again(
    box: Sshd, authority: Authority, tmp_path: Path
) -> None:
    """Of a CA that the host does not trust any more: valid for long, and refused."""
    signed = make_key(tmp_path / "signed")
    Authority.made(tmp_path / "retired").sign_user(signed, box.user)
    log, meters = Lines(), Repeats()
    async with held(box, signed, log, meters) as (_hosts, _target, during):
        await during(lambda: authority.sign_user(signed, box.user, serial=31))
    assert meters.repeated == 1
    assert "ID user31 (serial 31)" in box.log()


async def test_a_refused_login_is_repeated_once_and_only_with_something_new(box: Sshd, tmp_path: Path) -> None:
    used, new = make_key(tmp_path / "used"), make_key(tmp_path / "new")
    log, meters = Lines(), Repeats()
    async with held(box, used, log, meters) as (hosts, target, during):
        with pytest.raises(FailedError, match="refuses the login"):
            await during(lambda: new.rename(used))
        assert meters.repeated == 1
        with pytest.raises(FailedError, match="refuses the login"):
            await login(hosts, target)
    assert meters.repeated == 1
    assert len(log.of("warning")) == 1
