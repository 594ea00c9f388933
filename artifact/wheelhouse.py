"""The wheels: the libraries' by the hashes of the lock, for one platform, and our own, built from the tree.

The lock serves every platform and so names many files of each version. What is shipped names one for each Python that
it is for, and one for all of them where a library has such.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from artifact.source import BuildError
from artifact.tarball import sha256

PYTHONS = {"3.11": "3.11.2", "3.13": "3.13.5"}
"""Debian 12's and Debian 13's."""
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in range(36, 16, -1)), "manylinux2014_x86_64")
"""glibc 2.36 is Debian 12's. Newest first: it decides which of several wheels pip takes."""
_TARGET: Mapping[str, str] = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
    "extra": "",
}
_LOCKED = re.compile(
    r"^(?P<requirement>[^\s#-][^\\\n]*?)\s*\\\n(?P<hashes>(?:[ ]+--hash=\S+(?:[ ]*\\)?\n)+)", re.MULTILINE
)
_HASH = re.compile(r"--hash=(\S+)")


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of the lock that holds for the target."""

    name: str
    version: str
    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wheel:
    path: Path
    name: str
    version: str
    sha256: str


def target(python: str) -> dict[str, str]:
    """What markers see: the machine that the artifact is for, not the one that builds it."""
    return {**_TARGET, "python_version": python, "python_full_version": PYTHONS[python]}


def locked(lock: str, python: str) -> list[Locked]:
    """What of a lock with hashes is for one of ``PYTHONS``, by name."""
    found = []
    for match in _LOCKED.finditer(lock):
        requirement = Requirement(match["requirement"])
        if requirement.marker is None or requirement.marker.evaluate(target(python)):
            version = str(requirement.specifier).removeprefix("==")
            name = canonicalize_name(requirement.name)
            found.append(Locked(name, version, tuple(_HASH.findall(match["hashes"]))))
    if not found:
        raise BuildError("requirements/runtime.txt locks nothing; write it with script/lock")
    return sorted(found, key=lambda one: one.name)


def download(wanted: list[Locked], folder: Path, python: str) -> list[Wheel]:
    """One wheel of each for that Python, by hash. ``folder`` is made by the first build that wants it, complete or not
    at all, and is the next ones' cache: its name follows from the lock. Several builds at once may ask for it."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
            fresh = Path(scratch) / folder.name
            fresh.mkdir()
            _fetch(wanted, fresh, python)
            with contextlib.suppress(OSError):  # another build was quicker
                fresh.rename(folder)
    have = {(wheel.name, wheel.version, f"sha256:{wheel.sha256}"): wheel for wheel in _wheels(folder)}
    found = [next((have[key] for key in _keys(one) if key in have), None) for one in wanted]
    wheels = [wheel for wheel in found if wheel is not None]
    if len(wheels) != len(wanted):
        raise BuildError(f"{folder} does not have what the lock names; delete that folder and build again")
    return wheels


def _keys(one: Locked) -> list[tuple[str, str, str]]:
    return [(one.name, one.version, each) for each in one.hashes]


def _fetch(wanted: list[Locked], folder: Path, python: str) -> None:
    lines = [f"{one.name}=={one.version} {' '.join(f'--hash={each}' for each in one.hashes)}\n" for one in wanted]
    list_file = folder / "wanted.txt"
    list_file.write_text("".join(lines), encoding="utf-8")
    where = [word for platform in PLATFORMS for word in ("--platform", platform)]
    how = ["-q", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    pip = [sys.executable, "-m", "pip", "download", *how, "--implementation", "cp", "--python-version", python]
    words = [*pip, *where, "-d", str(folder), "-r", str(list_file)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"pip cannot bring every locked wheel for CPython {python} on x86-64 Linux:\n{done.stderr}")
    list_file.unlink()


def _wheels(folder: Path) -> list[Wheel]:
    wheels = []
    for path in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        wheels.append(Wheel(path, name, str(version), sha256(path)))
    return wheels


def build_own(tree: Path, folder: Path, *, epoch: int) -> Wheel:
    """Our own wheel, by hatchling, which must be installed already (requirements/test.txt)."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(tree)]
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True, umask=0o022)
    if done.returncode != 0:
        raise BuildError(f"our own wheel could not be built:\n{done.stdout}{done.stderr}")
    (wheel,) = (one for one in _wheels(folder) if one.name == "vesemir")
    return wheel


def requirements(wheels: Mapping[str, list[Wheel]]) -> str:
    """What `pip install --no-index --require-hashes` reads, of the wheels for each Python: a line a version, with the
    hashes of its files, and with a marker where not every Python has it."""
    lines = []
    for name, version in sorted({(one.name, one.version) for every in wheels.values() for one in every}):
        having = {
            python: one.sha256
            for python, every in wheels.items()
            for one in every
            if (one.name, one.version) == (name, version)
        }
        only = " or ".join(f'python_version == "{python}"' for python in having) if len(having) < len(wheels) else ""
        hashes = "".join(f" --hash=sha256:{digest}" for digest in dict.fromkeys(having.values()))
        lines.append(f"{name}=={version}{' ; ' + only if only else ''}{hashes}\n")
    return "".join(lines)
