"""AES-256-GCM (NIST SP 800-38D) for what the record keeps of secret parameters: the engine's ``Seal``.

A sealed value is one byte for the form (1), four that tell which key, twelve of nonce, and the sealed JSON. The first
key seals, every key opens: to change it, put the new one in front and drop the old one when no deployment of before
is open any more.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from vesemir.domain.recipe import ParameterValue
from vesemir.engine.ownership.secret_parameters import UnsealableError

_FORM = b"\x01"
_KEY_BYTES, _NONCE_BYTES = 4, 12
_HEAD = len(_FORM) + _KEY_BYTES + _NONCE_BYTES


class RecordSeal:
    """``keys`` are texts with at least 32 random characters each."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.use(keys)

    def use(self, keys: Sequence[str]) -> None:
        """From now on; a value that is sealed with none of them can no longer be opened."""
        found = {}
        for key in keys:
            raw = hashlib.sha256(b"vesemir record\0" + key.encode("utf-8", "surrogateescape")).digest()
            found[hashlib.sha256(raw).digest()[:_KEY_BYTES]] = AESGCM(raw)
        # One assignment: the keys are read again in a thread.
        self._ring = next(iter(found)), found

    @classmethod
    def of(cls, setting: SecretStr | None) -> Self | None:
        """A key per line; None without the setting."""
        return None if setting is None else cls(setting.get_secret_value().split())

    def close(self, deployment_id: str, values: Mapping[str, ParameterValue]) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = json.dumps(dict(values)).encode()
        first, keys = self._ring
        return _FORM + first + nonce + keys[first].encrypt(nonce, text, deployment_id.encode())

    def open(self, deployment_id: str, sealed: bytes) -> dict[str, ParameterValue]:
        key = self._ring[1].get(sealed[1 : 1 + _KEY_BYTES]) if sealed[:1] == _FORM else None
        if key is None:
            raise UnsealableError("its secret parameters are sealed with a key that is not in secrets.key_file")
        nonce = sealed[_HEAD - _NONCE_BYTES : _HEAD]
        try:
            opened: dict[str, ParameterValue] = json.loads(key.decrypt(nonce, sealed[_HEAD:], deployment_id.encode()))
        except InvalidTag as error:
            raise UnsealableError(
                "its sealed secret parameters are not what was sealed; the row was changed"
            ) from error
        return opened
