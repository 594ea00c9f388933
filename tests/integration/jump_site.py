"""Jump hosts for tests: real sshds, and a box that is reached through them under many names."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.integration.ssh_server import Sshd, sshd_running

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.target import Target
from vesemir.settings import SshSettings

CROWDED = "MaxStartups 10:30:100"
"""sshd's own default: from 10 logins under way on it drops 30 % of new connections, from 100 on all."""


@dataclass
class JumpSite:
    """One box and some jump hosts, which all know one key. ``inventory`` is what jump hosts are looked up in."""

    folder: Path
    box: Sshd
    jumps: dict[str, Sshd]
    inventory: dict[str, Target] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inventory |= {name: replace(jump.target, name=name) for name, jump in self.jumps.items()}

    @property
    def known_hosts(self) -> Path:
        known = self.folder / "known_hosts"
        known.write_text("".join(each.known_hosts.read_text() for each in (self.box, *self.jumps.values())))
        return known

    def settings(self, **changes: object) -> SshSettings:
        return self.box.settings(known_hosts=self.known_hosts, **changes)

    async def find(self, name: str) -> Target | None:
        return self.inventory.get(name)

    def target(self, name: str, jump: str) -> Target:
        """The box under that name, with a state folder of its own."""
        state = self.box.state / name
        state.mkdir(mode=0o700, exist_ok=True)
        variables = {"vesemir_state_dir": str(state), "vesemir_jump": jump}
        return replace(self.box.target, name=name, variables=variables)

    @contextlib.asynccontextmanager
    async def hosts(self, **changes: object) -> AsyncIterator[SshHosts]:
        async with SshHosts.started(self.settings(**changes), find_host=self.find) as hosts:
            yield hosts


@contextlib.contextmanager
def jump_site(folder: Path, *names: str, box_startups: str = "") -> Iterator[JumpSite]:
    """The jump hosts are ``CROWDED``; ``box_startups`` is for the box."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        box = stack.enter_context(sshd_running(folder / "box", first=box_startups))
        jumps = {}
        for name in names:
            jumps[name] = stack.enter_context(sshd_running(folder / name, first=CROWDED))
            shutil.copy(box.folder / "authorized_keys", jumps[name].folder / "authorized_keys")
        yield JumpSite(folder, box, jumps)


def logins(server: Sshd) -> int:
    return server.log().count("Accepted publickey")


def refused_handshakes(server: Sshd) -> int:
    """Connections that sshd dropped before the login because too many were under way."""
    log = server.log()
    return log.count("drop connection") + log.count("MaxStartups throttling")
