"""What a dry run asks a host about a file: the fixed program, run for real, and that it changes nothing."""

import ast
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import run, tree

from vesemir.domain.action import FetchAction, PutAction
from vesemir.engine.target.look import is_archive, place_look_command, program, size_command

SIZE = 5000


class Site(BaseHTTPRequestHandler):
    """``/moved`` leads to ``/file``; ``/get`` refuses HEAD, ``/signed`` is for GET only, ``/page`` has no ranges."""

    def do_HEAD(self) -> None:
        match self.path:
            case "/moved":
                self.answer(302, Location="/file")
            case "/file":
                self.answer(200, **{"Content-Length": str(SIZE)})
            case "/silent":
                self.answer(200)
            case "/get" | "/page" | "/never":
                self.answer(405)
            case "/signed":
                self.answer(403)
            case "/busy":
                self.answer(503)
            case _:
                self.answer(404)

    def do_GET(self) -> None:
        if self.path in {"/file", "/page"}:  # a redirect of HEAD may lead to a GET
            self.answer(200, **{"Content-Length": str(SIZE)})
        elif self.path in {"/get", "/signed"} and self.headers["Range"] == "bytes=0-0":
            self.answer(206, **{"Content-Length": "1", "Content-Range": f"bytes 0-0/{SIZE}"})
        else:
            self.answer(404)

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(url: str, destination: str = "/srv/a", *, most: int = 10**6, owner: str = "") -> FetchAction:
    return FetchAction(url, destination, 0o600, owner, "", "0" * 64, sudo=False, timeout=20, max_bytes=most)


def test_it_is_python_3_6() -> None:
    ast.parse(program(), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("path", "printed"),
    [("/file", "5000"), ("/moved", "5000"), ("/silent", ""), ("/get", "5000"), ("/signed", "5000"), ("/page", "5000")],
)
def test_an_artifact_that_is_there(site: str, path: str, printed: str) -> None:
    done = run(size_command(fetch(site + path), python="python3"))
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/gone", "404"), ("/never", "404"), ("/file", "more than artifacts.max_bytes")],
)
def test_an_artifact_that_cannot_be_fetched(site: str, path: str, words: str) -> None:
    url = f"{site}{path}".replace("http://", "http://user:secret@")
    done = run(size_command(fetch(url, most=100 if path == "/file" else 0), python="python3"))
    assert done.returncode == 3
    assert words in done.stderr
    assert "secret" not in done.stderr


def test_a_busy_server_is_no_obstacle(site: str) -> None:
    """The download would be tried again."""
    done = run(size_command(fetch(f"{site}/busy"), python="python3"))
    assert done.returncode == 75
    assert "503" in done.stderr


def test_nothing_listens() -> None:
    done = run(size_command(fetch("http://127.0.0.1:1/a"), python="python3"))
    assert done.returncode == 3
    assert "refused" in done.stderr


def test_a_place_that_will_do_stays_as_it_is(tmp_path: Path) -> None:
    before = tree(tmp_path)
    for destination in (tmp_path / "file", tmp_path / "a" / "b" / "file"):
        done = run(place_look_command(fetch("http://x/a", str(destination)), SIZE, python="python3"))
        assert (done.returncode, done.stderr) == (0, "")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("case", ["folder", "file as folder", "owner", "no room", "no room to unpack"])
def test_a_place_that_will_not_do(tmp_path: Path, case: str) -> None:
    (tmp_path / "file").write_text("file")
    free = os.statvfs(tmp_path).f_bfree * os.statvfs(tmp_path).f_frsize
    destination, size, owner, url = tmp_path / "new" / "x", 1, "", "http://x/a.deb"
    match case:
        case "folder":
            destination, words = tmp_path, "is a folder"
        case "file as folder":
            destination, words = tmp_path / "file" / "x", "is not a folder"
        case "owner":
            owner, words = "nobody-at-all", "no such user"
        case "no room":
            size, words = free * 2, "make room there"
        case _:
            size, url, words = free // 2, "http://x/a.tar.gz?v=1", "more unpacked"
    done = run(place_look_command(fetch(url, str(destination), owner=owner), size, python="python3"))
    assert done.returncode == 1
    assert words in done.stderr


def test_what_is_there_already_needs_no_room(tmp_path: Path) -> None:
    """It may be the very file, which is kept."""
    (tmp_path / "file").write_text("file")
    done = run(place_look_command(fetch("http://x/a", str(tmp_path / "file")), 2**62, python="python3"))
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_taken_for_an_archive() -> None:
    assert is_archive(fetch("https://x/shop-1.0.tar.gz?token=1"))
    assert not is_archive(fetch("https://x/shop_1.0.deb"))
    assert not is_archive(PutAction("/etc/a", "/srv/a.tar", None, 0o644, "", "", "", sudo=False, timeout=5))
