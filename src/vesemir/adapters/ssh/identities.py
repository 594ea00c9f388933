"""The keys that Vesemir logs in with, and their certificates: read from files, and again when those change.

Certificates live for hours (Vault and step-ca renew them on disk), so a new one is used for the next connection.
Connections that are open stay as they are: a certificate is looked at in the login only.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncssh

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.settings import IdentitySettings, SshSettings

BESIDE: Final = "-cert.pub"
"""Where ssh(1) looks for a key's certificate: ``id_ed25519-cert.pub``."""
FOR_EVER: Final = 2**64 - 1
"""``valid_before`` of a certificate that does not expire (OpenSSH's PROTOCOL.certkeys)."""
LOOK_SECONDS: Final = 0.2
"""Between two looks for the renewed certificate, where one has just expired. A file announces nothing."""
CLOCK_SECONDS = 2.0
"""So far the clocks of hosts may be before ours: certificates end on whole seconds."""

Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where one identity's key is. ``setting`` is its table in the settings, for messages."""

    setting: str
    key: Path
    certificate: Path
    certificate_needed: bool
    passphrase: str | None
    passphrase_file: Path | None
    user: str = ""
    agent: Path | None = None

    @classmethod
    def default(cls, settings: SshSettings) -> "IdentityFiles":
        """``ssh.client_key`` and what belongs to it."""
        given = IdentitySettings(
            key=settings.client_key,
            certificate=settings.client_certificate,
            passphrase=settings.client_key_passphrase,
            passphrase_file=settings.client_key_passphrase_file,
        )
        return cls._of("ssh.client_key", given, agent=settings.agent_socket)

    @classmethod
    def named(cls, name: str, given: IdentitySettings) -> "IdentityFiles":
        """``[ssh.identities.NAME]``."""
        return cls._of(f"ssh.identities.{name}", given, agent=None)

    @classmethod
    def _of(cls, setting: str, given: IdentitySettings, *, agent: Path | None) -> "IdentityFiles":
        return cls(
            setting,
            given.key,
            given.certificate or given.key.with_name(f"{given.key.name}{BESIDE}"),
            given.certificate is not None,
            given.passphrase.get_secret_value() if given.passphrase else None,
            given.passphrase_file,
            given.user,
            agent,
        )

    def stamps(self) -> Stamps:
        """What changes when one of the files does."""
        files = (self.key, self.certificate, *([self.passphrase_file] if self.passphrase_file else []))
        return tuple(map(stamp_of, files))


def stamp_of(file: Path) -> tuple[int, int, int] | None:
    """None for a file that is not there, or is being replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


@dataclass(frozen=True, slots=True)
class SshIdentity:
    """A key, with its certificate if it has one. ``pairs`` are what asyncssh signs with."""

    files: IdentityFiles
    pairs: tuple[asyncssh.SSHKeyPair, ...]
    algorithm: str
    valid_after: int = 0
    valid_before: int = FOR_EVER
    principals: tuple[str, ...] = field(default=())
    certified: bool = False

    def expired(self, now: float) -> bool:
        return now >= self.valid_before

    def ended_on_the_way(self) -> bool:
        """Whether a host may have found it expired that was valid when the login began, by its clock or by ours."""
        return self.expired(time.time() + CLOCK_SECONDS)

    @property
    def advice(self) -> str:
        """What to look at when a host refuses it, after ``check that``."""
        files = self.files
        if files.agent is not None:
            return f"one of the keys of the agent at {files.agent} is in that user's authorized_keys there"
        if not self.certified:
            return f"the public half of {files.key} is in that user's authorized_keys there"
        principals = ", ".join(self.principals) or "none, which is any"
        return (
            f"its sshd trusts the CA that signed {files.certificate} (TrustedUserCAKeys) and lets its principals "
            f"({principals}) log in as that user (AuthorizedPrincipalsFile)"
        )


def load_identity(files: IdentityFiles) -> SshIdentity:
    """Reads and decrypts: not for the event loop. Raises ``FailedError`` (``ssh.auth_failed``)."""
    if files.agent is not None and not files.agent.is_socket():
        raise _refused(f"no SSH agent listens at {files.agent}; start it, or correct ssh.agent or SSH_AUTH_SOCK")
    if files.agent is not None and not files.key.exists():
        return SshIdentity(files, (), "keys of the agent")
    key = _key(files)
    algorithm = key.get_algorithm()
    if not files.certificate_needed and not files.certificate.exists():
        return SshIdentity(files, tuple(asyncssh.load_keypairs([key])), algorithm)
    try:
        certificate = asyncssh.read_certificate(files.certificate)
        pairs = tuple(asyncssh.load_keypairs([(key, certificate)]))
    except (OSError, asyncssh.KeyImportError, ValueError) as error:
        text = f"certificate {files.certificate} of client key {files.key} cannot be used: {_reason(error)}; renew it"
        raise _refused(text) from error
    return SshIdentity(
        files,
        pairs,
        algorithm,
        valid_after=getattr(certificate, "_valid_after", 0),
        valid_before=getattr(certificate, "_valid_before", FOR_EVER),
        principals=tuple(getattr(certificate, "principals", ())),
        certified=True,
    )


def _key(files: IdentityFiles) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(files.key, passphrase_of(files))
    except asyncssh.KeyEncryptionError as error:
        text = f"client key {files.key} cannot be decrypted: {error}; check {_passphrase_setting(files)}"
        raise _refused(text) from error
    except (OSError, asyncssh.KeyImportError) as error:
        if "passphrase" in str(error).lower():
            text = f"client key {files.key} has a passphrase; give it by {_passphrase_setting(files)}"
            raise _refused(text) from error
        text = f"client key {files.key} cannot be read: {_reason(error)}; check {files.setting}, its mode and owner"
        raise _refused(text) from error


def passphrase_of(files: IdentityFiles) -> str | None:
    """Raises ``FailedError`` when its file cannot be read."""
    if files.passphrase_file is None:
        return files.passphrase
    try:
        return files.passphrase_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        text = f"passphrase file {files.passphrase_file} of client key {files.key} cannot be read: {_reason(error)}"
        raise _refused(f"{text}; check {_passphrase_setting(files)}") from error


def _passphrase_setting(files: IdentityFiles) -> str:
    ending = "_passphrase_file" if files.setting == "ssh.client_key" else ".passphrase_file"
    return f"{files.setting}{ending}"


def _reason(error: Exception) -> str:
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "") or str(error)


def _refused(text: str) -> FailedError:
    return FailedError(FailureCode.SSH_AUTH_FAILED, text)


def expiry_text(identity: SshIdentity) -> str:
    """When it expires, or did."""
    return f"{datetime.fromtimestamp(identity.valid_before, UTC):%Y-%m-%d %H:%M:%S} UTC"


class IdentityKeeper:
    """One identity: ``current`` is what the files say now, or said last."""

    def __init__(self, files: IdentityFiles, *, patience: float) -> None:
        self.files = files
        self._patience = patience
        self._stamps: Stamps | None = None
        self._identity: SshIdentity | None = None
        self._loading = asyncio.Lock()

    async def current(self) -> SshIdentity:
        """Raises ``FailedError`` when there never was a usable key, or when its certificate has expired.

        One that expired a moment ago is waited for, ``patience`` seconds from then: who renews it may be a little late.
        """
        while True:
            trouble = await self._refreshed()
            identity = self._identity
            if identity is None:
                raise _refused(trouble)
            now = time.time()
            if not identity.expired(now):
                return identity
            if now - identity.valid_before > self._patience:
                raise self._expired(identity, trouble)
            await asyncio.sleep(LOOK_SECONDS)

    async def _refreshed(self) -> str:
        if self._identity is not None and self.files.stamps() == self._stamps:
            return ""
        async with self._loading:
            return await asyncio.to_thread(self._read)

    async def replaced(self, used: SshIdentity) -> bool:
        """Whether the files say something else than ``used`` now."""
        await self._refreshed()
        return self._identity is not used

    def refresh(self) -> str:
        """Reads what has changed; what is wrong, empty when all is well. Not on the event loop."""
        trouble = self._read()
        identity = self._identity
        if identity is not None and identity.expired(time.time()):
            return str(self._expired(identity, trouble))
        return trouble

    def _read(self) -> str:
        """Why the files are not used as they are now."""
        stamps = self.files.stamps()
        if self._identity is None or stamps != self._stamps:
            try:
                self._identity = load_identity(self.files)
            except FailedError as error:
                return str(error)
            self._stamps = stamps
        return ""

    def _expired(self, identity: SshIdentity, trouble: str) -> FailedError:
        text = f"certificate {self.files.certificate} expired at {expiry_text(identity)} and was not renewed"
        return _refused(f"{text}; {trouble or 'renew it there (Vault, step-ca): it is read again without a restart'}")
