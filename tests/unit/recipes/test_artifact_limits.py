"""Artifacts that are larger than they look: refused with a clear failure, before they fill a disk or a memory."""

import bz2
import gzip
import lzma
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import run
from tests.unit.recipes.test_placing import CONTENT, fetch
from tests.unit.recipes.test_release_recipe import Host, archive, host, release

from vesemir.adapters.recipes import local_artifact
from vesemir.composition import limits_of
from vesemir.domain.action import USUAL_LIMITS, ArtifactLimits
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.engine.target.placement import fetch_command
from vesemir.settings import Settings

__all__ = ["host"]

MIB = 1024**2
ENORMOUS = 1 << 60


def unpacked(host: Host, artifact: Path, **limits: int) -> str:
    """What the step says; nothing of it is left behind."""
    host.limits = replace(USUAL_LIMITS, **limits)
    done = host.unpack(artifact)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert list((host.root / "releases").iterdir()) == []
    return done.stderr


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An entry that says it has ``size`` bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def packed(file: Path, content: bytes) -> Path:
    file.write_bytes(gzip.compress(content))
    return file


def test_a_small_file_that_unpacks_to_much(host: Host, tmp_path: Path) -> None:
    bomb = archive(tmp_path / "bomb.tar.gz", [(f"{n}", bytes(8 * MIB), tarfile.REGTYPE) for n in range(3)])
    assert bomb.stat().st_size < 32 * 1024
    text = unpacked(host, bomb, max_unpacked_bytes=10 * MIB)
    assert f"the artifact is refused: it unpacks to more than {10 * MIB} bytes (artifacts.max_unpacked_bytes)" in text


def test_more_entries_than_a_release_has(host: Host, tmp_path: Path) -> None:
    many = archive(tmp_path / "many.tar.gz", [(f"{n}", None, tarfile.DIRTYPE) for n in range(300)])
    text = unpacked(host, many, max_entries=299)
    assert "the artifact is refused: it has more than 299 entries (artifacts.max_entries)" in text


@pytest.mark.parametrize(
    ("content", "limits", "words"),
    [
        (header("run", 1 << 50), {}, "unpacks to more than"),
        (header("run", 1 << 50), {"max_unpacked_bytes": ENORMOUS}, "no room for the artifact: it unpacks to more than"),
        (header("run", 4096) + b"short", {}, "cannot be unpacked: "),
        (header("run", -512) + bytes(1024), {}, "a size below 0"),
        (header("run", 1 << 30, tarfile.XHDTYPE) + bytes(MIB), {}, "has a header of 1073741824 bytes"),
        (header("run", 1 << 30, tarfile.GNUTYPE_LONGNAME) + bytes(MIB), {}, "has a header of 1073741824 bytes"),
        (header("run", -1024, tarfile.XHDTYPE) + bytes(MIB), {}, "the artifact is refused: it has a header of "),
        (b"<html>Not found</html>" * 100, {}, "cannot be unpacked: "),
    ],
    ids=["size", "room", "short", "negative", "pax", "longname", "negative pax", "html"],
)
def test_sizes_that_lie(host: Host, tmp_path: Path, content: bytes, limits: dict[str, int], words: str) -> None:
    assert words in unpacked(host, packed(tmp_path / "bad.tar.gz", content), **limits)


def test_an_archive_that_breaks_off(host: Host, tmp_path: Path) -> None:
    whole = release(tmp_path / "whole.tar.gz", "1.0.0").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be unpacked: " in unpacked(host, tmp_path / "half.tar.gz")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_every_compression_is_still_read(host: Host, tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    plain = gzip.decompress(release(tmp_path / "plain.tar.gz", "1.0.0").read_bytes())
    (tmp_path / "artifact").write_bytes(compress(plain))
    host.limits = ArtifactLimits(max_entries=7, max_unpacked_bytes=20)
    host.deploy("1.0.0", tmp_path / "artifact", deployment="d1", until="unpack")
    assert host.releases == ["1.0.0"]


def test_an_artifact_of_the_instance_is_looked_at_before_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1001))
    with pytest.raises(FailedError, match=r"1001 bytes, more than artifacts\.max_bytes \(1000\)") as caught:
        local_artifact(f"file://{tmp_path}/file", [tmp_path], max_bytes=1000)
    assert caught.value.failure.code is FailureCode.ARTIFACT_UNAVAILABLE
    assert local_artifact(f"file://{tmp_path}/file", [tmp_path], max_bytes=1001)


class LyingSite(BaseHTTPRequestHandler):
    """The path is what it says of the length; nothing is an endless answer without one."""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path != "/":
            self.send_header("Content-Length", self.path[1:])
        self.end_headers()
        try:
            for _ in range(64):
                self.wfile.write(CONTENT)
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        pass


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), LyingSite) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


MOST = 20_000


@pytest.mark.parametrize(
    ("length", "most", "status", "words"),
    [
        (str(MOST + 1), MOST, 3, f"has more than {MOST} bytes, which artifacts.max_bytes"),
        ("", MOST, 3, f"has more than {MOST} bytes, which artifacts.max_bytes"),
        ("some", MOST, 3, f"has more than {MOST} bytes, which artifacts.max_bytes"),
        ("-5", MOST, 3, f"has more than {MOST} bytes, which artifacts.max_bytes"),
        (str(1 << 59), ENORMOUS, 1, f"has {1 << 59} bytes, and "),
        (str(len(CONTENT) // 2), MOST, 4, "sha256 is"),
    ],
    ids=["said", "unsaid", "text", "negative", "room", "less"],
)
def test_a_download(tmp_path: Path, site: str, length: str, most: int, status: int, words: str) -> None:
    """Nothing is left of it."""
    done = run(fetch_command(replace(fetch(site + length, tmp_path / "file"), max_bytes=most)))
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_limits_are_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "none.toml"))
    assert limits_of(Settings()).artifacts == USUAL_LIMITS
    for name, value in (("MAX_BYTES", "2048"), ("MAX_ENTRIES", "3"), ("MAX_UNPACKED_BYTES", "4096")):
        monkeypatch.setenv(f"VESEMIR_ARTIFACTS__{name}", value)
    assert limits_of(Settings()).artifacts == ArtifactLimits(2048, 3, 4096)
