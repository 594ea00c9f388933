"""Hosts that are not as ``release`` left them: whatever lies about, a deployment touches what is its own.

An example is a host (folders, files and links around ``app_root``, at the names that the recipe uses) and some
deployments of one application to it. The recipe's real scripts run, to the end or to the first that refuses. Then
everything has the content that it had, apart from what :func:`_is_own` names.
"""

import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from hypothesis import strategies as st
from tests.fuzz.examine import Area, Check
from tests.unit.recipes.recipe_runs import carry_out
from tests.unit.recipes.test_release_recipe import Host, Member, archive

from vesemir.domain.action import CheckAction
from vesemir.domain.step import Direction

ROOT = "srv shop"
VERSIONS = ("1.0", "2.0", "3.0")
MARK, OWN, RECORD = ".vesemir-sha256", ".vesemir-own", ".vesemir-shared"
Content = tuple[str, object]


@dataclass(frozen=True, slots=True)
class Thing:
    """Something at a path. A release is a folder with Vesemir's mark."""

    path: str
    kind: Literal["file", "folder", "link", "release"]
    target: str
    days: int


@dataclass(frozen=True, slots=True)
class Deployment:
    version: str
    build: int
    shared: str
    back: bool


BUILDS: list[list[Member]] = [
    [("a/b/own", b"1", tarfile.REGTYPE), ("b", b"2", tarfile.REGTYPE)],
    [("a", "c", tarfile.SYMTYPE), ("c/b/own", b"3", tarfile.REGTYPE), ("b/a", b"4", tarfile.REGTYPE)],
]
_FOLDERS = [
    *(f"releases/{name}" for name in (*VERSIONS, "old one", "two\nlines", ".1.0.tmp-d0", ".2.0.old-d0", ".9.tmp-d1")),
    *("releases/2.0.aside-d1", "shared", "shared/a", "shared/a/b", "shared/b", "releases", ".vesemir", "current", "a"),
    *(".vesemir/artifact-d9", ".vesemir/previous-d0", ".vesemir/previous-d1.new", ".vesemir/current-d1", "../outside"),
]
_INSIDE = [
    "",
    "",
    "",
    "/a",
    "/b",
    "/a/b",
    "/a/c",
    f"/{MARK}",
    f"/{RECORD}",
    f"/{OWN}",
    f"/{OWN}/a",
    "/.vesemir-prepared",
]
_TARGETS = [
    *("{out}", "{out}/a", "../../outside", "releases/1.0", "1.0", "a", "..", "../shared/a", "nowhere", "b", "."),
    *("{root}/shared/a", "{root}/shared/a/b", "{root}/shared/b", "{root}/current/a", "{root}/releases/2.0"),
]
THINGS = st.builds(
    Thing,
    st.builds(lambda folder, name: folder + name, st.sampled_from(_FOLDERS), st.sampled_from(_INSIDE)),
    st.sampled_from(["file", "folder", "link", "release"]),
    st.sampled_from(_TARGETS),
    st.sampled_from([0, 0, 40, 400]),
)
DEPLOYMENTS = st.builds(
    Deployment,
    st.sampled_from(VERSIONS),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from(["", "a/", "a/b/", "b", "b/ a/", "a/ a/b/", "a/b/ b/", "c/x/", "a//b/ c", "../a/", "a/b"]),
    st.booleans(),
)
EXAMPLES = st.tuples(st.lists(THINGS, max_size=14), st.lists(DEPLOYMENTS, min_size=1, max_size=3))


def _lay(thing: Thing, root: Path) -> None:
    """Where its path is free, and leads through no link."""
    place = Path(os.path.normpath(root / thing.path))
    if os.path.lexists(place) or any(os.path.lexists(above) and not _is_folder(above) for above in place.parents):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    match thing.kind:
        case "file":
            place.write_text(f"of {thing.path}")
        case "link":
            place.symlink_to(thing.target.format(root=root, out=root.parent / "outside"))
        case _:
            place.mkdir()
            if thing.kind == "release":
                (place / MARK).write_text("0" * 64 + "\n")
    moment = time.time() - thing.days * 24 * 3600
    os.utime(place, (moment, moment), follow_symlinks=False)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _everything(folder: Path) -> dict[str, Content]:
    """Each path below it, links not followed."""
    found: dict[str, Content] = {}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(above, name)
            what: Content = ("folder", None)
            if path.is_symlink():
                what = ("link", str(path.readlink()))
            elif not path.is_dir():
                what = ("file", path.read_bytes())
            found[str(path.relative_to(folder))] = what
    return found


def _releases(found: Mapping[str, Content]) -> set[str]:
    """What Vesemir made, by its mark."""
    names = {PurePosixPath(path).name for path in found if str(PurePosixPath(path).parent) == f"{ROOT}/releases"}
    place = f"{ROOT}/releases"
    return {
        name
        for name in names
        if found[f"{place}/{name}"][0] == "folder" and found.get(f"{place}/{name}/{MARK}", ("", None))[0] == "file"
    }


def _is_own(path: str, before: Mapping[str, Content]) -> bool:
    """What a deployment may change: releases with the mark, its names for what is temporary, its notes, ``current``."""
    parts = PurePosixPath(path).parts[1:]
    if not path.startswith(f"{ROOT}/") or not parts:
        return False
    if parts == ("current",):
        return before[path][0] == "link"
    if parts[0] == ".vesemir" and len(parts) == 2:
        return parts[1].startswith(("artifact-", "previous-", "current-d")) and before[path][0] != "folder"
    if parts[0] == "releases" and len(parts) > 1:
        temporary = parts[1].startswith(".") and (".tmp-d" in parts[1] or ".old-d" in parts[1])
        # Of its own deployment also a link or a file of that name.
        folder = before[f"{ROOT}/releases/{parts[1]}"][0] == "folder"
        return parts[1] in _releases(before) or (temporary and (folder or parts[1].endswith(("-d1", "-d2", "-d3"))))
    return False


def _may_be_new(path: str, after: Mapping[str, Content], version: str, deployment: str) -> bool:
    parts = PurePosixPath(path).parts
    inside, rest = parts[0] == ROOT, parts[1:]
    if not inside or not rest:
        return inside
    names = {version, f"{version}.aside-{deployment}"}
    return (
        rest in {("releases",), (".vesemir",), ("current",)}
        or (rest[0] == ".vesemir" and rest[1].startswith(("artifact-", "previous-", "current-d")))
        or (rest[0] == "releases" and (rest[1] in names or rest[1].startswith(f".{version}.")))
        or (rest[0] == "shared" and after[path][0] == "folder")
    )


def _assert_kept(before: dict[str, Content], after: dict[str, Content], version: str, deployment: str) -> None:
    release = f"{ROOT}/releases/{version}"
    aside = f"{release}.aside-{deployment}"
    for path, content in before.items():
        if _is_own(path, before):
            continue
        moved = aside + path.removeprefix(release) if path == release or path.startswith(release + "/") else path
        assert content in (after.get(path), after.get(moved)), f"{path!r} was {content}, is {after.get(path)}"
    for path in set(after) - set(before):
        assert _may_be_new(path, after, version, deployment), f"{path!r} is new"


def _assert_release_kept(before: dict[str, Content], after: dict[str, Content], version: str) -> None:
    """A release that is used again loses no file: what was at a shared path is kept beside it."""
    release = f"{ROOT}/releases/{version}/"
    if f"{release}{RECORD}" not in before or before.get(release + MARK) != after.get(release + MARK):
        return
    for path, content in before.items():
        name = path.removeprefix(release)
        if path.startswith(release) and content[0] == "file" and not name.startswith(".vesemir-"):
            assert content in (after.get(path), after.get(f"{release}{OWN}/{name}")), f"{path!r} is lost"


def _deploy(host: Host, deployment: Deployment, build: Path, name: str) -> None:
    """Until the first step that refuses, in a sentence; then perhaps back."""
    host.variables["shared"] = deployment.shared
    state = host.root / ".vesemir"
    if not os.path.lexists(state):
        state.mkdir()
    if _is_folder(state) and not os.path.lexists(state / f"artifact-{name}"):
        shutil.copyfile(build, state / f"artifact-{name}")
    for direction in (Direction.FORWARD, Direction.BACK) if deployment.back else (Direction.FORWARD,):
        for step in host.steps(deployment.version, build, deployment=name, direction=direction):
            if step.name in ("fetch", "restart") or isinstance(step.action, CheckAction):
                continue
            done = carry_out(step, host.folder / "incoming")
            assert "Traceback" not in done.stderr, f"{step.name}: {done.stderr}"
            if done.returncode != 0:
                assert done.stderr.strip(), step.name
                break


class _Judge:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._builds = [archive(folder / f"{number}.tar.gz", members) for number, members in enumerate(BUILDS)]

    def __call__(self, example: tuple[list[Thing], list[Deployment]]) -> None:
        things, deployments = example
        place = self._folder / "host"
        shutil.rmtree(place, ignore_errors=True)
        host = Host(place, {"app_root": str(place / ROOT), "systemctl": "true"})
        host.root.mkdir(parents=True)
        (place / "outside" / "a").mkdir(parents=True)
        (place / "outside" / "a" / "file").write_text("outside")
        for thing in things:
            _lay(thing, host.root)
        for number, deployment in enumerate(deployments, start=1):
            before = _everything(place)
            _deploy(host, deployment, self._builds[deployment.build], f"d{number}")
            after = _everything(place)
            _assert_kept(before, after, deployment.version, f"d{number}")
            _assert_release_kept(before, after, deployment.version)


@contextmanager
def opened() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder:
        judge: Any = _Judge(Path(folder))
        yield judge


RELEASES = Area("releases", "any host: release touches what is its own", EXAMPLES, opened)
