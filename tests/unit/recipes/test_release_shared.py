"""What all releases share is the users': no step of ``release`` removes or writes anything behind a link."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import tree
from tests.unit.recipes.test_release_recipe import Host, archive, artifact, host

__all__ = ["artifact", "host"]

Artifacts = Callable[[str], Path]
FILE, FOLDER, LINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE


@pytest.fixture
def site(tmp_path: Path) -> Artifacts:
    """A release with files of its own where others have links into ``shared``."""

    def built(version: str) -> Path:
        file = tmp_path / f"site-{version}.tar.gz"
        if not file.exists():  # another time in its header would make it another artifact
            members = {"public/index.html": version, "public/uploads/.keep": "", "settings.toml": "default"}
            archive(file, [(name, text.encode(), FILE) for name, text in members.items()])
        return file

    return built


def uploads(host: Host) -> Path:
    """What a user has uploaded."""
    file = host.root / "shared" / "public" / "uploads" / "photo"
    file.parent.mkdir(parents=True)
    file.write_text("the only copy")
    return file


@pytest.mark.parametrize(
    "shared", ["public/ public/uploads/", "public/uploads public/", "log/ log", "a//b/ a/b/", "a/b/ x/ a//", "log//"]
)
def test_paths_that_overlap_are_refused_before_anything_is_made(host: Host, artifact: Artifacts, shared: str) -> None:
    """Case shared-nested A. Before: it succeeded, and the users' files were gone. One path with two slashes is fine."""
    photo = uploads(host)
    host.variables["shared"] = shared
    before = tree(host.root)
    if shared == "log//":
        host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
        assert (host.root / "releases" / "1.0.0" / "log").readlink() == host.root / "shared" / "log"
        return
    for step in ("unpack", "link-shared"):
        done = host.step(step, "1.0.0", artifact("1.0.0"), deployment="d1")
        assert (done.returncode, done.stdout) == (1, "")
        assert "shared paths overlap: " in done.stderr
        assert "Traceback" not in done.stderr
    assert tree(host.root) == before
    assert photo.read_text() == "the only copy"


def test_a_release_that_is_used_again_has_the_links_that_are_wanted_now(host: Host, site: Artifacts) -> None:
    """Case shared-nested B. Before: ``rm -rf`` of the new link's path went through the old link."""
    photo = uploads(host)
    host.variables["shared"] = "public/"
    host.deploy("2.0.0", site("2.0.0"), deployment="d1")
    host.variables["shared"] = "public/uploads/ settings.toml"
    (host.root / "shared" / "settings.toml").write_text("ours")
    host.deploy("2.1.0", site("2.1.0"), deployment="d2")
    host.deploy("2.0.0", site("2.0.0"), deployment="d3", twice=True)
    release = host.root / "releases" / "2.0.0"
    assert (release / "public" / "index.html").read_text() == "2.0.0"
    assert not (release / "public").is_symlink()
    assert (release / "public" / "uploads").readlink() == photo.parent
    assert (release / "settings.toml").read_text() == "ours"
    assert photo.read_text() == "the only copy"


def test_a_link_that_is_no_longer_wanted_gives_way_to_the_release_s_own(host: Host, site: Artifacts) -> None:
    photo = uploads(host)
    plain = archive(host.folder / "plain.tar.gz", [("run", b"run", FILE)])
    host.deploy("1.0.0", site("1.0.0"), deployment="d0")
    host.deploy("2.0.0", plain, deployment="d1")
    own = tree(host.root / "releases" / "1.0.0")
    for number, shared in enumerate(("public/uploads/", "public/ log/", "public/uploads/", "")):
        host.variables["shared"] = shared
        host.deploy("1.0.0", site("1.0.0"), deployment=f"e{number}", twice=True)
    assert tree(host.root / "releases" / "1.0.0") == {k: v for k, v in own.items() if k != ".vesemir-prepared"}
    assert photo.read_text() == "the only copy"


def test_what_the_application_wrote_at_a_path_is_kept(host: Host, artifact: Artifacts) -> None:
    """The folder was not shared, and is now. Before: ``rm -rf``."""
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    written = host.root / "releases" / "1.0.0" / "data" / "orders"
    written.parent.mkdir()
    written.write_text("orders")
    host.variables["shared"] = "data/"
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d2")
    assert written.parent.is_symlink()
    assert (host.root / "releases" / "1.0.0" / ".vesemir-own" / "data" / "orders").read_text() == "orders"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("real/x", b"x", FILE), ("public", "real", LINK)], "a link to real, and nothing is made behind a link"),
        ([("public", b"x", FILE)], "which is a file"),
    ],
)
def test_a_link_of_the_release_itself_is_not_gone_through(
    host: Host, tmp_path: Path, members: list[tuple[str, bytes | str | None, bytes]], words: str
) -> None:
    """Before: the link was made in ``real``, and a file was "File exists" from mkdir."""
    host.variables["shared"] = "public/uploads/"
    built = archive(tmp_path / "a.tar.gz", members)
    host.deploy("1.0.0", built, deployment="d1", until="unpack")
    before = tree(host.root / "releases")
    done = host.step("link-shared", "1.0.0", built, deployment="d1")
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "public/uploads" in done.stderr
    assert tree(host.root / "releases") in (before, before | {"1.0.0/.vesemir-shared": "public/uploads\n"})


def test_a_folder_is_not_made_behind_a_link_in_shared(host: Host, artifact: Artifacts, tmp_path: Path) -> None:
    """``shared`` itself may be a link: that is the operator's choice."""
    (tmp_path / "big").mkdir()
    (tmp_path / "others").mkdir()
    host.root.mkdir()
    (host.root / "shared").symlink_to(tmp_path / "big")
    (tmp_path / "big" / "public").symlink_to(tmp_path / "others")
    host.variables["shared"] = "public/uploads/ log/"
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1", until="unpack")
    done = host.step("link-shared", "1.0.0", artifact("1.0.0"), deployment="d1")
    assert (done.returncode, "nothing is made behind a link" in done.stderr) == (1, True), done.stderr
    (tmp_path / "others" / "uploads").mkdir()
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    assert (tmp_path / "big" / "log").is_dir()


@pytest.mark.parametrize("name", ["releases", ".vesemir"])
def test_folders_of_vesemir_are_no_links(host: Host, artifact: Artifacts, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    host.root.mkdir()
    (host.root / name).symlink_to(tmp_path / "elsewhere")
    done = host.step("unpack", "1.0.0", artifact("1.0.0"), deployment="d1")
    assert (done.returncode, f"{host.root}/{name} is a link" in done.stderr) == (1, True), done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_release_folder_that_vesemir_did_not_make_is_moved_aside(host: Host, artifact: Artifacts) -> None:
    """Before: removed. A link in its place was followed when the shared links were made."""
    (host.root / "releases" / "1.0.0").mkdir(parents=True)
    (host.root / "releases" / "1.0.0" / "notes").write_text("notes")
    other = host.folder / "other"
    other.mkdir()
    (host.root / "releases" / "2.0.0").symlink_to(other)
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    host.deploy("2.0.0", artifact("2.0.0"), deployment="d2")
    assert (host.root / "releases" / "1.0.0.aside-d1" / "notes").read_text() == "notes"
    assert (host.root / "releases" / "2.0.0.aside-d2").readlink() == other
    assert list(other.iterdir()) == []


def test_a_link_that_is_current_is_no_release_to_write_into(host: Host, artifact: Artifacts) -> None:
    other = host.folder / "other"
    other.mkdir()
    (host.root / "releases").mkdir(parents=True)
    (host.root / "releases" / "1.0.0").symlink_to(other)
    (host.root / "current").symlink_to("releases/1.0.0")
    host.step("fetch", "1.0.0", artifact("1.0.0"), deployment="d1")
    done = host.step("unpack", "1.0.0", artifact("1.0.0"), deployment="d1")
    assert (done.returncode, "a link that Vesemir did not make" in done.stderr) == (1, True), done.stderr
    assert list(other.iterdir()) == []


def from_older_version(host: Host, version: str) -> None:
    """As 0.1 leaves a release that it has linked: what the archive had at the links' paths is gone, and no record."""
    release = host.root / "releases" / version
    (release / ".vesemir-shared").unlink()
    for name in (".vesemir-own/public/uploads/.keep", ".vesemir-own/public/index.html"):
        (release / name).unlink()


def test_a_release_that_an_older_version_linked_is_unpacked_anew(host: Host, site: Artifacts) -> None:
    photo = uploads(host)
    host.variables["shared"] = "public/"
    host.deploy("2.0.0", site("2.0.0"), deployment="d1")
    host.deploy("2.1.0", site("2.1.0"), deployment="d2")
    from_older_version(host, "2.0.0")
    host.variables["shared"] = "public/uploads/"
    host.deploy("2.0.0", site("2.0.0"), deployment="d3")
    assert (host.root / "releases" / "2.0.0" / "public" / "index.html").read_text() == "2.0.0"
    assert photo.read_text() == "the only copy"


def test_one_that_is_current_keeps_its_links_and_says_what_is_gone(host: Host, site: Artifacts) -> None:
    photo = uploads(host)
    host.variables["shared"] = "public/"
    host.deploy("2.0.0", site("2.0.0"), deployment="d1")
    from_older_version(host, "2.0.0")
    host.deploy("2.0.0", site("2.0.0"), deployment="d2")
    (host.root / "releases" / "2.0.0" / ".vesemir-shared").unlink()
    host.variables["shared"] = "public/uploads/"
    host.deploy("2.0.0", site("2.0.0"), deployment="d3", until="unpack")
    before = tree(host.root)
    done = host.step("link-shared", "2.0.0", site("2.0.0"), deployment="d3")
    assert (done.returncode, "what its archive has at public" in done.stderr) == (1, True), done.stderr
    assert tree(host.root) == before
    assert photo.exists()
