"""The client key and the authority of one Chef server, read again when their files change: a rotated key needs no
restart.

The files are looked at every few seconds and on SIGHUP (``FileWatch``), and at once when the server refuses the key or
its certificate cannot be trusted (``renewed``). What cannot be used never replaces what worked.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vesemir.adapters.reloaded_files import Reading, ReloadedFiles, stamp_of
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.observe import Log
from vesemir.settings import ChefClusterSettings


class ChefSettingsError(VesemirError):
    """A Chef server's settings cannot be used; the message says which and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class ChefIdentity:
    """What one request is signed with, and what its server's certificate is held against."""

    key: RSAPrivateKey
    tls: ssl.SSLContext


class ChefCredentials:
    """Raises ``ChefSettingsError`` when they cannot be used at the start."""

    def __init__(self, settings: ChefClusterSettings, *, cluster: str, log: Log) -> None:
        self._settings = settings
        self._cluster = cluster
        self._log = log
        first = self._read()
        files = [settings.client_key, *([settings.ca_file] if settings.ca_file else [])]
        self._reloading = ReloadedFiles(
            lambda: stamp_of(files), lambda before: Reading(first) if before is None else self._again(before)
        )

    @property
    def current(self) -> ChefIdentity:
        return self._reloading.current

    @property
    def problem(self) -> str:
        return self._reloading.problem

    def refresh(self) -> None:
        """Read what has changed; not on the event loop."""
        self._reloading.refresh()

    async def renewed(self, refused: ChefIdentity) -> bool:
        """Whether there is another one now than the one that was of no use."""
        if self.current is refused:
            await asyncio.to_thread(self.refresh)
        return self.current is not refused

    def _read(self) -> ChefIdentity:
        return ChefIdentity(_read_key(self._settings.client_key, self._cluster), self._tls())

    def _again(self, before: ChefIdentity) -> Reading[ChefIdentity]:
        try:
            found = self._read()
        except ChefSettingsError as error:
            problem = f"{error}; what was read before stays in use"
            if problem != self.problem:
                self._log.error("{problem}", problem=problem)
            return Reading(before, problem, complete=not isinstance(error.__cause__, OSError))
        self._log.info("the client key of the Chef server {cluster} was read again", cluster=self._cluster)
        return Reading(found)

    def _tls(self) -> ssl.SSLContext:
        file = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError) as error:
            reason = f"cannot be used: {error.strerror or error}; it must be PEM certificates that we can read"
            raise ChefSettingsError(f"ca_file {file} of the Chef server {self._cluster} {reason}") from error


def _read_key(file: Path, cluster: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; check its path, owner and mode"
        raise ChefSettingsError(f"client_key {file} of the Chef server {cluster} {reason}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "is no private key as PEM without a passphrase; put the client's own .pem there"
        raise ChefSettingsError(f"client_key {file} of the Chef server {cluster} {reason}") from error
    if not isinstance(key, RSAPrivateKey):
        raise ChefSettingsError(f"client_key {file} of the Chef server {cluster} is no RSA key, which Chef needs")
    return key
