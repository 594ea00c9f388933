"""What ``release`` unpacks and what it refuses: in one sentence, never a traceback, on every Python of a host."""

import ast
import gzip
import lzma
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import PATH, tree
from tests.unit.recipes.test_artifact_limits import MIB, unpacked
from tests.unit.recipes.test_release_recipe import Host, Member, archive, host, release

from vesemir.adapters.recipes import load_recipes
from vesemir.domain.action import USUAL_LIMITS
from vesemir.domain.recipe import Script
from vesemir.shipped import recipes_folder

__all__ = ["host"]

FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
PYTHONS = [*sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3")), Path("/usr/bin/python3")]
ZSTD = shutil.which("zstd")
NOT_ONE = "it is not a tar (plain, or with gzip, bz2, xz or zstd) or zip archive: it begins with "
EARLY = "cannot be unpacked: it ends too early"


def plain_tar(folder: Path, *members: Member) -> bytes:
    return gzip.decompress(archive(folder / "made.tar.gz", list(members)).read_bytes())


def zipped(file: Path, entries: dict[str, tuple[bytes, int]], *, system: int = 3) -> Path:
    """Name to content and mode; 3 is Unix, 0 is MS-DOS."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, (content, mode) in entries.items():
            info = zipfile.ZipInfo(name, (2024, 2, 29, 12, 0, 0))
            info.create_system, info.external_attr = system, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, content)
    return file


def zstd(content: bytes) -> bytes:
    assert ZSTD is not None, "the program zstd is needed"
    return subprocess.run([ZSTD, "-qc"], input=content, capture_output=True, check=True).stdout


def content(host: Host, version: str = "1.0.0") -> dict[str, str]:
    """Of the release, without Vesemir's own files."""
    found = tree(host.root / "releases" / version)
    return {name: text for name, text in found.items() if not name.startswith(".vesemir-")}


def unpack(host: Host, artifact: Path) -> dict[str, str]:
    done = host.unpack(artifact)
    assert (done.returncode, done.stderr) == (0, "")
    return content(host)


TREE = {"run": "run", "VERSION": "1.0.0", "lib/app.py": "app", "lib/latest": "-> app.py", "up": "-> lib/../VERSION"}
ZIP = {
    "lib/": (b"", stat.S_IFDIR | 0o777),
    "run": (b"run", stat.S_IFREG | 0o6777),
    "VERSION": (b"1.0.0", stat.S_IFREG | 0o640),
    "lib/app.py": (b"app", stat.S_IFREG | 0o600),
    "lib/latest": (b"app.py", stat.S_IFLNK | 0o777),
    "up": (b"lib/../VERSION", stat.S_IFLNK | 0o777),
}


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parent.parent.name)
@pytest.mark.parametrize("form", ["zst", "zip"])
def test_every_python_of_a_host_unpacks_them(host: Host, tmp_path: Path, form: str, python: Path) -> None:
    """Before: zip and zst were tracebacks or "cannot be unpacked"."""
    host.path = f"{python.parent}:{PATH}"
    artifact = tmp_path / "artifact"
    if form == "zip":
        zipped(artifact, ZIP)
    else:
        plain = gzip.decompress(release(tmp_path / "a.tar.gz", "1.0.0").read_bytes())
        artifact.write_bytes(zstd(plain))
    again = {} if form == "zip" else {"again": "1.0.0"}
    assert unpack(host, artifact) == TREE | again
    assert (host.root / "releases" / "1.0.0" / "run").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parent.parent.name)
def test_every_python_of_a_host_judges_links_alike(host: Host, tmp_path: Path, python: Path) -> None:
    """``tarfile`` has filters in some versions, which refuse or normalise what others take as it is."""
    host.path = f"{python.parent}:{PATH}"
    reaching: list[Member] = [("run", b"run", FILE), ("d/x", "../a/../../y", LINK)]
    assert "the link 'd/x' leads out of the release" in unpacked(host, archive(tmp_path / "bad.tar.gz", reaching))
    taken: list[Member] = [("run", b"run", FILE), ("d/x", "../d/.././run", LINK), ("d/none", "../none//", LINK)]
    wanted = {"run": "run", "d/x": "-> ../d/../run", "d/none": "-> ../none"}
    assert unpack(host, archive(tmp_path / "taken.tar.gz", taken)) == wanted


def test_modes_and_times_of_a_zip_are_kept(host: Host, tmp_path: Path) -> None:
    unpack(host, zipped(tmp_path / "a.zip", ZIP))
    place = host.root / "releases" / "1.0.0"
    modes = {name: (place / name).stat().st_mode & 0o7777 for name in ("run", "VERSION", "lib/app.py", "lib")}
    assert modes == {"run": 0o755, "VERSION": 0o640, "lib/app.py": 0o600, "lib": 0o755}
    assert 1_709_100_000 < (place / "run").stat().st_mtime < 1_709_300_000


def test_a_zip_without_unix_modes(host: Host, tmp_path: Path) -> None:
    made = zipped(tmp_path / "a.zip", {"run": (b"run", 0), "deep/er/file": (b"x", 0), "deep/": (b"", 0)}, system=0)
    assert unpack(host, made) == {"run": "run", "deep/er/file": "x"}
    assert (host.root / "releases" / "1.0.0" / "run").stat().st_mode & 0o7777 == 0o644


TOP: list[Member] = [
    ("./shop-1.0.0", None, FOLDER),
    ("./shop-1.0.0/run", b"run", FILE),
    ("./shop-1.0.0/bin/go", "../run", LINK),
    ("./shop-1.0.0/same", "./shop-1.0.0/run", HARD),
    ("README", b"left out, as by tar", FILE),
]


def test_strip_leaves_out_leading_folders(host: Host, tmp_path: Path) -> None:
    """One top folder. Before: it was unpacked with that folder, switched to, and did not start."""
    host.parameters = {"strip": 1}
    assert unpack(host, archive(tmp_path / "a.tar.gz", TOP)) == {"run": "run", "bin/go": "-> ../run", "same": "run"}


def test_strip_for_a_zip(host: Host, tmp_path: Path) -> None:
    host.parameters = {"strip": 1}
    assert unpack(host, zipped(tmp_path / "a.zip", {f"shop/{name}": given for name, given in ZIP.items()})) == TREE


def test_without_strip_one_top_folder_is_as_before_and_reported(host: Host, tmp_path: Path) -> None:
    artifact = archive(tmp_path / "a.tar.gz", TOP[:-1])
    done = host.unpack(artifact)
    assert "all of it is in one folder, 'shop-1.0.0' (the parameter strip leaves it out)" in done.stdout
    assert content(host)["shop-1.0.0/run"] == "run"


@pytest.mark.parametrize(("strip", "words"), [(1, "leads out of the release"), (3, "nothing is left of it without")])
def test_strip_that_does_not_fit(host: Host, tmp_path: Path, strip: int, words: str) -> None:
    host.parameters = {"strip": strip}
    members: list[Member] = [("a/b/link", "../../run", LINK), ("a/run", b"run", FILE)]
    assert words in unpacked(host, archive(tmp_path / "a.tar.gz", members))


VENV: list[Member] = [
    ("run", b"run", FILE),
    ("venv/bin/python3", "/usr/bin/python3", LINK),
    ("venv/bin/python", "python3", LINK),
]


def test_an_absolute_link_is_refused_and_allowed_by_a_parameter(host: Host, tmp_path: Path) -> None:
    """Before: no way to deploy a virtual environment."""
    artifact = archive(tmp_path / "a.tar.gz", VENV)
    assert "'venv/bin/python3' is a link to an absolute path (the parameter absolute_links" in unpacked(host, artifact)
    host.parameters, host.limits = {"absolute_links": True}, USUAL_LIMITS
    wanted = {"run": "run", "venv/bin/python": "-> python3", "venv/bin/python3": "-> /usr/bin/python3"}
    assert unpack(host, artifact) == wanted


@pytest.mark.parametrize(
    "members",
    [
        [("out", "TMP", LINK), ("out/file", b"x", FILE)],
        [("out", "TMP", LINK), ("out", b"x", FILE)],
        [("out", "TMP/file", LINK), ("hard", "out", HARD)],
        [("out", "TMP", LINK), ("out", None, FOLDER)],
        [("a", "/x", LINK), ("b", "../../file", LINK)],
    ],
)
def test_nothing_is_written_through_an_absolute_link(host: Host, tmp_path: Path, members: list[Member]) -> None:
    host.parameters = {"absolute_links": True}
    (tmp_path / "outside").mkdir()
    outside = str(tmp_path / "outside")
    given: list[Member] = [
        (name, it.replace("TMP", outside) if isinstance(it, str) else it, kind) for name, it, kind in members
    ]
    assert "the artifact is refused: " in unpacked(host, archive(tmp_path / "a.tar.gz", given))
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("kind", [FILE, LINK])
def test_vesemir_s_own_names_in_an_archive_are_left_out(host: Host, tmp_path: Path, kind: bytes) -> None:
    """A release that was packed again. Before: the mark was written through a link of that name."""
    given = "VERSION" if kind == LINK else b"0"
    own: list[Member] = [(f".vesemir-{name}", given, kind) for name in ("sha256", "shared", "own", "prepared")]
    assert unpack(host, archive(tmp_path / "a.tar.gz", [("VERSION", b"1", FILE), *own])) == {"VERSION": "1"}


def broken(kind: str, folder: Path) -> bytes:  # noqa: PLR0911 - a table of what is made in different ways
    """What is no archive, or none to be switched to."""
    whole = plain_tar(folder, *((f"{number}", bytes(1000), FILE) for number in range(9)))
    zip_file = zipped(folder / "z.zip", ZIP).read_bytes()
    match kind:
        case "cut in a file":
            return whole[:1300]
        case "cut between files":
            return whole[:1536]
        case "cut in a header":
            return whole[:1600]
        case "cut in its last bytes":
            return gzip.compress(whole)[:-6]
        case "cut xz":
            return lzma.compress(whole)[:-30]
        case "cut zst":
            return zstd(whole)[:-5]
        case "cut zip":
            return zip_file[:-30]
        case "damaged header":
            return whole[:1536] + b"?" * 512 + whole[2048:]
        case "damaged zip":
            return zip_file.replace(b"run", b"ran", 1)
        case "damaged gz":
            return gzip.compress(whole)[:20] + bytes(60)
    raise NotImplementedError(kind)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut in a file", EARLY),
        ("cut between files", EARLY),
        ("cut in a header", EARLY),
        ("cut in its last bytes", EARLY),
        ("cut xz", EARLY),
        ("cut zst", EARLY),
        ("cut zip", EARLY),
        ("damaged header", "cannot be unpacked: it is damaged: there is no header at byte 1536"),
        ("damaged zip", "cannot be unpacked: it is damaged: "),
        ("damaged gz", "cannot be unpacked: "),
    ],
)
def test_what_is_cut_off_or_damaged(host: Host, tmp_path: Path, kind: str, words: str) -> None:
    """Before: one that was cut between two files was accepted as it was, and so was one with a damaged header."""
    (tmp_path / "bad").write_bytes(broken(kind, tmp_path))
    text = unpacked(host, tmp_path / "bad")
    assert words in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (b"\n<!DOCTYPE html><html>Sign in</html>", "it is an HTML page and not an archive"),
        (b"<html>Not found</html>" * 100, "it is an HTML page and not an archive"),
        (gzip.compress(b"<HTML>Not found</HTML>" * 100), "it is an HTML page and not an archive"),
        (b"", "it is empty"),
        (gzip.compress(b""), "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", NOT_ONE + "b'version https://git-lfs"),
        (b"a text " * 1000, NOT_ONE + "b'a text "),
        (gzip.compress(b"a text " * 1000), "what it has compressed with gzip is not a tar archive: it begins with"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "it is a 7z archive; pack it as tar or zip"),
    ],
    ids=["login page", "html", "html in gz", "empty", "empty gz", "lfs", "text", "text in gz", "7z"],
)
def test_what_is_no_archive_is_named(host: Host, tmp_path: Path, made: bytes, words: str) -> None:
    (tmp_path / "bad").write_bytes(made)
    text = unpacked(host, tmp_path / "bad")
    assert f"the artifact cannot be unpacked: {words}" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("form", ["tar", "folders", "zip", "zip folders"])
def test_an_archive_without_files_is_refused(host: Host, tmp_path: Path, form: str) -> None:
    """Before: it was accepted and switched to."""
    made = tmp_path / "a"
    if form.startswith("zip"):
        zipped(made, {"lib/": (b"", stat.S_IFDIR | 0o755)} if "folders" in form else {})
    else:
        made.write_bytes(plain_tar(tmp_path, *([("./", None, FOLDER), ("a/b", None, FOLDER)] if form != "tar" else [])))
    assert "the artifact is refused: it has no files\n" in unpacked(host, made)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"../out": (b"", 0o644)}, "'../out' is outside of the release"),
        ({"/etc/out": (b"", 0o644)}, "'/etc/out' is outside of the release"),
        ({"l": (b"..", stat.S_IFLNK | 0o777)}, "the link 'l' leads out of the release"),
        ({"l": (b"/etc", stat.S_IFLNK | 0o777)}, "'l' is a link to an absolute path"),
        ({"l": (b"d", stat.S_IFLNK | 0o777), "l/x": (b"", 0o644)}, "'l/x' goes through or replaces a symbolic link"),
        ({"l": (b"x" * 5000, stat.S_IFLNK | 0o777)}, "'l' is a link of 5000 bytes"),
        ({"p": (b"", stat.S_IFIFO | 0o644)}, "'p' is neither file, folder nor link"),
    ],
)
def test_a_zip_that_reaches_out_is_refused(
    host: Host, tmp_path: Path, entries: dict[str, tuple[bytes, int]], words: str
) -> None:
    assert f"the artifact is refused: {words}" in unpacked(host, zipped(tmp_path / "a.zip", entries))


def test_a_zip_that_is_larger_than_it_looks(host: Host, tmp_path: Path) -> None:
    """Refused by what its directory says; one that lies about it is cut there, and then does not fit its checksum."""
    bomb = zipped(tmp_path / "a.zip", {f"{number}": (bytes(8 * MIB), 0o644) for number in range(3)})
    assert bomb.stat().st_size < 32 * 1024
    most = 10 * MIB
    assert f"unpacks to more than {most} bytes (artifacts.max_unp" in unpacked(host, bomb, max_unpacked_bytes=most)
    size = (8 * MIB).to_bytes(4, "little")
    bomb.write_bytes(bomb.read_bytes().replace(size, (9).to_bytes(4, "little")))
    assert "it is damaged: Bad CRC-32" in unpacked(host, bomb, max_unpacked_bytes=most)
    many = zipped(tmp_path / "b.zip", {f"{number}": (b"", 0o644) for number in range(300)})
    assert "it has more than 299 entries (artifacts.max_entries)" in unpacked(host, many, max_entries=299)


def test_a_bomb_in_zst(host: Host, tmp_path: Path) -> None:
    plain = plain_tar(tmp_path, ("zeros", bytes(16 * MIB), FILE))
    (tmp_path / "a.tar.zst").write_bytes(zstd(plain))
    text = unpacked(host, tmp_path / "a.tar.zst", max_unpacked_bytes=10 * MIB)
    assert "artifacts.max_unpacked_bytes" in text


def test_a_host_that_cannot_read_zst(host: Host, tmp_path: Path) -> None:
    """No program, and a Python before 3.14."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "cat", "tr", "touch", "mkdir", "rm", "mv", "sync", "python3"):
        (programs / name).symlink_to(str(shutil.which(name, path=PATH)))
    host.path = str(programs)
    (tmp_path / "a.tar.zst").write_bytes(zstd(plain_tar(tmp_path, ("run", b"run", FILE))))
    text = unpacked(host, tmp_path / "a.tar.zst")
    assert "compressed with zstd, and this host has no program zstd" in text
    assert text.count("\n") == 1


def test_links_in_a_circle_and_links_that_lead_nowhere_are_links(host: Host, tmp_path: Path) -> None:
    members: list[Member] = [("a", "b", LINK), ("b", "a", LINK), ("c", "none", LINK), ("run", b"", FILE)]
    wanted = {"a": "-> b", "b": "-> a", "c": "-> none", "run": ""}
    assert unpack(host, archive(tmp_path / "a.tar.gz", members)) == wanted


@pytest.mark.parametrize(
    ("link", "target"),
    [("x", "a/../../../y"), ("x", "a/../../y"), ("d/x", "../a/../y"), ("x", "/".join(["."] * 99 + [".."]))],
)
def test_a_link_behind_a_link_is_followed_to_where_it_leads(host: Host, tmp_path: Path, link: str, target: str) -> None:
    members: list[Member] = [("deep/er/f", b"", FILE), ("a", "deep/er", LINK), (link, target, LINK)]
    made = archive(tmp_path / "a.tar.gz", members)
    if target in ("a/../../y", "../a/../y"):
        assert unpack(host, made)[link] == f"-> {target}"
    else:
        assert "leads out of the release" in unpacked(host, made)


def test_a_file_that_comes_twice_is_the_last_one(host: Host, tmp_path: Path) -> None:
    """Not written into what is linked to the first."""
    members: list[Member] = [("a", b"1", FILE), ("b", "a", HARD), ("a", b"2", FILE)]
    assert unpack(host, archive(tmp_path / "a.tar.gz", members)) == {"a": "2", "b": "1"}


def test_a_sparse_file_is_as_large_as_it_is(host: Host, tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as out:
        out.seek(3 * MIB)
        out.write(b"end")
    words = ["tar", "--sparse", "-cf", tmp_path / "a.tar", "-C", tmp_path, "holes"]
    subprocess.run(words, check=True)
    assert (tmp_path / "a.tar").stat().st_size < MIB
    unpack(host, tmp_path / "a.tar")
    assert (host.root / "releases" / "1.0.0" / "holes").read_bytes() == bytes(3 * MIB) + b"end"


def programs() -> dict[str, str]:
    """Every Python program in the scripts of the shipped recipes."""
    found: dict[str, str] = {}
    book = load_recipes([recipes_folder()])
    for name in book.names:
        recipe = book.get(name)
        assert recipe is not None
        for step in chain(*recipe.lists.values()):
            if isinstance(step.work, Script):
                texts = re.findall(r"<<'PROGRAM'\n(.*?\n)PROGRAM\n", step.work.text, re.DOTALL)
                found |= {f"{name}: {step.name} {number}": text for number, text in enumerate(texts)}
    return found


def test_the_programs_of_the_recipes_are_python_3_6() -> None:
    found = programs()
    assert len(found) > 5
    for name, text in found.items():
        assert isinstance(ast.parse(text, name, feature_version=(3, 6)), ast.Module)
