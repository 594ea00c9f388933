"""Certificate authorities for tests, as OpenSSH's ssh-keygen makes them."""

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.integration.ssh_server import make_key


@dataclass(frozen=True, slots=True)
class Authority:
    """Its key, and its public half beside it."""

    key: Path

    @classmethod
    def made(cls, folder: Path) -> "Authority":
        folder.mkdir(exist_ok=True)
        return cls(make_key(folder / "ca"))

    @property
    def public(self) -> Path:
        return Path(f"{self.key}.pub")

    def sign_user(self, key: Path, user: str, *, seconds: float = 3600.0, serial: int = 1) -> Path:
        """A certificate beside the key, valid for so long from now on; what is there is replaced by rename."""
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        begin = min(datetime.now(UTC), until) - timedelta(hours=1)
        span = f"{begin:%Y%m%d%H%M%SZ}:{until:%Y%m%d%H%M%SZ}"
        return self._sign(key, "-I", f"user{serial}", "-n", user, "-z", str(serial), "-V", span)

    def sign_host(self, key: Path, *names: str) -> Path:
        return self._sign(key, "-h", "-I", "host", "-n", ",".join(names))

    def _sign(self, key: Path, *options: str) -> Path:
        folder = key.parent / f".{key.name}.signed"
        folder.mkdir()
        copy = shutil.copy(f"{key}.pub", folder / "key.pub")
        subprocess.run(["ssh-keygen", "-q", "-s", str(self.key), *options, str(copy)], check=True)
        certificate = key.with_name(f"{key.name}-cert.pub")
        (folder / "key-cert.pub").rename(certificate)
        shutil.rmtree(folder)
        return certificate
