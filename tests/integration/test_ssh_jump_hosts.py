"""Hosts behind jump hosts: one login at each jump host, few handshakes at once, and one failure for a dead one."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bastions.trial import full_trial
from tests.integration.jump_site import JumpSite, jump_site, logins
from tests.integration.ssh_server import below, free_port, make_key, parents, sshd_running
from tests.integration.ssh_sessions import key, shell, ticket, until

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, Failure, FailureCode
from vesemir.domain.target import Target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JumpSite]:
    with jump_site(tmp_path_factory.mktemp("jumping") / "site", "bastion1", "bastion2") as running:
        yield running


def public_key(private: Path) -> str:
    return Path(f"{private}.pub").read_text()


async def failure_of(hosts: SshHosts, target: Target) -> Failure:
    with pytest.raises(FailedError) as caught:
        async with hosts.open(target, ticket()):
            pass
    return caught.value.failure


async def test_two_in_a_row_are_logged_in_to_once(site: JumpSite) -> None:
    """With sshd's own MaxStartups on both. ``python -m tests.bastions`` does it with 200 hosts."""
    trial = await full_trial(site, 6)
    assert not trial.failures
    assert (list(trial.logins), trial.refused) == ([1, 1], 0)


async def test_a_jump_host_by_its_address_and_by_the_setting(site: JumpSite) -> None:
    bastion = site.jumps["bastion1"]
    jump = f"{bastion.user}@127.0.0.1:{bastion.port}"
    target = site.target("by-setting", jump)
    unsaid = replace(target, variables={"vesemir_state_dir": target.variables["vesemir_state_dir"]})
    before = logins(bastion)
    async with site.hosts(jump=jump) as hosts, hosts.open(target, ticket()), hosts.login(unsaid, ticket()):
        assert logins(bastion) - before == 1
    async with site.hosts(jump="no-such-name.invalid") as hosts, hosts.login(site.target("direct", "none"), ticket()):
        assert logins(bastion) - before == 1


async def test_files_and_sockets_through_a_jump_host(site: JumpSite, tmp_path: Path) -> None:
    """An upload of more than a channel's window, and a load balancer's socket."""
    content = os.urandom(3 * 1024 * 1024)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readline())
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "admin.sock"), site.hosts() as hosts:
        target = site.target("files", "bastion1")
        async with hosts.open(target, ticket()) as host:
            await host.write(content, "big")
            assert (Path(target.variables["vesemir_state_dir"]) / "incoming" / "big").read_bytes() == content
            printed = await host.run(key("print"), shell("head -c 600000 /dev/zero", output_limit=600_000))
            assert printed.output_bytes == 600_000
        async with hosts.relay(target) as relay:
            assert await relay.ask(str(tmp_path / "admin.sock"), "show info", timeout=5) == "heard show info\n"


async def test_an_unused_jump_host_is_left(site: JumpSite) -> None:
    bastion = site.jumps["bastion1"]

    def sessions() -> list[int]:
        return [pid for pid, parent in parents().items() if parent == bastion.process.pid]

    async with site.hosts(jump_idle_seconds=0.05) as hosts:
        async with hosts.login(site.target("idle", "bastion1"), ticket()):
            assert sessions()
        await until(lambda: not sessions())
        async with hosts.login(site.target("idle", "bastion1"), ticket()):
            assert sessions()


async def test_a_jump_host_that_is_down_is_one_failure(site: JumpSite) -> None:
    """All hosts behind it wait for it together, and then say the same. Later ones do not wait again."""
    site.inventory["dead"] = Target("dead", "127.0.0.1", free_port())
    async with site.hosts(jump_wait_seconds=0.7) as hosts:
        failures = await asyncio.gather(*(failure_of(hosts, site.target(f"x{n}", "dead,bastion1")) for n in range(5)))
        begun = asyncio.get_running_loop().time()
        failures.append(await failure_of(hosts, site.target("late", "dead")))
        assert asyncio.get_running_loop().time() - begun < 0.5
    assert {failure.code for failure in failures} == {FailureCode.SSH_JUMP_UNREACHABLE}
    (message,) = {failure.message for failure in failures}
    assert message.startswith("jump host dead is not available")
    assert "Connection refused" in message


async def test_a_jump_host_with_another_key_or_without_ours_is_not_waited_for(site: JumpSite, tmp_path: Path) -> None:
    bastion = site.jumps["bastion2"]
    other = public_key(make_key(tmp_path / "other"))
    known = tmp_path / "known_hosts"
    known.write_text(f"{site.box.known_hosts.read_text()}bastion2 {other}")
    async with SshHosts.started(site.box.settings(known_hosts=known), find_host=site.find) as hosts:
        failure = await failure_of(hosts, site.target("a", "bastion2"))
    assert failure.code is FailureCode.SSH_JUMP_UNREACHABLE
    assert "the host key of bastion2" in failure.message
    allowed = bastion.folder / "authorized_keys"
    kept = allowed.read_text()
    allowed.write_text("")
    try:
        async with site.hosts() as hosts:
            failure = await failure_of(hosts, site.target("a", "bastion2"))
    finally:
        allowed.write_text(kept)
    assert failure.code is FailureCode.SSH_JUMP_UNREACHABLE
    assert "bastion2 (127.0.0.1" in failure.message
    assert "refuses the login" in failure.message


async def test_a_host_behind_it_that_is_down_is_that_hosts_failure(site: JumpSite) -> None:
    async with site.hosts() as hosts:
        failure = await failure_of(hosts, replace(site.target("down", "bastion1"), port=free_port()))
        stranger = replace(site.target("down", "bastion1"), address="no-such-name.invalid")
        unknown = await failure_of(hosts, stranger)
    assert (failure.code, unknown.code) == (FailureCode.SSH_UNREACHABLE, FailureCode.SSH_UNREACHABLE)
    assert "down (127.0.0.1" in failure.message
    assert "from jump host bastion1" in failure.message


async def test_a_name_that_rules_judge_is_judged_before_a_jump_host_hears_of_it(site: JumpSite) -> None:
    """Else a node could name a machine that only the jump host can resolve."""

    def refuse(target: Target, addresses: Sequence[str]) -> str | None:
        return f"{addresses[0]} is refused" if target.name == "node" else None

    async with SshHosts.started(site.settings(), find_host=site.find, refuse_place=refuse) as hosts:
        failure = await failure_of(hosts, replace(site.target("node", "bastion1"), address="localhost"))
        assert failure.code is FailureCode.TARGETS_INVALID_ATTRIBUTES
        async with hosts.login(site.target("own", "bastion1"), ticket()):
            pass


async def test_the_host_key_behind_it_is_pinned_too(site: JumpSite, tmp_path: Path) -> None:
    other = public_key(make_key(tmp_path / "other"))
    known = tmp_path / "known_hosts"
    known.write_text(f"{site.jumps['bastion1'].known_hosts.read_text()}[127.0.0.1]:{site.box.port} {other}")
    async with SshHosts.started(site.box.settings(known_hosts=known), find_host=site.find) as hosts:
        failure = await failure_of(hosts, site.target("a", "bastion1"))
    assert failure.code is FailureCode.SSH_HOST_KEY_MISMATCH


async def test_a_jump_host_that_forwards_nothing(site: JumpSite, tmp_path: Path) -> None:
    with sshd_running(tmp_path / "strict", first="AllowTcpForwarding no") as strict:
        shutil.copy(site.box.folder / "authorized_keys", strict.folder / "authorized_keys")
        site.inventory["strict"] = replace(strict.target, name="strict")
        known = tmp_path / "known_hosts"
        known.write_text(site.known_hosts.read_text() + strict.known_hosts.read_text())
        async with SshHosts.started(site.box.settings(known_hosts=known), find_host=site.find) as hosts:
            failure = await failure_of(hosts, site.target("a", "strict"))
    assert failure.code is FailureCode.SSH_JUMP_UNREACHABLE
    assert "AllowTcpForwarding" in failure.message


async def test_a_jump_host_that_dies_is_connected_to_again(tmp_path: Path) -> None:
    """What ran is lost as with any connection; a host that is asked for meanwhile waits until it is back."""
    port = free_port()
    with jump_site(tmp_path / "site") as site:
        folder = tmp_path / "mortal"
        with sshd_running(folder, port=port) as mortal:
            shutil.copy(site.box.folder / "authorized_keys", folder / "authorized_keys")
            site.jumps["mortal"] = mortal
            site.inventory["mortal"] = replace(mortal.target, name="mortal")
            site.box.known_hosts.write_text(f"{site.box.known_hosts.read_text()}{mortal.known_hosts.read_text()}")
            async with SshHosts.started(site.box.settings(), find_host=site.find) as hosts:
                async with hosts.open(site.target("a", "mortal"), ticket()) as host:
                    running = asyncio.create_task(host.run(key(), shell("sleep 60")))
                    session = below(mortal.process.pid)
                    mortal.process.terminate()
                    mortal.process.wait(10)
                    for pid in session:
                        os.kill(pid, signal.SIGKILL)
                    with pytest.raises(FailedError) as lost:
                        await running
                assert lost.value.failure.code is FailureCode.SSH_CONNECTION_LOST
                waiting = asyncio.create_task(failure_or_none(hosts, site.target("b", "mortal")))
                await refused_at(port)
                with sshd_running(tmp_path / "again", port=port, host_key_of=folder) as again:
                    shutil.copy(site.box.folder / "authorized_keys", again.folder / "authorized_keys")
                    assert await waiting is None


async def test_everything_at_addresses_of_ipv6(tmp_path: Path) -> None:
    with jump_site(tmp_path / "site") as site, ExitStack() as stack:
        bastion, box = (
            stack.enter_context(sshd_running(tmp_path / name, address="::1")) for name in ("bastion", "box6")
        )
        shutil.copy(box.folder / "authorized_keys", bastion.folder / "authorized_keys")
        known = tmp_path / "known"
        known.write_text(bastion.known_hosts.read_text() + box.known_hosts.read_text())
        behind = replace(box.target, variables=site.target("six", f"{box.user}@[::1]:{bastion.port}").variables)
        async with SshHosts.started(box.settings(known_hosts=known), find_host=site.find) as hosts:
            async with hosts.open(behind, ticket()) as host:
                assert (await host.run(key(), shell("echo six"))).output == b"six\n"
            assert logins(bastion) == 1
            failure = await failure_of(hosts, replace(behind, port=free_port()))
            assert "box ([::1]:" in failure.message
            known.write_text(bastion.known_hosts.read_text())
            os.utime(known, (1, 1))
            failure = await failure_of(hosts, behind)
            assert f"add one for [::1]:{box.port}" in failure.message


async def failure_or_none(hosts: SshHosts, target: Target) -> Failure | None:
    try:
        async with hosts.open(target, ticket()):
            return None
    except FailedError as error:
        return error.failure


async def refused_at(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
