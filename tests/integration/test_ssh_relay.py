"""A socket on a load balancer's box that does not open: whether sshd forwards none, or what is wrong with it."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.ssh_server import DEPLOY, Account, Sshd, free_port, sshd_running
from tests.integration.ssh_sessions import needs_root, reachable

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, FailureCode

pytestmark = needs_root

OPEN, DENIED, SHUT = Account("plain"), Account("denied"), Account("shut")
EXTRA = f"""
Match User {DENIED.name}
AllowStreamLocalForwarding no
AllowTcpForwarding no
Match User {SHUT.name}
AllowStreamLocalForwarding no
ForceCommand /bin/false
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = reachable(tmp_path_factory) / "box"
    with sshd_running(folder, user=DEPLOY, extra=EXTRA, accounts=(OPEN, DENIED, SHUT)) as running:
        yield running


@pytest.fixture(scope="module")
def sockets(box: Sshd) -> Iterator[Path]:
    """``open``, ``locked`` (of root's) and ``left`` (nobody listens any more)."""
    listening = []
    for name, mode in (("open", 0o666), ("locked", 0o600), ("left", 0o666)):
        path = box.folder / name
        listening.append(socket.socket(socket.AF_UNIX))
        listening[-1].bind(str(path))
        path.chmod(mode)
        if name != "left":
            listening[-1].listen()
    listening[-1].close()
    yield box.folder
    for plug in listening:
        plug.close()


@pytest.mark.parametrize(
    ("account", "name", "words", "unsaid"),
    [
        (DENIED, "open", "but on the box it opens for its user: its sshd forwards no socket", "on the box: "),
        (OPEN, "locked", "on the box: Permission denied", "AllowStreamLocalForwarding"),
        (OPEN, "missing", "on the box: No such file or directory", "AllowStreamLocalForwarding"),
        (OPEN, "left", "on the box: Connection refused", "AllowStreamLocalForwarding"),
        (SHUT, "open", "(or its sshd forwards no socket; look at AllowStreamLocalForwarding", "on the box: "),
    ],
)
async def test_why_a_path_does_not_open(
    box: Sshd, sockets: Path, account: Account, name: str, words: str, unsaid: str
) -> None:
    failure = await refusal(box, account, str(sockets / name))
    assert words in failure
    assert unsaid not in failure


@pytest.mark.parametrize(
    ("account", "words"), [(DENIED, "its sshd forwards no connection; look at AllowTcp"), (OPEN, "Connection refused")]
)
async def test_why_an_address_does_not_open(box: Sshd, account: Account, words: str) -> None:
    assert words in await refusal(box, account, f"127.0.0.1:{free_port()}")


async def refusal(box: Sshd, account: Account, where: str) -> str:
    async with SshHosts.started(box.settings()) as hosts, hosts.relay(box.account(account)) as relay:
        with pytest.raises(FailedError) as failed:
            await relay.ask(where, "show info", timeout=10)
    assert failed.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    return failed.value.failure.message
