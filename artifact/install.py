#!/usr/bin/env python3
"""Installs this version of Vesemir beside the others, without a network, and switches to it when told to.

    ./install                       makes /opt/vesemir/releases/VERSION; what runs now is not touched
    ./install --switch              and points /opt/vesemir/current to it, by one rename
    ./install --prefix DIR --python /usr/bin/python3.11 --keep 5

Run again it finds what is done already. It needs CPython 3.11 or 3.13 on x86-64 Linux with venv (Debian 12 and 13:
python3-venv), and the right to write to the prefix, which the user that the daemon runs as must not have.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WANTED = ("3.11", "3.13")
"""The versions of CPython that wheels/ has files for."""
COMPLETE = ".vesemir-complete"
"""In a release: the hash of the artifact's SHA256SUMS. Without it, the release was not finished."""


class InstallError(Exception):
    """The text says what to do."""


def check_content() -> str:
    """Everything as it was packed; returns the hash of the list."""
    listing = HERE / "SHA256SUMS"
    for line in listing.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        try:
            found = hashlib.sha256((HERE / name).read_bytes()).hexdigest()
        except OSError as error:
            raise InstallError(f"{error.filename}: {error.strerror}; unpack the artifact again") from None
        if found != digest:
            raise InstallError(f"{HERE / name} is not as it was packed; unpack the artifact again")
    return hashlib.sha256(listing.read_bytes()).hexdigest()


def check_python(python: str) -> None:
    """The wheels are for some versions of CPython; better said here than by pip."""
    probe = "import sys, platform; print(*sys.version_info[:2], platform.python_implementation())"
    try:
        said = subprocess.run([python, "-I", "-c", probe], check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise InstallError(f"{python} does not run ({error}); name another with --python") from None
    if f"{said[0]}.{said[1]}" not in WANTED or said[2] != "CPython":
        raise InstallError(
            f"{python} is {said[2]} {said[0]}.{said[1]}, and the wheels are for CPython {' and '.join(WANTED)}: "
            f"install one (Debian 12 and 13: python3) and name it with --python"
        )
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InstallError(f"this is {platform.system()} on {platform.machine()}; the wheels are for Linux on x86_64")
    if subprocess.run([python, "-I", "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode:
        raise InstallError(f"{python} cannot make a virtual environment; install its package (Debian: python3-venv)")


def run(*words: "str | Path") -> str:
    """Without anybody's settings for pip or Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VESEMIR_"))}
    environment = {**kept, "PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C.UTF-8"}
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise InstallError(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout.strip()


def make_release(release: Path, python: str, version: str) -> None:
    """A virtual environment with nothing in it but what sbom.json lists: pip goes when it has done its work."""
    run(python, "-I", "-m", "venv", release)
    pip = (release / "bin" / "python", "-I", "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
    run(
        *(*pip, "install", "-q", "--no-index", "--find-links", HERE / "wheels", "--no-deps"),
        *("--require-hashes", "--only-binary=:all:", "-r", HERE / "requirements.txt"),
    )
    run(*pip, "uninstall", "-q", "-y", "pip", "setuptools")
    for path in (release / "bin").glob("[Aa]ctivate*"):
        path.unlink()
    shutil.copytree(HERE / "share", release / "share" / "vesemir")
    for name in ("sbom.json", "requirements.txt"):
        shutil.copyfile(HERE / name, release / "share" / "vesemir" / name)
    said = run(release / "bin" / "vesemir", "--version")
    if said != f"vesemir {version}":
        raise InstallError(f"{release}/bin/vesemir says {said!r} instead of its version {version}")
    for path in [release, *release.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod((stat.S_IMODE(mode) | 0o444 | (0o111 if mode & 0o100 else 0)) & ~0o022)


def install(prefix: Path, python: str, version: str) -> str:
    """``prefix``/releases/VERSION, complete, or an error and nothing that could be taken for it."""
    digest = check_content()
    release = prefix / "releases" / version
    mark = release / COMPLETE
    if mark.is_file():
        if mark.read_text(encoding="utf-8").strip() == digest:
            return f"{release} is there already, complete and the same"
        raise InstallError(f"{release} holds another build of the same version; give this build a version of its own")
    check_python(python)
    if release.exists():
        shutil.rmtree(release)  # an installation that was broken off
    release.parent.mkdir(parents=True, exist_ok=True)
    try:
        make_release(release, python, version)
    except BaseException:
        shutil.rmtree(release, ignore_errors=True)
        raise
    unfinished = mark.with_suffix(".new")
    unfinished.write_text(digest + "\n", encoding="utf-8")
    os.sync()
    unfinished.rename(mark)
    return f"{release} installed"


def switch(prefix: Path, version: str) -> str:
    """One rename: whoever looks sees the old version or the new one."""
    current, new = prefix / "current", prefix / ".current.new"
    before = current.readlink().name if current.is_symlink() else "none"
    new.unlink(missing_ok=True)
    new.symlink_to(f"releases/{version}")
    new.rename(current)
    return f"{current} is {version} now; it was {before}"


def prune(prefix: Path, keep: int) -> list[str]:
    """The oldest releases beyond ``keep``; never the one in use, nor one that is on its way."""
    releases = prefix / "releases"
    marks = sorted(releases.glob(f"*/{COMPLETE}"), key=lambda mark: mark.stat().st_mtime, reverse=True)
    current = (prefix / "current").resolve()
    gone = [mark.parent for mark in marks[keep:] if mark.parent.resolve() != current]
    for release in gone:
        (release / COMPLETE).unlink()
        shutil.rmtree(release)
    return [f"{release} removed" for release in gone]


def main() -> int:
    version = HERE.name.removeprefix("vesemir-")
    parser = argparse.ArgumentParser(
        prog="install", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prefix", type=Path, default=Path("/opt/vesemir"), help="default: /opt/vesemir")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to use (default: this one)")
    parser.add_argument("--switch", action="store_true", help="point PREFIX/current to this version")
    parser.add_argument("--keep", type=int, metavar="N", help="remove the oldest releases beyond N (2 or more)")
    asked = parser.parse_args()
    if asked.keep is not None and asked.keep < 2:  # noqa: PLR2004 - the current and the one before
        parser.error("--keep must be 2 or more: the release in use, and the one to go back to")
    os.umask(0o022)
    prefix = asked.prefix.absolute()
    try:
        prefix.mkdir(parents=True, exist_ok=True)
        with (prefix / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two installations at once: one after the other
            print(install(prefix, asked.python, version), flush=True)
            if asked.switch:
                print(switch(prefix, version))
            for line in prune(prefix, asked.keep) if asked.keep else []:
                print(line)
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"install: {error.filename}: {error.strerror}; is this run as root?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
