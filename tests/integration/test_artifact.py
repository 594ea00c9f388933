"""What is shipped: the same bytes from the same commit, and an installation that needs no network."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from artifact.install import WANTED
from artifact.source import unpack
from artifact.wheelhouse import PLATFORMS, PYTHONS

REPOSITORY = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = 65534
OFFLINE = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
CONNECTS = "import socket; socket.create_connection(('127.0.0.1', 1), timeout=5)"

Said = subprocess.CompletedProcess[str]


def run(*words: str | Path, env: Mapping[str, str] | None = None, **more: Any) -> Said:
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=170, env={**os.environ, **(env or {})}, **more
    )


def built(out: Path, *words: str | Path, env: Mapping[str, str] | None = None, umask: int = 0o022) -> dict[str, Any]:
    """What ``python -m artifact --json`` says of what it built."""
    command = (sys.executable, "-m", "artifact", "--json", "--out", out, *words)
    done = run(*command, cwd=REPOSITORY, env=env, umask=umask)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the work tree, as it is."""
    return Path(built(tmp_path_factory.mktemp("artifact"), "--work-tree")["path"])


@pytest.fixture(scope="module")
def unpacked(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(artifact) as tar:
        unpack(tar, folder)
    (found,) = folder.iterdir()
    return found


def has_wheels(python: str) -> bool:
    probe = f"import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] not in {WANTED!r})"
    try:
        return run(python, "-I", "-c", probe).returncode == 0
    except OSError:
        return False


def compatible_python() -> str:
    """Debian's own, or whichever there is that the wheels are for."""
    for candidate in (SYSTEM_PYTHON, sys.executable):
        if has_wheels(candidate):
            return candidate
    pytest.skip(f"there is no CPython {' or '.join(WANTED)} with venv here, which the wheels are for")


def offline_or_skip() -> None:
    if run(*OFFLINE, "true").returncode != 0:
        pytest.skip("this user may not make a network namespace (unshare), so nothing can be shown without a network")


@pytest.fixture(scope="module")
def prefix(unpacked: Path) -> Iterator[Path]:
    """Installed in a network namespace that has no network, not even loopback. Readable by everybody, as /opt is."""
    offline_or_skip()
    folder = Path("/tmp") / f"vesemir-offline-{os.getpid()}"  # pytest's folders keep others out
    try:
        done = run(*OFFLINE, unpacked / "install", "--prefix", folder, "--python", compatible_python(), "--switch")
        assert done.returncode == 0, done.stderr
        print(f"without a network: {done.stdout}")  # noqa: T201
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_same_commit_gives_the_same_bytes(tmp_path: Path) -> None:
    """In another folder, from a clone, at another time, under another umask, locale and time zone."""
    here = built(tmp_path / "one", "--repository", REPOSITORY)
    clone = tmp_path / "a clone"
    assert run("git", "clone", "-q", REPOSITORY, clone, umask=0o077).returncode == 0
    for path in clone.rglob("*"):
        if ".git" not in path.parts and not path.is_symlink():
            os.utime(path, (1_000_000_000, 1_000_000_000))
    strange = {"LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7", "TMPDIR": str(tmp_path)}
    there = built(tmp_path / "two", "--repository", clone, env=strange, umask=0o077)
    print(f"built here:    {here['sha256']}\nbuilt elsewhere: {there['sha256']}")  # noqa: T201
    assert (there["sha256"], there["size"]) == (here["sha256"], here["size"])
    assert there["sha256"] == hashlib.sha256(Path(there["path"]).read_bytes()).hexdigest()


def test_nothing_in_it_tells_who_built_it(artifact: Path) -> None:
    with tarfile.open(artifact) as tar:
        entries = tar.getmembers()
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "root", "root")}
    assert {oct(entry.mode) for entry in entries} == {"0o755", "0o644"}
    assert len({entry.mtime for entry in entries}) == 1
    assert [entry.name for entry in entries] == sorted((entry.name for entry in entries), key=Path)


def test_the_bill_of_materials_is_what_is_inside(unpacked: Path) -> None:
    bill = json.loads((unpacked / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    parts = [bill["metadata"]["component"], *bill["components"]]
    told = {
        file["value"]: digest["content"]
        for part in parts
        for file, digest in zip(part["properties"], part["hashes"], strict=True)
    }
    wheels = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (unpacked / "wheels").iterdir()}
    assert told == wheels
    assert all(part["licenses"] for part in parts)
    refs = {part["bom-ref"] for part in parts}
    assert {each["ref"] for each in bill["dependencies"]} == refs
    assert {need for each in bill["dependencies"] for need in each["dependsOn"]} <= refs


def test_every_library_is_one_that_the_lock_names(unpacked: Path) -> None:
    lock = (REPOSITORY / "requirements" / "runtime.txt").read_text()
    lines = (unpacked / "requirements.txt").read_text().splitlines()
    files = 0
    for line in lines:
        name, version, only, hashes = re.fullmatch(r"(\S+)==(\S+)( ; [^-]+)?((?: --hash=\S+)+)", line).groups()  # type: ignore[union-attr]
        digests = re.findall(r" --hash=(sha256:[0-9a-f]{64})", hashes)
        files += len(digests)
        assert only is None or "python_version" in only
        if name != "vesemir":
            assert f"{name}=={version}" in lock
            assert all(digest in lock for digest in digests)
    assert files == len(list((unpacked / "wheels").iterdir()))


def test_the_network_namespace_has_no_network() -> None:
    """Otherwise the next tests would show nothing."""
    offline_or_skip()
    done = run(*OFFLINE, sys.executable, "-c", CONNECTS)
    assert "Network is unreachable" in done.stderr


def test_the_installed_command_works(prefix: Path, tmp_path: Path) -> None:
    """From any folder: what it needs came with it."""
    (tmp_path / "vesemir.toml").touch()
    own = {"VESEMIR_CONFIG": str(tmp_path / "vesemir.toml"), "VESEMIR_AMQP__URL": "amqp://127.0.0.1:1/"}
    command = prefix / "current" / "bin" / "vesemir"
    version = re.search(r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert run(command, "--version").stdout == f"vesemir {version[1]}\n"
    assert "migrate" in run(command, "--help").stdout
    assert "MaxStartups" in run(command, "explain", "ssh.unreachable").stdout
    checked = run(command, "check", env=own, cwd="/")
    assert (checked.returncode, checked.stderr) == (1, "")
    assert re.search(r"ok +recipes .*release.*\nFAIL +broker", checked.stdout), checked.stdout


def test_only_what_the_bill_names_is_installed(prefix: Path, unpacked: Path) -> None:
    """pip has gone when it had done its work."""
    bill = json.loads((unpacked / "sbom.json").read_text())
    named = {part["name"] for part in [bill["metadata"]["component"], *bill["components"]]}
    found = {
        path.name.split("-")[0].lower().replace("_", "-").replace(".", "-")
        for path in (prefix / "current").glob("lib/python3*/site-packages/*.dist-info")
    }
    assert found == named


@pytest.mark.parametrize("python", WANTED)
def test_every_python_that_it_is_for_finds_its_wheels(unpacked: Path, python: str) -> None:
    """As pip would choose them there, which needs no interpreter of that version; not even the network is asked."""
    offline_or_skip()
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    offline = ("--no-index", "--find-links", unpacked / "wheels", "--no-deps", "--require-hashes")
    given = [line for line in (unpacked / "requirements.txt").read_text().splitlines() if _is_for(line, python)]
    listing = unpacked.parent / f"for-{python}.txt"
    listing.write_text("\n".join(given))
    done = run(
        *(*OFFLINE, sys.executable, "-m", "pip", "install", "-q", "--dry-run", *offline, "--only-binary=:all:"),
        *("--python-version", python, "--implementation", "cp", *platforms, "--target", unpacked.parent / python),
        *("--ignore-installed", "-r", listing),
        env={"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")


def _is_for(line: str, python: str) -> bool:
    """pip reads markers for the Python that it runs in, whatever it is told to install for."""
    return "python_version" not in line or f'"{python}"' in line


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become the service's user")
def test_the_service_can_read_and_run_it_but_not_write_to_it(prefix: Path) -> None:
    """Its user is one of those that own nothing here."""
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    assert run(*become, prefix / "current" / "bin" / "vesemir", "--version", cwd="/").returncode == 0
    writable = run(*become, "find", prefix, "-not", "-type", "l", "-writable", cwd="/")
    unreadable = run(*become, "find", prefix, "-not", "-readable", cwd="/")
    assert (writable.stdout, writable.stderr, unreadable.stdout) == ("", "", "")


def test_the_installer_knows_what_the_wheels_are_for() -> None:
    """It stands alone in the artifact and cannot ask."""
    assert tuple(PYTHONS) == WANTED


def test_again_it_finds_what_is_done(prefix: Path, unpacked: Path) -> None:
    done = run(unpacked / "install", "--prefix", prefix)
    assert done.returncode == 0
    assert "is there already, complete and the same" in done.stdout


def test_a_missing_wheel_is_not_fetched(unpacked: Path, tmp_path: Path) -> None:
    """With whatever network there is: nothing but ``wheels/`` is ever asked."""
    other = tmp_path / unpacked.name
    shutil.copytree(unpacked, other)
    (gone,) = (other / "wheels").glob("typing_extensions-*.whl")
    gone.unlink()
    sums = other / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(keepends=True) if gone.name not in line))
    done = run(other / "install", "--prefix", tmp_path / "opt", "--python", compatible_python())
    assert done.returncode == 1
    assert "No matching distribution found for typing-extensions" in done.stderr
    assert list((tmp_path / "opt" / "releases").iterdir()) == []


def test_what_was_changed_on_the_way_is_refused(unpacked: Path, tmp_path: Path) -> None:
    other = tmp_path / unpacked.name
    shutil.copytree(unpacked, other)
    with (other / "share" / "systemd" / "vesemir.service").open("a") as unit:
        unit.write("ExecStartPre=/bin/sh\n")
    done = run(other / "install", "--prefix", tmp_path / "opt")
    assert done.returncode == 1
    assert "vesemir.service is not as it was packed; unpack the artifact again" in done.stderr
