"""A look at the client key and the known hosts before anything depends on them, for ``vesemir check``."""

import os
from pathlib import Path

import asyncssh

from vesemir.domain.failure import VesemirError
from vesemir.settings import CREDENTIALS, SshSettings

_OTHERS = 0o077


def check_client_key(settings: SshSettings) -> str:
    """What kind of key it is. Raises ``VesemirError`` when it cannot be used, or when others may read it."""
    file = settings.client_key
    try:
        mode = file.stat().st_mode & 0o777
        key = asyncssh.read_private_key(file)
    except OSError as error:
        raise VesemirError(
            f"client key {file} cannot be read: {error.strerror}; check ssh.client_key and the file's owner"
        ) from error
    except asyncssh.KeyEncryptionError as error:
        raise VesemirError(
            f"client key {file} has a passphrase, which nobody is there to type; use one without"
        ) from error
    except asyncssh.KeyImportError as error:
        raise VesemirError(f"client key {file} is no private key: {error}; check ssh.client_key") from error
    if mode & _OTHERS and not _is_credential(file):
        raise VesemirError(f"client key {file} may be read by others (mode {mode:04o}); run: chmod 600 {file}")
    return f"client key {file}, {key.get_algorithm()}"


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
        raise VesemirError(f"known hosts {file} name no host, so no host can be trusted; fill it (ssh-keyscan)")
    return f"known hosts {file}, {entries} {'entry' if entries == 1 else 'entries'}"
