"""The rules of building and installing: which line of the lock is for the target, licences, releases, the switch."""

import hashlib
import tarfile
import warnings
from email.message import Message
from pathlib import Path

import pytest
from artifact import install as installing
from artifact import wheelhouse
from artifact.install import COMPLETE, InstallError, install, prune, switch
from artifact.sbom import licence_of
from artifact.source import BuildError, unpack
from artifact.wheelhouse import locked

LOCK = r"""# written by a program
aio-pika==10.2.1 \
    --hash=sha256:aa \
    --hash=sha256:bb
    # via vesemir (pyproject.toml)
colorama==0.4.6 ; sys_platform == 'win32' \
    --hash=sha256:cc
tomli==2.0 ; python_full_version < '3.11' \
    --hash=sha256:dd
new==3 ; python_version >= '3.12' \
    --hash=sha256:ff
Zope.Thing==1 ; sys_platform == 'linux' \
    --hash=sha256:ee
"""


def test_of_the_lock_only_what_is_for_the_target_is_shipped() -> None:
    """Whatever builds it: markers are read for one CPython on Linux."""
    always = [("aio-pika", "10.2.1", ("sha256:aa", "sha256:bb")), ("zope-thing", "1", ("sha256:ee",))]
    assert [(one.name, one.version, one.hashes) for one in locked(LOCK, "3.11")] == always
    assert [(one.name, one.version, one.hashes) for one in locked(LOCK, "3.13")] == sorted(
        [*always, ("new", "3", ("sha256:ff",))]
    )


def test_every_python_is_given_its_own_file_and_nothing_that_it_does_not_need() -> None:
    def wheel(name: str, digest: str) -> wheelhouse.Wheel:
        return wheelhouse.Wheel(Path(f"{name}-1-{digest}.whl"), name, "1", digest)

    both, new = wheel("both", "aa"), wheel("new", "bb")
    wheels = {"3.11": [both, wheel("fast", "311")], "3.13": [both, wheel("fast", "313"), new]}
    assert wheelhouse.requirements(wheels).splitlines() == [
        "both==1 --hash=sha256:aa",
        "fast==1 --hash=sha256:311 --hash=sha256:313",
        'new==1 ; python_version == "3.13" --hash=sha256:bb',
    ]


def test_a_lock_that_locks_nothing_is_no_artifact() -> None:
    with pytest.raises(BuildError, match="script/lock"):
        locked("# nothing\n", "3.11")


def test_builds_at_once_share_one_complete_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is later finds it and throws its own away; nobody ever sees half of it."""
    folder = tmp_path / "wheels" / "lock"
    digest = hashlib.sha256(b"wheel").hexdigest()
    wanted = [wheelhouse.Locked("thing", "1.0", ("sha256:other", f"sha256:{digest}"))]

    def fetch(_wanted: object, into: Path, _python: str) -> None:
        assert not folder.exists()
        (into / "thing-1.0-py3-none-any.whl").write_bytes(b"wheel")
        folder.mkdir()  # the quicker one
        (folder / "thing-1.0-py3-none-any.whl").write_bytes(b"wheel")

    monkeypatch.setattr(wheelhouse, "_fetch", fetch)
    for _ in range(2):
        (wheel,) = wheelhouse.download(wanted, folder, "3.11")
        assert (wheel.path.parent, wheel.sha256) == (folder, digest)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_wheel_that_is_not_the_locks_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "thing-1.0-py3-none-any.whl").write_bytes(b"something else")
    with pytest.raises(BuildError, match="delete that folder"):
        wheelhouse.download([wheelhouse.Locked("thing", "1.0", ("sha256:aa",))], tmp_path, "3.11")


def told(**headers: str) -> Message:
    message = Message()
    message["Name"] = "thing"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("message", "licence"),
    [
        (told(License_Expression="MIT AND Apache-2.0"), "MIT AND Apache-2.0"),
        (told(License="MIT License"), "MIT"),
        (told(License="see the file", Classifier="License :: OSI Approved :: BSD License"), "BSD-3-Clause"),
        (told(License_Expression="EPL-2.0 OR GPL-2.0-or-later"), "EPL-2.0 OR GPL-2.0-or-later"),
    ],
)
def test_a_licence_is_read_however_it_is_said(message: Message, licence: str) -> None:
    assert licence_of(message) == licence


@pytest.mark.parametrize("message", [told(License_Expression="AGPL-3.0-only"), told(License="ask us"), told()])
def test_a_licence_that_nobody_agreed_to_stops_the_build(message: Message) -> None:
    with pytest.raises(BuildError, match="thing"):
        licence_of(message)


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An unpacked artifact with one file, whose installation makes an empty release."""
    folder = tmp_path / "vesemir-1.0"
    folder.mkdir()
    (folder / "file").write_text("content")
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(b'content').hexdigest()}  file\n")
    monkeypatch.setattr(installing, "HERE", folder)
    monkeypatch.setattr(installing, "check_python", lambda _python: None)
    monkeypatch.setattr(installing, "make_release", lambda release, _python, _version: release.mkdir())
    return folder


@pytest.mark.usefixtures("content")
def test_a_release_is_made_once(tmp_path: Path) -> None:
    assert install(tmp_path / "opt", "python", "1.0").endswith("1.0 installed")
    assert install(tmp_path / "opt", "python", "1.0").endswith("complete and the same")


def test_another_build_of_the_same_version_is_refused(content: Path, tmp_path: Path) -> None:
    """The one that is there may be running."""
    install(tmp_path / "opt", "python", "1.0")
    (content / "SHA256SUMS").write_text("")
    with pytest.raises(InstallError, match="another build of the same version"):
        install(tmp_path / "opt", "python", "1.0")


@pytest.mark.usefixtures("content")
def test_an_installation_that_broke_off_is_made_anew(tmp_path: Path) -> None:
    left = tmp_path / "opt" / "releases" / "1.0" / "half"
    left.mkdir(parents=True)
    install(tmp_path / "opt", "python", "1.0")
    assert not left.exists()


def test_one_that_fails_leaves_nothing(content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(release: Path, _python: str, _version: str) -> None:
        release.mkdir()
        raise InstallError("no")

    monkeypatch.setattr(installing, "make_release", fails)
    with pytest.raises(InstallError):
        install(tmp_path / "opt", "python", "1.0")
    assert list((tmp_path / "opt" / "releases").iterdir()) == []
    assert content.exists()


def releases(prefix: Path, *versions: str) -> Path:
    for age, version in enumerate(versions):
        mark = prefix / "releases" / version / COMPLETE
        mark.parent.mkdir(parents=True)
        mark.touch()
        installing.os.utime(mark, (age, age))
    return prefix


def test_switching_is_one_rename_and_says_what_was(tmp_path: Path) -> None:
    prefix = releases(tmp_path, "1.0", "2.0")
    assert switch(prefix, "1.0").endswith("it was none")
    (prefix / ".current.new").symlink_to("left by a crash")
    assert switch(prefix, "2.0").endswith("is 2.0 now; it was 1.0")
    assert (prefix / "current").readlink() == Path("releases/2.0")


def test_the_release_in_use_is_never_removed(tmp_path: Path) -> None:
    """Nor one that is being installed."""
    prefix = releases(tmp_path, "1.0", "2.0", "3.0", "4.0")
    (prefix / "releases" / "5.0").mkdir()
    switch(prefix, "1.0")
    assert prune(prefix, 2) == [f"{prefix}/releases/2.0 removed"]
    assert sorted(path.name for path in (prefix / "releases").iterdir()) == ["1.0", "3.0", "4.0", "5.0"]


@pytest.mark.parametrize("filters", [True, False])
def test_a_tar_is_unpacked_by_a_python_that_knows_no_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, filters: bool
) -> None:
    """Debian 12 has 3.11.2, and they came with 3.11.4."""
    (tmp_path / "file").write_text("content")
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        tar.add(tmp_path / "file", "file")
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        plain = tarfile.TarFile.extractall

        def without_filter(tar: tarfile.TarFile, path: Path) -> None:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of a later Python
                plain(tar, path)

        monkeypatch.setattr(tarfile.TarFile, "extractall", without_filter)
    with tarfile.open(tmp_path / "made.tar") as tar:
        unpack(tar, tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "content"
