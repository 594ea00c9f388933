"""What to do when a TLS connection is refused, by either side: the words of OpenSSL with a setting and a cure."""

import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl

_BY_PEER = {
    "CERTIFICATE_REQUIRED": "it wants a client certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority of the client certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses the client certificate",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "it does not speak TLS on this port",
}


def tls_advice(error: BaseException | None, *, setting: str, ca: str, certificate: str) -> str:
    """A sentence for an error whose cause is TLS; "" for others.

    ``setting`` is where the address stands, ``ca`` the option that names the authorities that are believed,
    ``certificate`` those of the client's own certificate.
    """
    cause = _tls_error(error)
    if cause is None:
        return ""
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = cause.verify_message or str(cause.reason)
        if cause.verify_code in _NAME_CODES:
            return (
                f"its certificate is not for this name ({said}); write in {setting} a name that is in the certificate"
            )
        if cause.verify_code == _EXPIRED:
            return f"its certificate has expired ({said}); renew it on the server"
        return f"its certificate is not trusted ({said}); name its authority by {ca} in {setting}"
    reason = str(cause.reason or "")
    if meaning := _BY_PEER.get(reason.removeprefix("SSL_")):
        cure = f"name one by {certificate} in {setting}" if "certificate" in meaning else f"check the port in {setting}"
        return f"{meaning} ({reason}); {cure}"
    return f"TLS failed ({reason or cause}); check certificates and {setting}"


def missing_files(query: str, names: Iterable[str], *, setting: str) -> str:
    """Files that an address names by these options and that cannot be read; "" if there are none.

    The drivers' own errors do not name them.
    """
    for name, value in parse_qsl(query):
        if name in names and not os.access(value, os.R_OK):
            why = "cannot be read by this user" if Path(value).exists() else "is not there"
            return f"{name} in {setting}: {value} {why}"
    return ""


_EXPIRED = 10
_NAME_CODES = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (openssl-verification-options(1))."""


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The first one of the chain of causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
