"""One spelling per JSON value, so that two bodies can be compared (contract section 2, idempotency).

The order of names, white space, escapes and the spelling of numbers make no difference; ``1`` and ``true`` do.
"""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The value of ``read_json`` as JSON: names sorted, no white space, ASCII. Whole numbers are ints already."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def body_hash(canonical_body: bytes) -> bytes:
    """SHA-256 of the canonical form (32 bytes)."""
    return hashlib.sha256(canonical_body).digest()
