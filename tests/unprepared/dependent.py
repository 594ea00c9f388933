"""A release of the lab whose health check fails on every box while something that all need is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vesemir.lab.artifacts import pack, release_files

HEALTHY = 'if path == b"/health":\n'
DEPENDS = (
    HEALTHY
    + '            if os.path.exists({place!r}):\n                return b"503 Service Unavailable", b"{{}}\\n"\n'
)


@dataclass(frozen=True)
class Dependency:
    """``folder`` is for its releases, and for the file that says that it is away."""

    folder: Path

    def release(self, version: str) -> dict[str, str]:
        """Its version, URL and checksum."""
        files = release_files("2.0.0")
        text, mode = files["app.py"]
        assert HEALTHY in text
        files["app.py"] = text.replace(HEALTHY, DEPENDS.format(place=str(self._place))), mode
        files["VERSION"] = f"{version}\n", 0o644
        archive = self.folder / f"{version}.tar.gz"
        archive.write_bytes(pack(files))
        return {"version": version, "url": archive.as_uri(), "sha256": sha256(archive.read_bytes()).hexdigest()}

    @contextmanager
    def away(self) -> Iterator[None]:
        """For as long as the block lasts."""
        self._place.touch()
        try:
            yield
        finally:
            self._place.unlink()

    @property
    def _place(self) -> Path:
        return self.folder / "dependency-is-away"
