"""The releases of the lab's application, as archives that are the same bytes each time they are made."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.resources import program, template
from vesemir.lab.topology import APPLICATION

FIRST_VERSION = "1.0.0"
NEXT_VERSION = "2.0.0"
BROKEN_VERSION = "3.0.0-broken"
FLAKY_VERSION = "4.0.0-flaky"
FLAKY_PERCENT = 10
"""Of its pages that release answers so many with 500, while its health check is well."""
VERSIONS = (FIRST_VERSION, NEXT_VERSION, "2.1.0", BROKEN_VERSION, FLAKY_VERSION)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One release, ready to be deployed. ``sha256`` is in hexadecimal digits."""

    version: str
    url: str
    sha256: str


def release_files(version: str) -> dict[str, tuple[str, int]]:
    """What a release consists of: name, to text and mode."""
    run = "run-broken" if version == BROKEN_VERSION else "run"
    errors = {"ERRORS": (f"{FLAKY_PERCENT}\n", 0o644)} if version == FLAKY_VERSION else {}
    return {
        **errors,
        "VERSION": (f"{version}\n", 0o644),
        "app.py": (program("app.py"), 0o644),
        "run": (template(run), 0o755),
    }


def first_release(app_root: Path) -> None:
    """``releases/1.0.0`` and ``current``, a relative link to it, as a deployment leaves them."""
    release = app_root / "releases" / FIRST_VERSION
    release.mkdir(parents=True)
    for name, (text, mode) in release_files(FIRST_VERSION).items():
        (release / name).write_text(text)
        (release / name).chmod(mode)
    (app_root / "current").symlink_to(Path("releases") / FIRST_VERSION)


def write_artifacts(folder: Path) -> list[Artifact]:
    """Write ``shop-VERSION.tar.gz`` for every version."""
    made = []
    for version in VERSIONS:
        archive = folder / f"{APPLICATION}-{version}.tar.gz"
        content = pack(release_files(version))
        archive.write_bytes(content)
        made.append(Artifact(version, archive.as_uri(), hashlib.sha256(content).hexdigest()))
    return made


def pack(files: dict[str, tuple[str, int]]) -> bytes:
    """A gzipped tar of ``files`` at its top level: no times, no owners, a fixed order."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            text, mode = files[name]
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)
