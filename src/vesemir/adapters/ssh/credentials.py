"""What every connection has in common: identities, pinned host keys and options; read again when the files change."""

import asyncio
import copy
from typing import Final

import asyncssh
from asyncssh.kex import get_kex_algs

from vesemir.adapters.ssh.identities import IdentityFiles, IdentityKeeper, SshIdentity, stamp_of
from vesemir.adapters.ssh.known_hosts import PinnedKeys
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.settings import SshSettings

DEFAULT: Final = ""
"""The identity of targets that name none: ``ssh.client_key``."""


KEY_EXCHANGES: Final = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group14-sha256",
)
"""Those that this machine's libraries have. The first is post-quantum (OpenSSH 9.9 and later) and costs a login about
1 ms more; a host without it takes the second."""


class Credentials:
    """One for an instance."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        patience = settings.login_timeout_seconds
        files = {name: IdentityFiles.named(name, given) for name, given in settings.identities.items()}
        files[DEFAULT] = IdentityFiles.default(settings)
        self._identities = {name: IdentityKeeper(each, patience=patience) for name, each in files.items()}
        self._options: dict[SshIdentity, asyncssh.SSHClientConnectionOptions] = {}
        self._pinned: PinnedKeys | None = None
        self._pinned_stamp: tuple[int, int, int] | None = None
        self._loading = asyncio.Lock()
        self.problem = ""
        """What keeps the files from being read again; what was read before stays in use."""

    async def load(self) -> None:
        """Raises ``FailedError`` when the default key or the known hosts cannot be read."""
        await self._identities[DEFAULT].current()
        await self.pinned()

    def refresh(self) -> None:
        """Read what has changed, at once; not on the event loop."""
        problems = [keeper.refresh() for keeper in self._identities.values()]
        self.problem = "; ".join(filter(None, [*problems, self._refresh_pinned()]))

    async def pinned(self) -> PinnedKeys:
        """Raises ``FailedError`` when they never could be read."""
        if self._pinned is None or stamp_of(self._settings.known_hosts) not in {None, self._pinned_stamp}:
            async with self._loading:
                trouble = await asyncio.to_thread(self._refresh_pinned)
            if self._pinned is None:
                raise FailedError(FailureCode.SSH_HOST_KEY_MISMATCH, trouble)
        return self._pinned

    def _refresh_pinned(self) -> str:
        """Why the file is not used as it is now; empty when all is well."""
        file = self._settings.known_hosts
        stamp = stamp_of(file)
        if self._pinned is None or stamp is None or stamp != self._pinned_stamp:
            try:
                self._pinned = PinnedKeys(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                return f"known hosts file {file} cannot be read: {error}; check ssh.known_hosts"
            self._pinned_stamp = stamp
        return ""

    async def identity(self, target: Target) -> SshIdentity:
        """The one that the operator's inventory names for it. Raises ``FailedError`` (``ssh.auth_failed``)."""
        name = target.variables.get("vesemir_identity")
        keeper = self._identities.get(name or DEFAULT)
        if keeper is None:
            text = (
                f"the inventory gives {target.name} the vesemir_identity {name!r}, which the settings do not have; "
                f"add [ssh.identities.{name}], or correct the inventory"
            )
            raise FailedError(FailureCode.SSH_AUTH_FAILED, text)
        return await keeper.current()

    async def replaced(self, identity: SshIdentity) -> bool:
        """Whether its files have changed since they were read; they are read again."""
        return await next(each for each in self._identities.values() if each.files == identity.files).replaced(identity)

    async def options(self, identity: SshIdentity) -> asyncssh.SSHClientConnectionOptions:
        """A copy of its own, without host, user and known hosts."""
        if identity not in self._options:
            made = await asyncio.to_thread(self._made, identity)
            old = [each for each in self._options if each.files == identity.files]
            for each in old:
                self._options.pop(each, None)
            self._options[identity] = made
        options = copy.copy(self._options[identity])
        options.client_keys = [copy.copy(pair) for pair in identity.pairs]
        return options

    def _made(self, identity: SshIdentity) -> asyncssh.SSHClientConnectionOptions:
        settings, agent = self._settings, identity.files.agent
        options = asyncssh.SSHClientConnectionOptions(
            config=None,
            agent_path=None,
            client_keys=None,  # given for each connection
            known_hosts=([], [], []),  # given for each target
            username=settings.user,
            preferred_auth=["publickey"],
            kex_algs=[name for name in KEY_EXCHANGES if name.encode() in get_kex_algs()],
            encryption_algs=[
                "aes128-gcm@openssh.com",
                "aes256-gcm@openssh.com",
                "chacha20-poly1305@openssh.com",
                "aes128-ctr",
            ],
            compression_algs=["none"],
            keepalive_interval=settings.keepalive_seconds,
            keepalive_count_max=settings.keepalive_misses,
            login_timeout=settings.login_timeout_seconds,
        )
        options.agent_path = None if agent is None else str(agent)
        return options
