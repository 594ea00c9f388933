"""A download is tried again where that may help, from where it broke off, in the step's time (case artifact-429)."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import run
from tests.unit.recipes.test_placing import CONTENT, SHA, fetch, hurried

from vesemir.engine.target.placement import fetch_command

Answer = Callable[["Moody"], None]


class Moody(BaseHTTPRequestHandler):
    """Answers as the test says, one answer after the other; the last one goes on."""

    answers: list[Answer]
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        self.asked.append(dict(self.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        pass


def refused(status: int, **headers: str) -> Answer:
    def answer(site: Moody) -> None:
        site.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            site.send_header(name.replace("_", "-"), value)
        site.end_headers()

    return answer


def sent(content: bytes = CONTENT, *, cut: int | None = None, ranges: bool = True, **headers: str) -> Answer:
    """``cut`` is after how many bytes of it the connection is closed."""

    def answer(site: Moody) -> None:
        asked = site.headers.get("Range") if ranges and site.headers.get("If-Range") in headers.values() else None
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        site.send_response(206 if asked else 200)
        if asked:
            site.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        for name, value in headers.items():
            site.send_header(name.replace("_", "-"), value)
        site.send_header("Content-Length", str(len(content) - begin))
        site.end_headers()
        site.wfile.write(content[begin:cut])

    return answer


@contextmanager
def site_of(*answers: Answer) -> Iterator[tuple[str, type[Moody]]]:
    handler = type("Handler", (Moody,), {"answers": list(answers), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file", handler
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (refused(429, Retry_After="0"), "try 1: {url}: HTTP Error 429: Too Many Requests; again in 0.0 s\n"),
        (refused(503), "try 1: {url}: HTTP Error 503: Service Unavailable; again in 0.0 s\n"),
        (refused(502), "try 1: {url}: HTTP Error 502: Bad Gateway; again in 0.0 s\n"),
        (sent(cut=3000), "try 1: {url}: reading broke off after 3000 of 8000 bytes; again in 0.0 s\n"),
        (lambda site: site.connection.close(), "again in 0.0 s\n"),
    ],
    ids=["429", "503", "502", "cut", "closed"],
)
def test_what_passes_by_is_tried_again_and_told(tmp_path: Path, first: Answer, line: str) -> None:
    with site_of(first, sent()) as (url, site):
        done = run(hurried(fetch_command(fetch(url, tmp_path / "file"))))
    assert (done.returncode, done.stderr, len(site.asked)) == (0, "", 2)
    assert line.format(url=url) in done.stdout
    assert done.stdout.endswith("placed\n")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_stays_is_told_at_once(tmp_path: Path, status: int) -> None:
    with site_of(refused(status, Retry_After="0"), sent()) as (url, site):
        done = run(fetch_command(fetch(url, tmp_path / "file")))
    assert (done.returncode, done.stdout, len(site.asked)) == (3, "", 1)
    assert f"HTTP Error {status}" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", [{"ETag": '"a"'}, {"ETag": 'W/"a"', "Last_Modified": formatdate(0, usegmt=True)}])
def test_a_cut_download_goes_on_from_where_it_broke(tmp_path: Path, headers: dict[str, str]) -> None:
    with site_of(sent(cut=3000, **headers), sent(cut=5000, **headers), sent(**headers)) as (url, site):
        done = run(hurried(fetch_command(fetch(url, tmp_path / "file"))))
    assert (done.returncode, done.stderr) == (0, "")
    assert [asked.get("Range") for asked in site.asked] == [None, "bytes=3000-", "bytes=5000-"]
    assert {asked.get("If-Range") for asked in site.asked[1:]} == {list(headers.values())[-1]}
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "second",
    [
        sent(ranges=False, ETag='"b"'),
        refused(206, Content_Range="bytes 7-9/10"),
        refused(416),
    ],
    ids=["whole", "another part", "no such part"],
)
def test_a_file_that_changed_meanwhile_is_begun_anew(tmp_path: Path, second: Answer) -> None:
    with site_of(sent(b"x" * 9000, cut=3000, ETag='"a"'), second, sent(ETag='"b"')) as (url, _):
        done = run(hurried(fetch_command(fetch(url, tmp_path / "file"))))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_the_sum_is_that_of_the_whole(tmp_path: Path) -> None:
    """A server that says it goes on with the same file, and does not."""
    with site_of(sent(cut=3000, ETag='"a"'), sent(CONTENT[:-1] + b"!", ETag='"a"')) as (url, _):
        done = run(hurried(fetch_command(fetch(url, tmp_path / "file"))))
    assert done.returncode == 4
    found = hashlib.sha256(CONTENT[:-1] + b"!").hexdigest()
    assert f"sha256 is {found}, expected {SHA}\n" in done.stderr


def test_the_steps_time_holds_however_long_the_server_wants_to_be_left_alone(tmp_path: Path) -> None:
    in_an_hour = formatdate(time.time() + 3600, usegmt=True)
    with site_of(refused(503, Retry_After="3600"), refused(503, Retry_After=in_an_hour)) as (url, site):
        action = replace(fetch(url, tmp_path / "file"), timeout=2)
        started = time.monotonic()
        done = run(fetch_command(action))
    assert time.monotonic() - started < 2
    assert done.returncode == 3
    assert len(site.asked) >= 3
    assert "s of the step's time are left); check that this host reaches it" in done.stderr


def test_a_name_that_is_not_known_now_is_tried_again(tmp_path: Path) -> None:
    command = hurried(fetch_command(fetch("http://artifacts.invalid/file", tmp_path / "file")))
    *words, text = command.argv
    unknown = "import socket\n\ndef unknown(*_, **__):\n    raise socket.gaierror(-3, 'Temporary failure')\n\n"
    unknown += "socket.getaddrinfo = unknown\n"
    done = run(replace(command, argv=(*words, unknown + text)))
    assert done.returncode == 3
    assert done.stdout.count("Temporary failure>; again in") == 6


def test_a_page_instead_of_the_file_is_called_one(tmp_path: Path) -> None:
    with site_of(sent(b"\r\n <!DOCTYPE html><html>Log in</html>")) as (url, _):
        done = run(fetch_command(fetch(url, tmp_path / "file")))
    assert done.returncode == 4
    assert "it looks like an HTML page" in done.stderr


def test_a_full_disk_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """It fails at once, as what it is."""
    command = fetch_command(fetch("http://x/file", tmp_path / "file"))
    *words, text = command.argv
    with site_of(sent()) as (url, site):
        full = text.replace("self.out.write(piece)", "raise OSError(28, 'No space left on device')")
        environment = {**command.environment, "VESEMIR_PLACE_URL": url}
        done = run(replace(command, argv=(*words, full), environment=environment))
    assert (done.returncode, len(site.asked)) == (1, 1)
    assert "No space left on device" in done.stderr
