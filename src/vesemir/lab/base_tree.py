"""The root tree that all machines share: a small Debian, built once by debootstrap and kept in a cache.

Its name in the cache comes from all that goes into it: the script that builds it, release and architecture. It is built
under another name and renamed when it is complete, under a lock, so that two builders do the work once. Packages come
from where this machine's own do; after that nothing is needed from outside.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.mounts import unmount_below
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import APPLICATION, DEPLOY_USER

DEPLOY_ID = 4001
"""User and group id of who logs in; beyond those that Debian and ``adduser`` give out to anybody."""
APPLICATION_ID = 4002

_BUILD_SECONDS = 900.0
_LOCK_TRIES_SECONDS = 0.2
_BUILDING = ".building-"
_WHOLE_GROUP = 'trap "trap - TERM; kill 0" TERM; "$@" & wait $!'
"""A shell hears SIGTERM only when its child has ended, and debootstrap takes minutes: so the child hears it too."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where this machine's packages come from."""

    mirror: str
    release: str
    architecture: str


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/vesemir-lab``, or root's in ``/var/cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "vesemir-lab"


async def base_tree(programs: Programs, roster: Roster, *, log: Path) -> Path:
    """The tree, built if it is not in the cache. Raises ``LabError`` that says how to mend it."""
    release, architecture = _release(), _asked("dpkg", "--print-architecture").strip()
    script = _script()
    name = hashlib.sha256(f"{release} {architecture} {script}".encode()).hexdigest()[:16]
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / f"{release}-{name}"
    if tree.is_dir():
        return tree
    async with _locked(cache / f"{tree.name}.lock"):
        if not tree.is_dir():
            _remove(cache.glob(f"{tree.name}{_BUILDING}*"))  # of builders that were killed
            await _build(tree, script, source(), programs, roster, log=log)
    return tree


async def _build(tree: Path, script: str, of: Source, programs: Programs, roster: Roster, *, log: Path) -> None:
    assert programs.debootstrap is not None  # noqa: S101 -- looked for when machines are wanted
    unfinished = tree.with_name(f"{tree.name}{_building(roster.token)}")
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "TREE": str(unfinished)}
    environment |= {"RELEASE": of.release, "ARCHITECTURE": of.architecture, "MIRROR": of.mirror}
    environment |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    # A mount namespace of its own: what debootstrap mounts in the tree goes with it, however it ends.
    unshared = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-eu", "-c", script]
    words = ["/bin/sh", "-c", _WHOLE_GROUP, "sh", *unshared]
    try:
        await roster.run(RosterProgram("debootstrap", words, log=log, environment=environment), timeout=_BUILD_SECONDS)
    except LabError as error:
        raise LabError(f"{error}\nThe machines' root tree is built from {of.mirror}: is it to be reached?") from error
    unfinished.rename(tree)


def _script() -> str:
    return template(
        "base-tree.sh",
        DEPLOY=DEPLOY_USER,
        DEPLOY_ID=str(DEPLOY_ID),
        APPLICATION=APPLICATION,
        APPLICATION_ID=str(APPLICATION_ID),
    )


def _release() -> str:
    """This machine's own, so that its packages are those that the machine can have."""
    lines = Path("/etc/os-release").read_text().splitlines()
    values = dict(line.partition("=")[::2] for line in lines)
    if values.get("ID", "").strip('"') != "debian" or "VERSION_CODENAME" not in values:
        raise LabError("the machines of `lab up --systemd` are Debian and are built on Debian only")
    return values["VERSION_CODENAME"].strip('"')


def source() -> Source:
    """As apt has it (apt-get(8), indextargets). Raises ``LabError`` when its lists do not name this release."""
    release = _release()
    architecture = _asked("dpkg", "--print-architecture").strip()
    wanted = f"{release}|main|{architecture}|"
    shape = "$(CODENAME)|$(COMPONENT)|$(ARCHITECTURE)|$(REPO_URI)"
    for line in _asked("apt-get", "indextargets", "--format", shape, "Created-By: Packages").splitlines():
        if line.startswith(wanted):
            return Source(line.removeprefix(wanted), release, architecture)
    raise LabError(f"apt's lists name no source of {release}: run apt-get update, as script/bootstrap does")


def _asked(*words: str) -> str:
    try:
        return subprocess.run(
            words, env={"PATH": PATH, "LC_ALL": "C"}, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(f"{' '.join(words[:2])} failed: {error}") from error


def clear_unfinished(token: str) -> None:
    """The tree that this lab was building when it was interrupted; the one that built it has ended."""
    _remove(cache_folder().glob(f"*{_building(token)}"))


def _building(token: str) -> str:
    return f"{_BUILDING}{token[:12]}"


def _remove(trees: Iterable[Path]) -> None:
    for tree in trees:
        unmount_below(tree)
        shutil.rmtree(tree)


@asynccontextmanager
async def _locked(file: Path) -> AsyncIterator[None]:
    """Held by one builder; the others wait, and may be cancelled while they do."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_TRIES_SECONDS)
        yield
    finally:
        os.close(descriptor)
