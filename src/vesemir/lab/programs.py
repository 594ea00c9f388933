"""Finds the servers' programs, which Debian keeps out of an ordinary user's PATH."""

import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.places import LabError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What every program of the lab has as its PATH: never the caller's, whose `python3` may be a slow shim."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths. ``python`` is the interpreter itself and not a link inside a virtual environment."""

    rabbitmq_server: Path
    epmd: Path
    postgres: Path
    initdb: Path
    haproxy: Path
    sshd: Path
    ssh_keygen: Path
    python: Path
    goiardi: Path | None = None
    """Only a lab with a Chef server needs it."""
    nspawn: Path | None = None
    debootstrap: Path | None = None
    """Only a lab of machines needs these two."""


def find_programs(*, chef: bool = False, machines: bool = False) -> Programs:
    """All programs that a lab needs. Raises ``LabError`` that names every missing package at once."""
    found = {
        # Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on its own account and log files.
        "rabbitmq_server": ("rabbitmq-server", _first([Path("/usr/lib/rabbitmq/bin/rabbitmq-server")])),
        "epmd": ("rabbitmq-server", _first(_on_path("epmd"))),
        "postgres": ("postgresql", _first(_postgres("postgres"))),
        "initdb": ("postgresql", _first(_postgres("initdb"))),
        "haproxy": ("haproxy", _first(_on_path("haproxy"))),
        "sshd": ("openssh-server", _first(_on_path("sshd"))),
        "ssh_keygen": ("openssh-client", _first(_on_path("ssh-keygen"))),
    }
    if chef:
        found["goiardi"] = ("goiardi", _first(_on_path("goiardi")))
    if machines:
        found["nspawn"] = ("systemd-container", _first(_on_path("systemd-nspawn")))
        found["debootstrap"] = ("debootstrap", _first(_on_path("debootstrap")))
    missing = sorted({package for package, path in found.values() if path is None})
    if missing:
        raise LabError(
            f"the lab needs {', '.join(missing)}: run script/bootstrap, or as root: apt-get install {' '.join(missing)}"
        )
    paths = {name: path for name, (_, path) in found.items() if path is not None}
    return Programs(**paths, python=Path(sys.executable).resolve())


def _first(candidates: Iterable[Path]) -> Path | None:
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def _on_path(name: str) -> list[Path]:
    found = shutil.which(name, path=PATH)
    return [] if found is None else [Path(found)]


def _postgres(name: str) -> list[Path]:
    """The newest of Debian's versions side by side, then Red Hat's, then whatever is on the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version, reverse=True)
    return [*versions, *sorted(Path("/usr").glob(f"pgsql-*/bin/{name}"), key=_version, reverse=True), *_on_path(name)]


def _version(path: Path) -> int:
    found = re.search(r"\d+", str(path))
    return int(found.group()) if found else 0
