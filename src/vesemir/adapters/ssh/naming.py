"""Names of files on the host, safe for whatever text they are made of."""

import hashlib
import string

from vesemir.domain.step import StepKey

_PLAIN = frozenset((string.ascii_letters + string.digits + "_-").encode())
_LONGEST = 90


def file_name(text: str) -> str:
    """Letters, digits, ``_`` and ``-`` as they are, all else as ``%XX``; a long text is cut and gets its hash.

    ``shop/production`` is ``shop%2Fproduction``. Two texts never have the same name, and none begins with a dot.
    """
    raw = text.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if name and len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 40]}%{hashlib.sha256(raw).hexdigest()[:38]}"


def marker_names(key: StepKey) -> tuple[bytes, bytes]:
    """Folder and name of a step's markers."""
    name = f"{key.direction.value}.{file_name(key.step)}.{key.attempt}"
    return file_name(key.deployment_id).encode("ascii"), name.encode("ascii")
