"""From a tree to the tarball."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from artifact import sbom, tarball, wheelhouse
from artifact.source import BuildError

SHARED = ("config", "systemd", "docs")
"""Folders of the tree that an operator needs at hand."""
_VERSION = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)
_ALLOWED = re.compile(r"[0-9]+(\.[0-9]+)*((a|b|rc|\.post|\.dev)[0-9]+)*")


@dataclass(frozen=True, slots=True)
class Artifact:
    path: Path
    version: str
    sha256: str
    size: int


def build(tree: Path, out: Path, *, epoch: int, wheels: Path, version: str | None = None) -> Artifact:
    """``out``/vesemir-VERSION.tar.gz from a tree, which may be written to.

    ``epoch`` is the time that everything in it gets. ``wheels`` keeps downloads for the next build. ``version``
    replaces that of pyproject.toml, for a candidate. Raises ``BuildError``.
    """
    version = _version(tree, version)
    with tempfile.TemporaryDirectory(prefix="vesemir-artifact-") as scratch:
        content = Path(scratch) / f"vesemir-{version}"
        house = content / "wheels"
        house.mkdir(parents=True)
        own = wheelhouse.build_own(tree, house, epoch=epoch)
        everything = {}
        for python in wheelhouse.PYTHONS:
            libraries = wheelhouse.download(_lock(tree, python), wheels / f"{_lock_name(tree)}-{python}", python)
            for wheel in libraries:
                shutil.copyfile(wheel.path, house / wheel.path.name)
            everything[python] = sorted([*libraries, own], key=lambda one: one.name)
        _write(content / "requirements.txt", wheelhouse.requirements(everything))
        _write(content / "sbom.json", sbom.bill(everything, own=own, epoch=epoch))
        shutil.copyfile(tree / "artifact" / "install.py", content / "install")
        for name in SHARED:
            shutil.copytree(
                tree / name, content / "share" / name, ignore=shutil.ignore_patterns("*.py", "__pycache__", ".keep")
            )
        shutil.copytree(tree / "sql" / "roles", content / "share" / "sql" / "roles")
        for name in ("LICENSE", "CHANGELOG.md"):
            shutil.copyfile(tree / name, content / "share" / name)
        (content / "share" / "onhost").mkdir()
        _write(content / "share" / "onhost" / "supervisor.py", _supervisor(tree))
        _write(content / "SHA256SUMS", tarball.sums(content))
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"vesemir-{version}.tar.gz"
        unfinished = path.with_suffix(".partial")
        tarball.write(content, unfinished, epoch=epoch)
        unfinished.replace(path)
    return Artifact(path, version, tarball.sha256(path), path.stat().st_size)


def _version(tree: Path, wanted: str | None) -> str:
    """The one source of the version is pyproject.toml; a candidate's is put into it."""
    project = tree / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    found = _VERSION.search(text)
    if found is None:
        raise BuildError(f'{project} has no line version = "…"')
    if wanted is None:
        return found[1]
    if not _ALLOWED.fullmatch(wanted):
        raise BuildError(f"{wanted} is no version in the form that Python's packages have, as 1.2.0 or 1.2.0rc1")
    _write(project, text.replace(found[0], f'version = "{wanted}"', 1))
    return wanted


def _supervisor(tree: Path) -> str:
    """The supervisor as a file for hosts, made by the tree's own code, not by what is installed here."""
    program = "from vesemir.adapters.ssh.delivery import installed_program; print(installed_program(), end='')"
    start = f"import sys; sys.path.insert(0, {str(tree / 'src')!r}); "
    done = subprocess.run([sys.executable, "-c", start + program], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"the supervisor for hosts could not be made:\n{done.stderr}")
    return done.stdout


def _lock(tree: Path, python: str) -> list[wheelhouse.Locked]:
    return wheelhouse.locked((tree / "requirements" / "runtime.txt").read_text(encoding="utf-8"), python)


def _lock_name(tree: Path) -> str:
    return hashlib.sha256((tree / "requirements" / "runtime.txt").read_bytes()).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
