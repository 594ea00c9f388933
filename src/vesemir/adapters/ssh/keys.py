"""A look at the client keys and the known hosts before anything depends on them, for ``vesemir check``."""

import os
import time
from pathlib import Path

import asyncssh

from vesemir.adapters.ssh.identities import FOR_EVER, IdentityFiles, expiry_text, load_identity
from vesemir.domain.failure import FailedError, VesemirError
from vesemir.settings import CREDENTIALS, SshSettings

_OTHERS = 0o077


def check_client_key(settings: SshSettings) -> str:
    """What kind of key it is. Raises ``VesemirError`` when it cannot be used, or when others may read it."""
    return _checked(IdentityFiles.default(settings))


def check_identities(settings: SshSettings) -> str:
    """The same of the further ones; empty when there are none."""
    return "\n".join(_checked(IdentityFiles.named(name, given)) for name, given in settings.identities.items())


def _checked(files: IdentityFiles) -> str:
    try:
        identity = load_identity(files)
    except FailedError as error:
        raise VesemirError(str(error)) from error
    if not identity.pairs:
        return f"keys of the SSH agent at {files.agent}"
    file = files.key
    mode = file.stat().st_mode & 0o777
    if mode & _OTHERS and not _is_credential(file):
        raise VesemirError(f"client key {file} may be read by others (mode {mode:04o}); run: chmod 600 {file}")
    text = f"client key {file}, {identity.algorithm}"
    if not identity.certified:
        return text
    if identity.expired(time.time()):
        raise VesemirError(f"certificate {files.certificate} expired at {expiry_text(identity)}; renew it")
    until = "for ever" if identity.valid_before == FOR_EVER else f"until {expiry_text(identity)}"
    return f"{text}, certificate {files.certificate} valid {until}"


def _is_credential(file: Path) -> bool:
    """systemd lets the unit's user read its file by an access list, which shows among the group's bits."""
    folder = os.environ.get(CREDENTIALS)
    return folder is not None and file.is_relative_to(folder)


def check_known_hosts(settings: SshSettings) -> str:
    """How many lines it has. Raises ``VesemirError`` when it cannot be read or names nobody."""
    file = settings.known_hosts
    try:
        text = file.read_text(encoding="utf-8")
        asyncssh.import_known_hosts(text)
    except OSError as error:
        raise VesemirError(
            f"known hosts {file} cannot be read: {error.strerror}; check ssh.known_hosts and the file's owner"
        ) from error
    except ValueError as error:
        raise VesemirError(f"known hosts {file} are not in OpenSSH's format: {error}") from error
    entries = sum(1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    if not entries:
        raise VesemirError(f"known hosts {file} name no host, so no host can be trusted; fill it (docs/ssh.md)")
    return f"known hosts {file}, {entries} {'entry' if entries == 1 else 'entries'}"
