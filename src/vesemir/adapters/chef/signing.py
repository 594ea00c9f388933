"""The Chef server's request signatures, version 1.3: which lines are signed, and in which headers that travels.

Source: ``lib/mixlib/authentication/signedheaderauth.rb`` of Chef's own mixlib-authentication. No time and no network
here: the moment comes in as an argument, so that the published vectors can be checked.
"""

import base64
import hashlib
import re
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

SERVER_API_VERSION = "1"
_LINE = 60
"""Characters of the signature in each ``X-Ops-Authorization-N`` header."""


def canonical_path(path: str) -> str:
    """Without the query, without doubled slashes and without one at the end, but for the root."""
    return re.sub(r"//+", "/", path).rstrip("/") or "/"


def content_hash(body: bytes) -> str:
    """SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def timestamp(moment: datetime) -> str:
    """UTC in whole seconds: ``2009-01-01T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical_request(method: str, path: str, body: bytes, *, client_name: str, moment: datetime) -> str:
    """The seven lines that are signed; no newline after the last one."""
    return "\n".join(
        (
            f"Method:{method.upper()}",
            f"Path:{canonical_path(path)}",
            f"X-Ops-Content-Hash:{content_hash(body)}",
            "X-Ops-Sign:version=1.3",
            f"X-Ops-Timestamp:{timestamp(moment)}",
            f"X-Ops-UserId:{client_name}",
            f"X-Ops-Server-API-Version:{SERVER_API_VERSION}",
        )
    )


def signed_headers(
    key: RSAPrivateKey, method: str, path: str, body: bytes, *, client_name: str, moment: datetime
) -> dict[str, str]:
    """The headers that prove the request to be ``client_name``'s. Takes milliseconds of CPU: call it in a thread."""
    lines = canonical_request(method, path, body, client_name=client_name, moment=moment)
    signature = base64.b64encode(key.sign(lines.encode(), PKCS1v15(), hashes.SHA256())).decode()
    parts = [signature[start : start + _LINE] for start in range(0, len(signature), _LINE)]
    return {
        "X-Ops-Sign": "algorithm=sha256;version=1.3;",
        "X-Ops-Userid": client_name,
        "X-Ops-Timestamp": timestamp(moment),
        "X-Ops-Content-Hash": content_hash(body),
        "X-Ops-Server-API-Version": SERVER_API_VERSION,
    } | {f"X-Ops-Authorization-{number}": part for number, part in enumerate(parts, start=1)}
