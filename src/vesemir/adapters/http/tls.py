"""HTTPS: the certificate of this instance, read again from its files when they change.

The context stays: a handshake that begins after the change has the new certificate, open connections go on.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509

from vesemir.adapters.reloaded_files import Reading, ReloadedFiles, stamp_of
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.observe import Log
from vesemir.settings import HttpSettings

SOON_DAYS = 7
"""A certificate that ends so soon is a problem to be told: whoever renews it has not."""


class TlsFiles:
    """``certificate`` has the chain behind it, ``key`` may be in the same file.

    Raises ``VesemirError`` when they cannot be used at the start; later the certificate before stays in use.
    """

    def __init__(self, certificate: Path, key: Path | None, *, log: Log) -> None:
        self._certificate = certificate
        self._key = key or certificate
        self._log = log
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if refused := self._load(self.context):
            raise VesemirError(refused)
        files = {self._certificate, self._key}
        self._files = ReloadedFiles(lambda: stamp_of(sorted(files)), self._again)

    @classmethod
    def of(cls, settings: HttpSettings, *, log: Log) -> Self | None:
        """None: HTTP, without TLS."""
        if settings.tls_certificate is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key, log=log)

    @property
    def ends(self) -> datetime:
        """Until when the certificate in use is valid."""
        return self._files.current

    @property
    def problem(self) -> str:
        return self._files.problem or self._ends_soon()

    def refresh(self) -> None:
        """Read the files if they have changed; not on the event loop."""
        self._files.refresh()

    def _again(self, before: datetime | None) -> Reading[datetime]:
        if before is None:
            return Reading(last_moment(self._certificate))
        # Tried apart first: half of a change (the new certificate, the old key) must not reach the context in use.
        if refused := self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) or self._load(self.context):
            return Reading(before, f"{refused}; what was read before stays in use", complete=False)
        self._log.info("http.tls_certificate was read again from {file}", file=str(self._certificate))
        return Reading(last_moment(self._certificate))

    def _load(self, context: ssl.SSLContext) -> str:
        """Why they cannot be used; "" if they can."""
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
            last_moment(self._certificate)
        except (OSError, ValueError) as error:
            named = f"{self._certificate} and {self._key}" if self._key != self._certificate else str(self._certificate)
            return f"http.tls_certificate: {named} cannot be used: {_reason(error)}"
        return ""

    def _ends_soon(self) -> str:
        left = self._files.current - datetime.now(UTC)
        if left.days >= SOON_DAYS:
            return ""
        when = f"{self._files.current:%Y-%m-%d %H:%M} UTC"
        ends = f"ends on {when}" if left.total_seconds() > 0 else f"ended on {when}: clients refuse it"
        return f"http.tls_certificate: {self._certificate} {ends}; renew it, it is read again by itself"


def last_moment(certificate: Path) -> datetime:
    """Until when a certificate (PEM, the first of the file) is valid. Raises ``OSError``, ``ValueError``."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        words = {"KEY_VALUES_MISMATCH": "the key is of another certificate", "NO_START_LINE": "it is no PEM"}
        return words.get(str(error.reason), str(error.reason or error).replace("_", " ").lower())
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
